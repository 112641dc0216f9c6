//! Steps as Jobs.
//!
//! Guarantees: the name of an attempt follows from the run, the step and its number, so a Job is made once however
//! often the operator starts again. An attempt that the cluster ended is followed by another; a step's own failure is
//! final. What a pod says is recorded only as the exchange took it, and where it ran only as the API server says.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use lineal_app::exchange::Taken;
use lineal_app::executor::{Executed, Executor, Task};
use lineal_app::step::{self, Execution, Software};
use lineal_app::{Code, Failure, now};
use lineal_facts::Timestamp;
use lineal_step::Outcome;
use tokio::time::Instant;

use super::Operator;
use super::attempts::Fate;
use super::job::{self, Attempt};
use crate::resource::PipelineRun;

/// Kind of builder that executions in pods name.
pub const CLUSTER_BUILDER: &str = "https://lineal.dev/builders/kubernetes-job/v1";
/// Attempts at one step, if the cluster ends them.
const ATTEMPT_LIMIT: u32 = 4;
/// How long an image may not be there.
const PULL_LIMIT: Duration = Duration::from_secs(300);

/// The executor of one run.
pub(super) struct ClusterExecutor<'a> {
    pub(super) operator: &'a Operator,
    pub(super) run: &'a PipelineRun,
    /// Attempts whose results are stored by the exchange; they are forgotten when the run is over.
    pub(super) attempts: Mutex<Vec<String>>,
    /// Tells of a Job that was made, by step.
    pub(super) began: &'a (dyn Fn(&str, &str) + Send + Sync),
}

#[async_trait]
impl Executor for ClusterExecutor<'_> {
    fn builder(&self) -> &str {
        CLUSTER_BUILDER
    }

    fn parallel_steps(&self) -> usize {
        self.operator.settings.parallel_steps
    }

    async fn execute(&self, task: Task) -> Result<Executed, Failure> {
        let mut ended = String::new();
        for number in 0..ATTEMPT_LIMIT {
            let name = job::name(self.run, &task.step.name, task.stream, number);
            match self.attempt(&task, &name).await? {
                Ok(taken) => return self.executed(&task, taken),
                Err(why) => ended = why,
            }
        }
        let text = format!(
            "step `{}`: {ATTEMPT_LIMIT} pods ended before it did, the last one: {ended}",
            task.step.name
        );
        Err(Failure::new(Code::Step, text))
    }
}

impl ClusterExecutor<'_> {
    /// One Job to its end. The inner error is a reason to make another one.
    async fn attempt(&self, task: &Task, name: &str) -> Result<Result<Taken, String>, Failure> {
        let step = &task.step.name;
        let image = task.step.image().map(ToString::to_string).ok_or_else(|| {
            Failure::new(Code::Environment, format!("step `{step}` has no image to run in"))
        })?;
        let mut offer =
            self.operator.exchange.offer(step::order(&execution(task), name)?, &task.key.cpu.class)?;
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let attempt = Attempt { name, run: self.run, step: &task.step, image: &image };
        let job = self.make(&job::job(&self.operator.settings, &attempt)).await?;
        let mut watched = self.operator.attempts.watch(name, &job, &image);
        (self.began)(step.as_str(), name);
        let mut pull_limit: Option<Instant> = None;
        let mut not_pulled = String::new();
        loop {
            let patience = async {
                match pull_limit {
                    Some(limit) => tokio::time::sleep_until(limit).await,
                    None => std::future::pending().await,
                }
            };
            let fate = tokio::select! {
                biased;
                taken = offer.taken() => return Ok(Ok(taken?)),
                fate = watched.fate() => fate,
                () = patience => Fate::NotStarted(not_pulled.clone()),
            };
            let stop = |text: String| Failure::new(Code::Step, format!("step `{step}` {text}"));
            let fate = match fate {
                Fate::Failed(said) => {
                    let cause = self.operator.attempts.cause(&job, said);
                    cause.await.map_err(|e| cluster(&e))?
                }
                fate => fate,
            };
            let again = match fate {
                Fate::Running => {
                    pull_limit = None;
                    continue;
                }
                Fate::NotPulled(why) => {
                    not_pulled = why;
                    pull_limit.get_or_insert_with(|| Instant::now() + PULL_LIMIT);
                    continue;
                }
                Fate::OutOfMemory => {
                    self.remove(name).await;
                    return Err(stop("was killed: it used more memory than its pod may".to_owned()));
                }
                Fate::NotStarted(why) => {
                    self.remove(name).await;
                    return Err(stop(format!("could not be started: {why}")));
                }
                Fate::Deadline => return Err(stop("had no pod that ended within the Job's time".to_owned())),
                Fate::Failed(why) => return Err(stop(format!("has no result: {why}"))),
                Fate::Disrupted(why) => format!("the cluster ended its pod ({why})"),
                Fate::Unreached => {
                    "its pod could not reach the operator; a NetworkPolicy may forbid it".to_owned()
                }
                Fate::Deleted if self.is_there(&job).await? => continue,
                Fate::Deleted => "its Job was deleted".to_owned(),
            };
            return Ok(Err(again));
        }
    }

    /// Makes the Job, or finds the one that was made before.
    async fn make(&self, job: &Job) -> Result<Job, Failure> {
        let api = self.jobs();
        match api.create(&PostParams::default(), job).await {
            Ok(made) => Ok(made),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let name = job.name_any();
                let found = api.get(&name).await.map_err(|e| cluster(&e))?;
                let run = self.run.uid();
                let ours = found.owner_references().iter().any(|owner| Some(&owner.uid) == run.as_ref());
                match ours {
                    true => Ok(found),
                    false => {
                        let text =
                            format!("there is a Job `{name}` that belongs to something else; remove it");
                        Err(Failure::new(Code::Cluster, text))
                    }
                }
            }
            Err(error) => Err(cluster(&error)),
        }
    }

    async fn is_there(&self, job: &Job) -> Result<bool, Failure> {
        let found = self.jobs().get_metadata_opt(&job.name_any()).await.map_err(|e| cluster(&e))?;
        Ok(found.is_some_and(|found| found.uid() == job.uid() && found.metadata.deletion_timestamp.is_none()))
    }

    /// Ends a Job that would go on by itself.
    async fn remove(&self, name: &str) {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        // Its time limit and its owner end it too.
        if let Err(error) = self.jobs().delete(name, &params).await {
            (self.operator.complain)(&format!("Job {name} cannot be deleted: {error}"));
        }
    }

    fn jobs(&self) -> Api<Job> {
        let namespace = self.run.namespace().unwrap_or_default();
        Api::namespaced(self.operator.client.clone(), &namespace)
    }

    /// What was taken, judged as a local execution is.
    fn executed(&self, task: &Task, taken: Taken) -> Result<Executed, Failure> {
        let step = &task.step.name;
        let finished_at = now();
        let finished = match taken.result.outcome {
            Outcome::Finished(finished) => *finished,
            Outcome::Refused(refusal) => {
                let text = format!("step `{step}`: {} ({})", refusal.message, refusal.code);
                return Err(Failure::new(Code::Step, text));
            }
        };
        let blobs = self.operator.project.store.blobs();
        let log = match finished.log {
            Some(log) => log,
            None => blobs.put(b"")?,
        };
        step::check_exit(step, task.step.timeout_ms, &finished.report, &blobs.fetch(&log)?)?;
        let outputs = step::declared(&task.key, finished.outputs);
        let wall_ms = i64::try_from(finished.report.wall_ms).unwrap_or(0);
        let started_at = Timestamp::from_unix_ms(finished_at.unix_ms().saturating_sub(wall_ms));
        let mut location = taken.location;
        location.insert("kernel".to_owned(), taken.result.machine.kernel);
        Ok(Executed { outputs, report: finished.report, log, started_at, finished_at, location })
    }
}

fn execution(task: &Task) -> Execution {
    Execution {
        step: task.step.name.clone(),
        key: task.key.clone(),
        // The pod brings it.
        software: Software::default(),
        timeout_ms: task.step.timeout_ms,
        stream: task.stream,
        determinism: task.determinism,
    }
}

/// A failure of the API server.
pub(super) fn cluster(error: &kube::Error) -> Failure {
    Failure::caused(Code::Cluster, error)
}
