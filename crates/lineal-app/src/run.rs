//! Running a pipeline: reuse what is recorded and verified, execute the rest, seal the result.

mod attestation;
mod drive;
mod record;
mod recorded;

use std::collections::BTreeMap;
use std::path::Path;

use lineal_blob::tree::StatCache;
use lineal_engine::plan::{Decision, decide};
use lineal_facts::predicate::Artifact;
use lineal_facts::{Digest, PipelineName, RunId, StepName};
use serde::Serialize;

pub use drive::{Identity, StepEvent, StepObserver, drive};

use crate::definition;
use crate::executor::LocalExecutor;
use crate::failure::Failure;
use crate::progress::{Event, Observer};
use crate::project::{Project, now, random_hex};
use recorded::Recorded;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct RunOutcome {
    /// The run; an earlier one if nothing had to be done.
    pub run: RunId,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// Whether an earlier run already had exactly these results.
    pub unchanged: bool,
    /// The statement that seals the run.
    pub statement: Digest,
    /// Steps in order.
    pub steps: Vec<StepOutcome>,
    /// What is declared but never used.
    pub warnings: Vec<String>,
}

/// What came of a step.
#[derive(Debug, Clone, Serialize)]
pub struct StepOutcome {
    /// The step.
    pub step: StepName,
    /// Whether an earlier result was used.
    pub reused: bool,
    /// Why.
    pub why: String,
    /// Digest of everything that determines the result.
    pub cache_key: Digest,
    /// How long the execution took.
    pub wall_ms: u64,
    /// `not-read`, `read`, `controlled`, `insensitive` or `sensitive`.
    pub entropy: String,
    /// Who read entropy.
    pub entropy_askers: Vec<String>,
    /// What this machine could not control.
    pub uncontrolled: Vec<String>,
    /// Outputs by name.
    pub outputs: BTreeMap<String, Artifact>,
}

/// Runs the pipeline at `file` on this machine. Finished steps stay recorded even if a later one fails or the process
/// is killed.
pub async fn run(
    project: &Project,
    file: &Path,
    overrides: &[String],
    observer: Observer<'_>,
) -> Result<RunOutcome, Failure> {
    let started_at = now();
    let loaded = definition::load(project, file, overrides, started_at).await?;
    let nonce = u64::from_str_radix(&random_hex()?, 16).unwrap_or(0);
    let run = RunId::derive(&loaded.definition_digest, started_at, nonce);
    let executor = LocalExecutor { project, environments: loaded.environments.clone() };
    let tell = |event: StepEvent| match event {
        StepEvent::Began(step) => observer(Event::Began { what: format!("running {step}"), total: 0 }),
        StepEvent::Done(outcome) if outcome.reused => {}
        StepEvent::Done(_) | StepEvent::Failed(..) => observer(Event::Ended),
    };
    drive(project, loaded, &Identity { run, started_at }, &executor, &tell).await
}

/// Why a step would run or not, without running anything: the step's decision and, if its inputs are not known yet,
/// the step that has to run first.
pub async fn explain(
    project: &Project,
    file: &Path,
    overrides: &[String],
    step: Option<&StepName>,
) -> Result<Vec<(StepName, bool, String)>, Failure> {
    let loaded = definition::load(project, file, overrides, now()).await?;
    let mut plan = loaded.plan;
    let recorded = Recorded::load(project, &loaded.pipeline.name).await?;
    let mut verified = StatCache::load(&project.folder().join("work/blobs.json"));
    if let Some(step) = step {
        plan.step(step).map_err(|e| definition::plan_failure(&e))?;
    }
    let names: Vec<StepName> = plan.steps().iter().map(|s| s.name.clone()).collect();
    let mut explained = Vec::new();
    for name in names {
        let Ok(key) = plan.key_document(&name) else {
            explained.push((name, false, "an input comes from a step that has to run first".to_owned()));
            continue;
        };
        let found = recorded.find(project, &mut verified, &name, &key).await?;
        let present = found.as_ref().is_some_and(|f| f.present);
        match decide(&key, found.as_ref().map(|f| &f.result), present) {
            Decision::Reuse(result) => {
                let outputs = result.outputs.clone();
                explained.push((name.clone(), true, "everything that determines it is as it was".to_owned()));
                plan.complete(&name, outputs).map_err(|e| definition::plan_failure(&e))?;
            }
            Decision::Execute(reason) => explained.push((name, false, reason.to_string())),
        }
    }
    Ok(explained.into_iter().filter(|(name, _, _)| step.is_none_or(|s| s == name)).collect())
}
