//! One run from its plan to its seal, whoever executes the steps.
//!
//! Guarantees: a result is reused only if its bytes are there; what a step made is durable before anything rests on it
//! being done; an interrupted run that is driven again under the same [`Identity`] goes on where it was. After a
//! failure nothing new is started, and what runs is waited for, so that its results stay.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lineal_blob::tree::StatCache;
use lineal_engine::pipeline::{Determinism, OutputName, Probe};
use lineal_engine::plan::{CachedResult, Decision, KeyDocument, Plan, StepPlan, decide};
use lineal_facts::predicate::{Artifact, RunStep};
use lineal_facts::sequence::Series;
use lineal_facts::{RunId, StepName, Timestamp};

use super::attestation::Attestation;
use super::recorded::{Found, Recorded};
use super::{RunOutcome, StepOutcome};
use crate::definition::{self, Loaded};
use crate::executor::{Executed, Executor, Task};
use crate::failure::{Code, Failure};
use crate::project::Project;

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub run: RunId,
    /// When it was first started.
    pub started_at: Timestamp,
}

/// What is told of a run while it goes on.
#[derive(Debug, Clone)]
pub enum StepEvent {
    /// An execution was begun.
    Began(StepName),
    /// The step has its outputs, reused or new.
    Done(StepOutcome),
    /// The step has none, and the run will fail.
    Failed(StepName, Failure),
}

/// Whoever listens.
pub type StepObserver<'a> = &'a (dyn Fn(StepEvent) + Send + Sync);

/// A finished execution: the step, its key, why it ran, what was known before, what came of it.
type Finished =
    (StepName, KeyDocument, String, Option<CachedResult>, Result<(Executed, Option<&'static str>), Failure>);

struct Driver<'a> {
    project: &'a Project,
    identity: &'a Identity,
    plan: Plan,
    recorded: Recorded,
    verified: StatCache,
    attestation: Attestation<'a>,
    /// Steps whose inputs are known, by their place in the plan.
    ready: BTreeMap<usize, StepName>,
    places: BTreeMap<StepName, usize>,
    done: BTreeMap<usize, (StepOutcome, RunStep)>,
}

/// Drives the run to its end. A run that is sealed already is told as it was.
pub async fn drive(
    project: &Project,
    loaded: Loaded,
    identity: &Identity,
    executor: &dyn Executor,
    tell: StepObserver<'_>,
) -> Result<RunOutcome, Failure> {
    let warnings = loaded.pipeline.warnings();
    let Loaded { pipeline, definition_digest, plan, .. } = loaded;
    if let Some(sealed) = sealed(project, identity).await? {
        return Ok(RunOutcome { warnings, ..sealed });
    }
    let verified_path = project.folder().join("work/blobs.json");
    let (seed, run) = (pipeline.seed.to_string(), identity.run.clone());
    let mut driver = Driver {
        project,
        identity,
        recorded: Recorded::load(project, &pipeline.name).await?,
        verified: StatCache::load(&verified_path),
        attestation: Attestation::begin(project, pipeline.name.clone(), seed, run, executor.builder())
            .await?,
        places: plan.steps().iter().enumerate().map(|(place, step)| (step.name.clone(), place)).collect(),
        ready: BTreeMap::new(),
        done: BTreeMap::new(),
        plan,
    };
    let names: Vec<StepName> = driver.plan.ready().into_iter().map(|step| step.name.clone()).collect();
    driver.make_ready(names);
    let driven = driver.steps(executor, tell).await;
    let run_steps: Vec<RunStep> = driver.done.values().map(|(_, step)| step.clone()).collect();
    driver.attestation.finish(&run_steps).await?;
    driven?;
    driver.verified.save(&verified_path)?;
    let done = driver.done.into_values().collect();
    driver.attestation.seal(&driver.plan, definition_digest, identity.started_at, done, warnings).await
}

impl Driver<'_> {
    async fn steps(&mut self, executor: &dyn Executor, tell: StepObserver<'_>) -> Result<(), Failure> {
        let mut running = FuturesUnordered::new();
        let mut failure: Option<Failure> = None;
        loop {
            while failure.is_none() && running.len() < executor.parallel_steps().max(1) {
                let Some((_, name)) = self.ready.pop_first() else { break };
                match self.begin(&name, tell).await {
                    Ok(None) => {}
                    Ok(Some((step, key, why, known))) => {
                        tell(StepEvent::Began(name));
                        running.push(execute(executor, step, key, why, known));
                    }
                    Err(error) => failure = Some(failed(tell, name, error)),
                }
            }
            let Some(finished) = running.next().await else { break };
            let name = finished.0.clone();
            if let Err(error) = self.end(finished, tell).await {
                let error = failed(tell, name, error);
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Reuses the step's result, or says what has to be executed, and why.
    async fn begin(
        &mut self,
        name: &StepName,
        tell: StepObserver<'_>,
    ) -> Result<Option<(StepPlan, KeyDocument, String, Option<CachedResult>)>, Failure> {
        let key = self.plan.key_document(name).map_err(|e| definition::plan_failure(&e))?;
        let found = self.recorded.find(self.project, &mut self.verified, name, &key).await?;
        let (cached, present) =
            (found.as_ref().map(|f| &f.result), found.as_ref().is_some_and(|f| f.present));
        let reason = match decide(&key, cached, present) {
            Decision::Execute(reason) => reason.to_string(),
            Decision::Reuse(_) => {
                let Some(found) = found else { return Ok(None) };
                let done = self.reused(name, &key, &found)?;
                self.complete(name, done, tell)?;
                return Ok(None);
            }
        };
        let step = self.plan.step(name).map_err(|e| definition::plan_failure(&e))?.clone();
        let known = found.map(|f| f.result).filter(|result| result.key == key);
        Ok(Some((step, key, reason, known)))
    }

    async fn end(&mut self, finished: Finished, tell: StepObserver<'_>) -> Result<(), Failure> {
        let (name, key, why, known, executed) = finished;
        let step = self.plan.step(&name).map_err(|e| definition::plan_failure(&e))?.clone();
        let done = self.attestation.record(&step, &key, why, executed?, known.as_ref()).await?;
        self.complete(&name, done, tell)
    }

    fn complete(
        &mut self,
        name: &StepName,
        done: (StepOutcome, RunStep),
        tell: StepObserver<'_>,
    ) -> Result<(), Failure> {
        let internal = |e: &dyn std::error::Error| Failure::caused(Code::Internal, e);
        let outputs = done.1.outputs.iter();
        let outputs = outputs
            .map(|(name, artifact)| {
                Ok((name.parse::<OutputName>().map_err(|e| internal(&e))?, artifact.clone()))
            })
            .collect::<Result<BTreeMap<_, _>, Failure>>()?;
        let ready = self.plan.complete(name, outputs).map_err(|e| definition::plan_failure(&e))?;
        tell(StepEvent::Done(done.0.clone()));
        if let Some(place) = self.places.get(name) {
            self.done.insert(*place, done);
        }
        self.make_ready(ready);
        Ok(())
    }

    fn make_ready(&mut self, names: Vec<StepName>) {
        let placed = names.into_iter().filter_map(|name| Some((*self.places.get(&name)?, name)));
        self.ready.extend(placed);
    }

    /// What this run executed before it was interrupted is its own work, not reused.
    fn reused(
        &self,
        name: &StepName,
        key: &KeyDocument,
        found: &Found,
    ) -> Result<(StepOutcome, RunStep), Failure> {
        let cache_key = key.cache_key().map_err(|e| Failure::caused(Code::Internal, &e))?;
        let outputs: BTreeMap<String, Artifact> =
            found.result.outputs.iter().map(|(n, a)| (n.to_string(), a.clone())).collect();
        let own = found.run == self.identity.run;
        let why = match own {
            true => "this run executed it before it was interrupted",
            false => "everything that determines it is as it was, and its bytes are there",
        };
        let outcome = StepOutcome {
            step: name.clone(),
            reused: !own,
            why: why.to_owned(),
            cache_key,
            wall_ms: 0,
            entropy: String::new(),
            entropy_askers: Vec::new(),
            uncontrolled: Vec::new(),
            outputs: outputs.clone(),
        };
        let provenance = found.result.provenance;
        Ok((outcome, RunStep { step: name.clone(), cache_key, cached: !own, provenance, outputs }))
    }
}

/// Executes, and probes if asked to. The second value is the entropy state.
async fn execute(
    executor: &dyn Executor,
    step: StepPlan,
    key: KeyDocument,
    why: String,
    known: Option<CachedResult>,
) -> Finished {
    let name = step.name.clone();
    let executed = probed(executor, &step, &key).await;
    (name, key, why, known, executed)
}

async fn probed(
    executor: &dyn Executor,
    step: &StepPlan,
    key: &KeyDocument,
) -> Result<(Executed, Option<&'static str>), Failure> {
    let task = |stream, determinism| Task { step: step.clone(), key: key.clone(), stream, determinism };
    let executed = executor.execute(task(0, step.determinism)).await?;
    // Under `strict` randomness is part of the key, so there is nothing left to find out.
    if step.determinism == Determinism::Strict || !step.probes.contains(&Probe::Entropy) {
        return Ok((executed, None));
    }
    let first = executor.execute(task(1, Determinism::Strict)).await?;
    let second = executor.execute(task(2, Determinism::Strict)).await?;
    let state = if first.outputs == second.outputs { "insensitive" } else { "sensitive" };
    Ok((executed, Some(state)))
}

fn failed(tell: StepObserver<'_>, name: StepName, failure: Failure) -> Failure {
    tell(StepEvent::Failed(name, failure.clone()));
    failure
}

/// The outcome of a run that was sealed, but whose end nobody was told.
async fn sealed(project: &Project, identity: &Identity) -> Result<Option<RunOutcome>, Failure> {
    let index = project.store.index();
    let end = index.series_end(&Series::Run(identity.run.clone())).await?;
    if !end.is_some_and(|end| end.closed) {
        return Ok(None);
    }
    let Some(row) = index.run(&identity.run).await? else { return Ok(None) };
    let mut steps = Vec::new();
    for step in index.run_steps(&identity.run).await? {
        let outputs = index.result(&step.cache_key).await?.map(|result| result.outputs).unwrap_or_default();
        steps.push(StepOutcome {
            step: step.step,
            reused: step.cached,
            why: "the run is sealed".to_owned(),
            cache_key: step.cache_key,
            wall_ms: 0,
            entropy: String::new(),
            entropy_askers: Vec::new(),
            uncontrolled: Vec::new(),
            outputs,
        });
    }
    let (run, pipeline, statement) = (row.run, row.pipeline, row.statement);
    Ok(Some(RunOutcome { run, pipeline, unchanged: false, statement, steps, warnings: Vec::new() }))
}
