//! What the cluster tells about attempts: who a pod is, and which of them will have no result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, TryStreamExt, pin_mut};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use lineal_app::exchange::Pass;
use lineal_facts::Digest;
use lineal_step::Refusal;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Complain;
use super::job::{ATTEMPT, AUDIENCE, CONTAINER, SELECTOR, UNREACHED};

/// How long a pod that asks may be ahead of the watch that tells of it.
const AHEAD: Duration = Duration::from_secs(10);
/// How long the API server's word about a token holds. A pod asks several times a step.
const REVIEW_HOLDS: Duration = Duration::from_secs(10);
/// Reasons for waiting that do not go away by themselves.
const STUCK: [&str; 3] = ["CreateContainerConfigError", "ErrImageNeverPull", "InvalidImageName"];
/// How containerd ends the message about an image that its registry does not have.
const NOT_FOUND: &str = "not found";
/// Reasons for waiting that may go away.
const PULLING: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// What the cluster tells of an attempt. All but the first two mean that there will be no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its container runs.
    Running,
    /// An image cannot be pulled; the kubelet goes on trying.
    NotPulled(String),
    /// More memory than it may use.
    OutOfMemory,
    /// The cluster ended it, or its node is gone.
    Disrupted(String),
    /// The container cannot be started as things are.
    NotStarted(String),
    /// It took longer than the Job may.
    Deadline,
    /// It could not reach the exchange.
    Unreached,
    /// The Job is gone, as it seems.
    Deleted,
    /// The Job is over, and says why.
    Failed(String),
}

/// The attempts that run. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Attempts {
    client: Client,
    complain: Complain,
    /// Short critical sections on maps; nothing is awaited inside.
    state: Arc<Mutex<State>>,
    /// Tells who waits that a pod was seen.
    seen: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<String, Running>,
    /// Pods by their uid.
    pods: BTreeMap<String, SeenPod>,
    /// The pods of tokens that the API server knew, by digests of these, and until when that is believed.
    reviewed: BTreeMap<Digest, (String, Instant)>,
}

struct Running {
    namespace: String,
    job_uid: String,
    image: String,
    fate: mpsc::UnboundedSender<Fate>,
}

struct SeenPod {
    attempt: String,
    namespace: String,
    name: String,
    job_uid: String,
    image: String,
    image_id: String,
    node: String,
}

/// An attempt that is watched. Dropping it ends that.
pub(super) struct Watched {
    attempts: Attempts,
    attempt: String,
    fate: mpsc::UnboundedReceiver<Fate>,
}

impl Attempts {
    pub(super) fn new(client: Client, complain: Complain) -> Self {
        Self { client, complain, state: Arc::default(), seen: watch::channel(0).0 }
    }

    /// Watches the attempt whose Job is `job`.
    pub(super) fn watch(&self, attempt: &str, job: &Job, image: &str) -> Watched {
        let (fate, receiver) = mpsc::unbounded_channel();
        let running = Running {
            namespace: job.namespace().unwrap_or_default(),
            job_uid: job.uid().unwrap_or_default(),
            image: image.to_owned(),
            fate,
        };
        self.state().running.insert(attempt.to_owned(), running);
        // The Job may be over already, if it was made by an operator before this one.
        self.job(job);
        Watched { attempts: self.clone(), attempt: attempt.to_owned(), fate: receiver }
    }

    /// Who the holder of `token` is. The API server says for which living pod it was made, and the pod's Job must be one
    /// that was made here for that attempt.
    pub(super) async fn admit(&self, token: String) -> Result<Pass, Refusal> {
        let refused = |why: &str| Refusal::new("token", format!("the token is refused: {why}"));
        let uid = self.pod_of(token).await?;
        let mut seen = self.seen.subscribe();
        let known = seen.wait_for(|_| self.state().pods.contains_key(&uid));
        if tokio::time::timeout(AHEAD, known).await.is_err() {
            return Err(Refusal::new("unavailable", "the pod is not known yet"));
        }
        let state = self.state();
        let not_yet = Refusal::new("unavailable", "nobody waits for this pod's attempt");
        let Some(pod) = state.pods.get(&uid) else { return Err(not_yet) };
        // An operator that has just started will come to it.
        let running = state.running.get(&pod.attempt).ok_or(not_yet)?;
        if running.job_uid != pod.job_uid || running.namespace != pod.namespace {
            return Err(refused("its pod does not belong to the Job of that attempt"));
        }
        if running.image != pod.image {
            return Err(refused("its pod has another image than the step"));
        }
        let location = [("node", &pod.node), ("pod", &pod.name), ("image", &pod.image_id)];
        Ok(Pass {
            attempt: pod.attempt.clone(),
            pod: uid.clone(),
            location: location.map(|(name, value)| (name.to_owned(), value.clone())).into(),
        })
    }

    /// The uid of the living pod that `token` was made for.
    async fn pod_of(&self, token: String) -> Result<String, Refusal> {
        let refused = |why: &str| Refusal::new("token", format!("the token is refused: {why}"));
        let (digest, now) = (Digest::of(token.as_bytes()), Instant::now());
        {
            let mut state = self.state();
            state.reviewed.retain(|_, (_, until)| *until > now);
            if let Some((uid, _)) = state.reviewed.get(&digest) {
                return Ok(uid.clone());
            }
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token), audiences: Some(vec![AUDIENCE.to_owned()]) },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let review = api.create(&PostParams::default(), &review).await;
        let status = review
            .map_err(|e| Refusal::new("unavailable", format!("the API server cannot be asked: {e}")))?
            .status
            .unwrap_or_default();
        let audience = status.audiences.unwrap_or_default().iter().any(|a| a == AUDIENCE);
        if status.authenticated != Some(true) || !audience {
            return Err(refused("it is not one for the exchange, or its pod is gone"));
        }
        let extra = status.user.and_then(|user| user.extra).unwrap_or_default();
        let field = |name: &str| extra.get(name).and_then(|values| values.first()).cloned();
        let Some(uid) = field("authentication.kubernetes.io/pod-uid") else {
            return Err(refused("it is bound to no pod"));
        };
        self.state().reviewed.insert(digest, (uid.clone(), now + REVIEW_HOLDS));
        Ok(uid)
    }

    /// Follows Jobs and pods until the process ends.
    pub(super) async fn follow(self, namespace: Option<String>) {
        let config = || watcher::Config::default().labels(SELECTOR);
        let jobs = watcher(api::<Job>(&self.client, namespace.as_deref()), config());
        let pods = watcher(api::<Pod>(&self.client, namespace.as_deref()), config());
        // Those that are there, while a watch begins, or begins anew after it was broken.
        let mut present = BTreeSet::new();
        let jobs = each(jobs, &self.complain, async |event| match event {
            watcher::Event::Init => present.clear(),
            watcher::Event::InitApply(job) => {
                present.insert(job.name_any());
                self.job(&job);
            }
            watcher::Event::InitDone => self.gone(&present),
            watcher::Event::Apply(job) => self.job(&job),
            watcher::Event::Delete(job) => self.tell(&job.name_any(), Fate::Deleted),
        });
        let mut present = BTreeSet::new();
        let pods = each(pods, &self.complain, async |event| match event {
            watcher::Event::Init => present.clear(),
            watcher::Event::InitApply(pod) => {
                present.extend(pod.uid());
                self.pod(&pod);
            }
            watcher::Event::InitDone => self.state().pods.retain(|uid, _| present.contains(uid)),
            watcher::Event::Apply(pod) => self.pod(&pod),
            watcher::Event::Delete(pod) => {
                self.state().pods.remove(&pod.uid().unwrap_or_default());
            }
        });
        tokio::join!(jobs, pods);
    }

    /// Tells of Jobs that are not among those `present`. One that was made since is, so whoever is told looks again.
    fn gone(&self, present: &BTreeSet<String>) {
        let state = self.state();
        for (_, running) in state.running.iter().filter(|(name, _)| !present.contains(*name)) {
            // Nobody listens any more once the attempt is over.
            let _ = running.fate.send(Fate::Deleted);
        }
    }

    fn job(&self, job: &Job) {
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
        let conditions = conditions.map(Vec::as_slice).unwrap_or_default();
        let holds = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.status == "True");
        let fate = if let Some(failed) = holds("Failed").or_else(|| holds("FailureTarget")) {
            let message = failed.message.clone().unwrap_or_default();
            match failed.reason.as_deref() {
                Some("DeadlineExceeded") => Fate::Deadline,
                reason => Fate::Failed(format!("{}: {message}", reason.unwrap_or("Failed"))),
            }
        } else if holds("Complete").is_some() {
            Fate::Failed("its pod ended without a result".to_owned())
        } else {
            return;
        };
        self.tell(&job.name_any(), fate);
    }

    /// Why a Job is over that has no result. Its own words say less than its pod's; and the API server is asked for that,
    /// because the watch of pods may be behind the one of Jobs.
    pub(super) async fn cause(&self, job: &Job, said: String) -> Result<Fate, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &job.namespace().unwrap_or_default());
        let label = format!("batch.kubernetes.io/controller-uid={}", job.uid().unwrap_or_default());
        let pods = api.list(&ListParams::default().labels(&label)).await?;
        let Some(last) = pods.items.iter().max_by_key(|pod| pod.creation_timestamp()) else {
            return Ok(Fate::Disrupted("it was deleted".to_owned()));
        };
        Ok(ended(last).unwrap_or(Fate::Failed(said)))
    }

    fn pod(&self, pod: &Pod) {
        let Some(uid) = pod.uid() else { return };
        let Some(attempt) = pod.annotations().get(ATTEMPT).cloned() else { return };
        let owner = pod.owner_references().iter().find(|o| o.kind == "Job" && o.controller == Some(true));
        let Some(job_uid) = owner.map(|owner| owner.uid.clone()) else { return };
        let spec = pod.spec.as_ref();
        let container = spec.and_then(|spec| spec.containers.iter().find(|c| c.name == CONTAINER));
        let status = step_status(pod);
        let seen = SeenPod {
            attempt: attempt.clone(),
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            job_uid,
            image: container.and_then(|c| c.image.clone()).unwrap_or_default(),
            image_id: status.map(|s| s.image_id.clone()).unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        };
        self.state().pods.insert(uid, seen);
        let running = status.and_then(|s| s.state.as_ref()).is_some_and(|state| state.running.is_some());
        if let Some(fate) = waiting(pod).or(running.then_some(Fate::Running)) {
            self.tell(&attempt, fate);
        }
        self.seen.send_modify(|count| *count += 1);
    }

    fn tell(&self, attempt: &str, fate: Fate) {
        if let Some(running) = self.state().running.get(attempt) {
            // Nobody listens any more once the attempt is over.
            let _ = running.fate.send(fate);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// The next thing that the cluster tells.
    pub(super) async fn fate(&mut self) -> Fate {
        match self.fate.recv().await {
            Some(fate) => fate,
            // The sender is in the map until this is dropped.
            None => Fate::Deleted,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.attempts.state().running.remove(&self.attempt);
    }
}

fn step_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

/// How the step's container ended, if not by itself and well.
fn ended(pod: &Pod) -> Option<Fate> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let disrupted = conditions.and_then(|conditions| {
        conditions.iter().find(|c| c.type_ == "DisruptionTarget" && c.status == "True")
    });
    if let Some(disrupted) = disrupted {
        return Some(Fate::Disrupted(disrupted.reason.clone().unwrap_or_default()));
    }
    if let Some("Evicted") = pod.status.as_ref().and_then(|status| status.reason.as_deref()) {
        return Some(Fate::Disrupted("Evicted".to_owned()));
    }
    let terminated = step_status(pod)?.state.as_ref()?.terminated.as_ref()?;
    match (terminated.reason.as_deref(), terminated.exit_code) {
        (_, 0) => None,
        (Some("OOMKilled"), _) => Some(Fate::OutOfMemory),
        _ if pod.metadata.deletion_timestamp.is_some() => Some(Fate::Disrupted("it was deleted".to_owned())),
        (_, UNREACHED) => Some(Fate::Unreached),
        (reason, code) => {
            let message = terminated.message.clone().unwrap_or_default();
            Some(Fate::Failed(format!("{} with exit code {code} {message}", reason.unwrap_or("ended"))))
        }
    }
}

/// Why a container of the pod does not start, if something is wrong with it.
fn waiting(pod: &Pod) -> Option<Fate> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.filter_map(|status| status.state.as_ref()?.waiting.as_ref()).find_map(|waiting| {
        let reason = waiting.reason.as_deref()?;
        let text = format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default());
        let pulling = PULLING.contains(&reason);
        // What a registry does not know by its digest, it will not know by trying again.
        if STUCK.contains(&reason) || (pulling && text.ends_with(NOT_FOUND)) {
            return Some(Fate::NotStarted(text));
        }
        pulling.then_some(Fate::NotPulled(text))
    })
}

/// Awaits `act` for every event; an error is told and waited out.
pub(super) async fn each<K: Resource + Clone>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    complain: &Complain,
    mut act: impl AsyncFnMut(watcher::Event<K>),
) {
    let events = events.default_backoff();
    pin_mut!(events);
    loop {
        match events.try_next().await {
            Ok(Some(event)) => act(event).await,
            Ok(None) => return,
            Err(error) => complain(&format!("watching: {error}")),
        }
    }
}

/// The objects of one namespace, or of all.
pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
