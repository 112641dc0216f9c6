//! The operator: runs pipelines as Jobs.
//!
//! It watches `PipelineRun` objects, plans each with the engine that `lineal run` uses, and makes a Job for each step
//! that must be executed. It alone signs: pods bring results to its exchange, and it attests what it accepts.
//!
//! Assumptions: one operator works on one store (a lock sees to that); clocks of nodes play no part. It ends when its
//! process does, at any moment: everything that counts is in the ledger, in the objects, or written down beside.

mod attempts;
mod executor;
mod job;
mod metrics;
mod pipelines;
mod run;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kube::runtime::events::Reporter;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use lineal_app::exchange::{Doorkeeper, Exchange};
use lineal_app::{Code, Failure, Project};
use lineal_blob::files::Context;
use lineal_facts::Digest;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::resource::PipelineRun;
use attempts::{Attempts, api, each};
use metrics::Metrics;

pub use executor::CLUSTER_BUILDER;

/// What an operator is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace to work in; all of them otherwise.
    pub namespace: Option<String>,
    /// Where pods reach the exchange: `https://ADDRESS:PORT`.
    pub advertise: String,
    /// Hex SHA-256 of the exchange's certificate in DER; pods trust nothing else.
    pub pin: String,
    /// The image with the step program, by digest.
    pub step_image: String,
    /// When the kubelet pulls it; Kubernetes decides otherwise.
    pub step_image_pull_policy: Option<String>,
    /// Steps of one run at a time.
    pub parallel_steps: usize,
}

/// Tells whoever runs the operator what went wrong and is tried again, or concerns one run only.
pub type Complain = Arc<dyn Fn(&str) + Send + Sync>;

/// The operator. Clones are the same one.
#[derive(Clone)]
pub struct Operator {
    client: Client,
    project: Project,
    exchange: Exchange,
    settings: Arc<Settings>,
    attempts: Attempts,
    metrics: Arc<Metrics>,
    ready: Arc<watch::Sender<bool>>,
    complain: Complain,
    /// What runs were made of when they were first seen.
    begun: PathBuf,
}

impl Operator {
    /// An operator with the credentials of its pod, or of a kubeconfig file.
    pub async fn new(
        project: Project,
        exchange: Exchange,
        settings: Settings,
        complain: Complain,
    ) -> Result<Self, Failure> {
        let client = Client::try_default().await;
        let client = client.map_err(|e| Failure::caused(Code::Cluster, &e))?;
        let begun = project.scratch("pipeline-runs")?;
        let attempts = Attempts::new(client.clone(), complain.clone());
        let (settings, metrics) = (Arc::new(settings), Arc::new(Metrics::default()));
        let ready = Arc::new(watch::channel(false).0);
        Ok(Self { client, project, exchange, settings, attempts, metrics, ready, complain, begun })
    }

    /// Who asks the exchange.
    pub fn doorkeeper(&self) -> Doorkeeper {
        let attempts = self.attempts.clone();
        Arc::new(move |token| {
            let attempts = attempts.clone();
            Box::pin(async move { attempts.admit(token).await })
        })
    }

    /// Whether all objects of the cluster were seen once.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// What was counted, in the text format of OpenMetrics.
    pub fn metrics(&self) -> String {
        self.metrics.text()
    }

    /// Works until the process ends.
    pub async fn operate(self) {
        let namespace = self.settings.namespace.clone();
        let following = self.attempts.clone().follow(namespace.clone());
        let judging = pipelines::follow(&self, namespace.as_deref());
        tokio::join!(following, judging, self.runs(namespace.as_deref()));
    }

    /// Follows `PipelineRun` objects: one that is not over is driven, one that is gone is dropped.
    async fn runs(&self, namespace: Option<&str>) {
        let mut driven: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
        // Those that are there, while the watch begins, or begins anew after it was broken.
        let mut present = BTreeSet::new();
        let events = watcher(api::<PipelineRun>(&self.client, namespace), watcher::Config::default());
        let followed = each(events, &self.complain, async |event| match event {
            watcher::Event::Init => present.clear(),
            watcher::Event::Apply(object) => self.take(object, &mut driven),
            watcher::Event::InitApply(object) => {
                present.extend(object.uid());
                self.take(object, &mut driven);
            }
            watcher::Event::InitDone => {
                driven.retain(|uid, task| present.contains(uid) || aborted(task));
                self.told(self.forget_all_but(&present));
                self.ready.send_replace(true);
            }
            watcher::Event::Delete(object) => {
                let uid = object.uid().unwrap_or_default();
                driven.retain(|other, task| *other != uid || aborted(task));
                let path = self.begun_path(&uid);
                if path.exists() {
                    let removed = std::fs::remove_file(&path).context("remove", &path);
                    self.told(removed.map_err(Failure::from));
                }
            }
        });
        followed.await;
    }

    fn take(&self, object: PipelineRun, driven: &mut BTreeMap<String, JoinHandle<()>>) {
        driven.retain(|_, task| !task.is_finished());
        let uid = object.uid().unwrap_or_default();
        let over = status::is_final(&object) || object.metadata.deletion_timestamp.is_some();
        if !over && !driven.contains_key(&uid) {
            driven.insert(uid, tokio::spawn(self.clone().drive(object)));
        }
    }

    fn told(&self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            (self.complain)(&failure.to_string());
        }
    }

    async fn drive(self, object: PipelineRun) {
        self.told(run::run(&self, object).await);
    }

    fn begun_path(&self, uid: &str) -> PathBuf {
        self.begun.join(format!("{}.json", Digest::of(uid.as_bytes()).short()))
    }

    /// Removes what was written down about runs that are gone.
    fn forget_all_but(&self, present: &BTreeSet<String>) -> Result<(), Failure> {
        let kept: BTreeSet<PathBuf> = present.iter().map(|uid| self.begun_path(uid)).collect();
        for entry in std::fs::read_dir(&self.begun).context("list", &self.begun)? {
            let path = entry.context("list", &self.begun)?.path();
            if !kept.contains(&path) {
                std::fs::remove_file(&path).context("remove", &path)?;
            }
        }
        Ok(())
    }
}

/// Ends the task; `false`, because it is kept no longer.
fn aborted(task: &JoinHandle<()>) -> bool {
    task.abort();
    false
}

fn reporter() -> Reporter {
    Reporter { controller: "lineal-operator".to_owned(), instance: None }
}
