//! Who executes steps: the sandbox of this machine, or a cluster.

use std::collections::BTreeMap;

use async_trait::async_trait;
use lineal_engine::pipeline::{Determinism, OutputName};
use lineal_engine::plan::{KeyDocument, StepPlan};
use lineal_facts::predicate::Artifact;
use lineal_facts::{Digest, Timestamp};
use lineal_sandbox::Report;

use crate::environment::Environments;
use crate::failure::{Code, Failure};
use crate::image;
use crate::project::Project;
use crate::step::{self, Execution, Software};

/// Kind of builder that local executions name.
pub const LOCAL_BUILDER: &str = "https://lineal.dev/builders/local-sandbox/v1";

/// One execution of a step.
#[derive(Debug, Clone)]
pub struct Task {
    /// The step.
    pub step: StepPlan,
    /// What determines the result.
    pub key: KeyDocument,
    /// Which of several entropy streams `strict` uses; 0 unless probing.
    pub stream: u32,
    /// Overrides the step's determinism, for probing.
    pub determinism: Determinism,
}

/// What an execution made.
#[derive(Debug)]
pub struct Executed {
    /// Outputs by name, frozen as blobs.
    pub outputs: BTreeMap<OutputName, Artifact>,
    /// What the sandbox saw.
    pub report: Report,
    /// Blob with standard output and error.
    pub log: Digest,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Where it ran, as far as that is known from others than the step itself: node, pod, image.
    pub location: BTreeMap<String, String>,
}

/// Whoever executes steps. Dropping an execution ends it, as far as that can be done.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Kind of builder, as a URI, for provenance.
    fn builder(&self) -> &str;

    /// How many steps of one run may be executed at a time.
    fn parallel_steps(&self) -> usize;

    /// Executes. A step that ended badly is a failure.
    async fn execute(&self, task: Task) -> Result<Executed, Failure>;
}

/// The sandbox of this machine; one step at a time, so that none disturbs the times of another.
pub struct LocalExecutor<'a> {
    /// Where blobs are.
    pub project: &'a Project,
    /// The pipeline's environments.
    pub environments: Environments,
}

#[async_trait]
impl Executor for LocalExecutor<'_> {
    fn builder(&self) -> &str {
        LOCAL_BUILDER
    }

    fn parallel_steps(&self) -> usize {
        1
    }

    async fn execute(&self, task: Task) -> Result<Executed, Failure> {
        let environment = task.step.environment.as_ref();
        let environment = environment.and_then(|e| self.environments.by_name.get(&e.name)).cloned();
        let project = self.project.clone();
        let execute = move || {
            let software = match task.step.image() {
                Some(reference) => image::software(&project, reference)?,
                None => Software::of_base(environment.as_ref()),
            };
            let execution = Execution {
                step: task.step.name.clone(),
                key: task.key,
                software,
                timeout_ms: task.step.timeout_ms,
                stream: task.stream,
                determinism: task.determinism,
            };
            step::execute(&project, &execution)
        };
        tokio::task::spawn_blocking(execute).await.map_err(|e| Failure::caused(Code::Internal, &e))?
    }
}
