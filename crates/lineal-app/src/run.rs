//! Running a pipeline: reuse what is recorded and verified, execute the rest, seal the result.

mod record;

use std::collections::BTreeMap;
use std::path::Path;

use lineal_engine::pipeline::{Determinism, OutputName, Probe};
use lineal_engine::plan::{CachedResult, Decision, KeyDocument, Plan, StepEnvironment, StepPlan, decide};
use lineal_facts::predicate::{
    Artifact, BuildDefinition, Builder, ExternalParameters, Incident, InternalParameters, ResourceDescriptor,
    RunDetails, RunMetadata, RunSealed, RunStep, STEP_BUILD_TYPE, StepProvenance,
};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, PipelineName, Predicate, RunId, Statement, StepName, Timestamp};
use lineal_store::index;
use lineal_store::tree::{self, StatCache};
use serde::Serialize;

use crate::definition::{self, Loaded, RunPlan};
use crate::environment::Environments;
use crate::failure::{Code, Failure};
use crate::image;
use crate::progress::{Event, Observer};
use crate::project::{Project, now, random_hex};
use crate::step::{self, Executed, Execution, Software};
use record::RunRecord;

/// Kind of builder that local executions name.
pub const BUILDER_ID: &str = "https://lineal.dev/builders/local-sandbox/v1";

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
#[derive(Debug, Serialize)]
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

/// What is known about earlier results of a pipeline's steps.
struct Recorded {
    by_key: BTreeMap<Digest, index::CachedResult>,
    latest: BTreeMap<StepName, index::CachedResult>,
}

struct Session<'a> {
    project: &'a Project,
    environments: Environments,
    /// Images that steps of this run were executed in.
    images: BTreeMap<Digest, Software>,
    pipeline: PipelineName,
    seed: String,
    run: RunId,
    recorded: Recorded,
    verified: StatCache,
    record: RunRecord,
}

/// Runs the pipeline at `file`. Finished steps stay recorded even if a later one fails or the process is killed.
pub async fn run(
    project: &Project,
    file: &Path,
    overrides: &[String],
    observer: Observer<'_>,
) -> Result<RunOutcome, Failure> {
    let started_at = now();
    let loaded = definition::load(project, file, overrides, started_at).await?;
    let warnings = loaded.pipeline.warnings();
    let nonce = u64::from_str_radix(&random_hex()?, 16).unwrap_or(0);
    let run = RunId::derive(&loaded.definition_digest, started_at, nonce);
    let Loaded { pipeline, definition_digest, environments, mut plan, .. } = loaded;
    let verified_path = project.folder().join("work/blobs.json");
    let mut session = Session {
        project,
        environments,
        images: BTreeMap::new(),
        pipeline: pipeline.name.clone(),
        seed: pipeline.seed.to_string(),
        run: run.clone(),
        recorded: Recorded::load(project, &pipeline.name).await?,
        verified: StatCache::load(&verified_path),
        record: RunRecord::begin(&project.store),
    };
    let names: Vec<StepName> = plan.steps().iter().map(|s| s.name.clone()).collect();
    let mut done = Vec::new();
    let mut failure = None;
    for name in &names {
        match session.step(&mut plan, name, observer).await {
            Ok(finished) => done.push(finished),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    session.record.finish().await?;
    session.check_first(&done).await?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    session.verified.save(&verified_path)?;
    seal(&session, &plan, definition_digest, started_at, done, warnings).await
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
        let (cached, present) = recorded.find(project, &mut verified, &name, &key).await?;
        match decide(&key, cached.as_ref(), present) {
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

impl Recorded {
    async fn load(project: &Project, pipeline: &PipelineName) -> Result<Self, Failure> {
        let (mut by_key, mut latest) = (BTreeMap::new(), BTreeMap::new());
        for result in project.store.index().results_of(pipeline).await? {
            latest.entry(result.step.clone()).or_insert_with(|| result.clone());
            by_key.insert(result.cache_key, result);
        }
        Ok(Self { by_key, latest })
    }

    /// The result of this key, or else the step's latest one, in the engine's form; and whether its bytes are there.
    async fn find(
        &self,
        project: &Project,
        verified: &mut StatCache,
        step: &StepName,
        key: &KeyDocument,
    ) -> Result<(Option<CachedResult>, bool), Failure> {
        let cache_key = key.cache_key().map_err(|e| Failure::caused(Code::Internal, &e))?;
        let exact = match self.by_key.get(&cache_key) {
            Some(result) => Some(result.clone()),
            None => project.store.index().result(&cache_key).await?,
        };
        if let Some(result) = exact {
            let present = result.outputs.values().all(|artifact| is_present(project, verified, artifact));
            return Ok((Some(convert(result, key.clone())?), present));
        }
        let Some(latest) = self.latest.get(step) else { return Ok((None, false)) };
        // Only the explanation needs the document of another key; without it nothing can be compared.
        let Ok(document) = project.store.blobs().read(&latest.key_document) else { return Ok((None, false)) };
        let previous = KeyDocument::from_bytes(&document).map_err(|e| Failure::caused(Code::Tampered, &e))?;
        Ok((Some(convert(latest.clone(), previous)?), false))
    }
}

impl Session<'_> {
    async fn step(
        &mut self,
        plan: &mut Plan,
        name: &StepName,
        observer: Observer<'_>,
    ) -> Result<(StepOutcome, RunStep), Failure> {
        let key = plan.key_document(name).map_err(|e| definition::plan_failure(&e))?;
        let (cached, present) = self.recorded.find(self.project, &mut self.verified, name, &key).await?;
        let finished = match decide(&key, cached.as_ref(), present) {
            Decision::Reuse(result) => reused(name, &key, result)?,
            Decision::Execute(reason) => {
                let step = plan.step(name).map_err(|e| definition::plan_failure(&e))?.clone();
                observer(Event::Began { what: format!("running {name}"), total: 0 });
                let executed = self.execute(&step, &key).await;
                observer(Event::Ended);
                self.record(&step, &key, reason.to_string(), executed?, cached.filter(|c| c.key == key))
                    .await?
            }
        };
        let outputs = finished
            .1
            .outputs
            .iter()
            .map(|(n, a)| {
                Ok((n.parse::<OutputName>().map_err(|e| Failure::caused(Code::Internal, &e))?, a.clone()))
            })
            .collect::<Result<BTreeMap<_, _>, Failure>>()?;
        plan.complete(name, outputs).map_err(|e| definition::plan_failure(&e))?;
        Ok(finished)
    }

    /// Executes, and probes if asked to. The second value is the entropy state.
    async fn execute(
        &mut self,
        step: &StepPlan,
        key: &KeyDocument,
    ) -> Result<(Executed, Option<&'static str>), Failure> {
        let software = self.software(step).await?;
        let execution = Execution {
            step: step.name.to_string(),
            key: key.clone(),
            software,
            timeout_ms: step.timeout_ms,
            stream: 0,
            determinism: step.determinism,
        };
        let executed = self.execute_once(execution.clone()).await?;
        // Under `strict` randomness is part of the key, so there is nothing left to find out.
        if step.determinism == Determinism::Strict || !step.probes.contains(&Probe::Entropy) {
            return Ok((executed, None));
        }
        let probe = |stream| Execution { stream, determinism: Determinism::Strict, ..execution.clone() };
        let first = self.execute_once(probe(1)).await?;
        let second = self.execute_once(probe(2)).await?;
        let state = if first.outputs == second.outputs { "insensitive" } else { "sensitive" };
        Ok((executed, Some(state)))
    }

    /// What the step runs in. An image is looked at once in a run.
    async fn software(&mut self, step: &StepPlan) -> Result<Software, Failure> {
        let Some(image) = step.image() else {
            let environment = step.environment.as_ref().and_then(|e| self.environments.by_name.get(&e.name));
            return Ok(Software::of_base(environment));
        };
        if let Some(known) = self.images.get(&image.digest()) {
            return Ok(known.clone());
        }
        let (project, reference) = (self.project.clone(), image.clone());
        let found = tokio::task::spawn_blocking(move || image::software(&project, &reference))
            .await
            .map_err(|e| Failure::caused(Code::Internal, &e))??;
        self.images.insert(image.digest(), found.clone());
        Ok(found)
    }

    async fn execute_once(&self, execution: Execution) -> Result<Executed, Failure> {
        let project = self.project.clone();
        tokio::task::spawn_blocking(move || step::execute(&project, &execution))
            .await
            .map_err(|e| Failure::caused(Code::Internal, &e))?
    }

    /// Makes the provenance statement and hands it to a group commit; the next step need not wait for the disk.
    async fn record(
        &mut self,
        step: &StepPlan,
        key: &KeyDocument,
        why: String,
        (executed, probed): (Executed, Option<&'static str>),
        recorded: Option<CachedResult>,
    ) -> Result<(StepOutcome, RunStep), Failure> {
        if let Some(recorded) = recorded
            && recorded.outputs != executed.outputs
        {
            let digests =
                recorded.outputs.values().chain(executed.outputs.values()).map(|a| a.digest).collect();
            let why = "it was executed again because bytes of its result were gone, and gave other bytes";
            return Err(contradiction(self.project, &step.name, digests, why).await?);
        }
        let mut entropy = step::entropy(&executed.report, step.determinism);
        if let Some(state) = probed {
            entropy.state = state.to_owned();
        }
        let uncontrolled: Vec<String> =
            executed.report.uncontrolled.iter().map(|u| format!("{}: {}", u.what, u.why)).collect();
        let outputs: BTreeMap<String, Artifact> =
            executed.outputs.iter().map(|(name, artifact)| (name.to_string(), artifact.clone())).collect();
        let document = key.to_bytes().map_err(|e| Failure::caused(Code::Internal, &e))?;
        let cache_key = self.project.store.blobs().put(&document)?;
        let outcome = StepOutcome {
            step: step.name.clone(),
            reused: false,
            why,
            cache_key,
            wall_ms: executed.report.wall_ms,
            entropy: entropy.state.clone(),
            entropy_askers: entropy.askers.clone(),
            uncontrolled: uncontrolled.clone(),
            outputs: outputs.clone(),
        };
        let internal = InternalParameters {
            cache_key,
            key_document: cache_key,
            step_seed: key.seed.clone(),
            cpu: format!("{}, {} thread(s)", key.cpu.class, key.cpu.threads),
            entropy,
            uncontrolled,
            outputs: outputs.clone(),
            sequence: self.record.next(),
        };
        let statement = self.provenance(step, key, &executed, internal);
        let digest = self.record.push(statement)?;
        let run_step =
            RunStep { step: step.name.clone(), cache_key, cached: false, provenance: digest, outputs };
        Ok((outcome, run_step))
    }

    fn provenance(
        &self,
        step: &StepPlan,
        key: &KeyDocument,
        executed: &Executed,
        internal: InternalParameters,
    ) -> Statement {
        let subject = internal
            .outputs
            .iter()
            .map(|(name, artifact)| Subject::new(format!("{}.{name}", step.name), artifact.digest))
            .collect();
        let mut dependencies = vec![descriptor("code", key.code)];
        if let Some(environment) = &step.environment {
            dependencies.push(environment_descriptor(environment));
        }
        for (name, input) in &key.inputs {
            let source = step.inputs.get(name).map_or_else(String::new, ToString::to_string);
            dependencies.push(descriptor(&format!("in/{name} ({source})"), input.digest));
        }
        let build_definition = BuildDefinition {
            build_type: STEP_BUILD_TYPE.to_owned(),
            external_parameters: ExternalParameters {
                pipeline: self.pipeline.clone(),
                step: step.name.clone(),
                run: key.run.clone(),
                parameters: key.parameters.iter().map(|(n, v)| (n.to_string(), v.clone())).collect(),
                seed: self.seed.clone(),
                determinism: step.determinism.as_str().to_owned(),
            },
            internal_parameters: internal,
            resolved_dependencies: dependencies,
        };
        let run_details = RunDetails {
            builder: Builder {
                id: BUILDER_ID.to_owned(),
                version: [("lineal".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
            },
            metadata: RunMetadata {
                invocation_id: self.run.clone(),
                started_on: executed.started_at,
                finished_on: executed.finished_at,
            },
            byproducts: vec![descriptor("log", executed.log)],
        };
        Statement {
            subject,
            predicate: Predicate::Provenance(StepProvenance { build_definition, run_details }),
        }
    }

    /// Another run may have recorded a result of the same key meanwhile: it stands, and ours must be the same.
    async fn check_first(&self, done: &[(StepOutcome, RunStep)]) -> Result<(), Failure> {
        for (_, step) in done.iter().filter(|(_, step)| !step.cached) {
            let first = self.project.store.index().result(&step.cache_key).await?;
            let Some(first) = first.filter(|first| first.outputs != step.outputs) else { continue };
            let digests = first.outputs.values().chain(step.outputs.values()).map(|a| a.digest).collect();
            let why = "another run executed it at the same time and got other bytes";
            return Err(contradiction(self.project, &step.step, digests, why).await?);
        }
        Ok(())
    }
}

/// The same key gave other bytes: that is recorded, and the first result stands.
async fn contradiction(
    project: &Project,
    step: &StepName,
    digests: Vec<Digest>,
    why: &str,
) -> Result<Failure, Failure> {
    let message =
        format!("step `{step}`: {why}; make it repeatable (`determinism: strict`), or restore the blobs");
    let statement = Statement {
        subject: digests.into_iter().map(|digest| Subject::new(step.to_string(), digest)).collect(),
        predicate: Predicate::Incident(Incident {
            code: "nondeterministic-step".to_owned(),
            message: message.clone(),
            found_at: now(),
        }),
    };
    project.store.commit(&[statement], project.store.builder()).await?;
    Ok(Failure::new(Code::NotReproduced, message))
}

async fn seal(
    session: &Session<'_>,
    plan: &Plan,
    definition: Digest,
    started_at: Timestamp,
    done: Vec<(StepOutcome, RunStep)>,
    warnings: Vec<String>,
) -> Result<RunOutcome, Failure> {
    let store = &session.project.store;
    let document = RunPlan { version: "1", definition, plan: plan.document() };
    let bytes = lineal_facts::json::canonical(&document).map_err(|e| Failure::caused(Code::Internal, &e))?;
    let plan_digest = store.blobs().put(&bytes)?;
    let (steps, run_steps): (Vec<StepOutcome>, Vec<RunStep>) = done.into_iter().unzip();
    let pipeline = session.pipeline.clone();
    if steps.iter().all(|s| s.reused)
        && let Some(earlier) = store.index().run_of_plan(&plan_digest).await?
    {
        let (run, statement) = (earlier.run, earlier.statement);
        return Ok(RunOutcome { run, pipeline, unchanged: true, statement, steps, warnings });
    }
    let mut subject = vec![Subject::new("plan", plan_digest)];
    for step in &run_steps {
        subject
            .extend(step.outputs.iter().map(|(n, a)| Subject::new(format!("{}.{n}", step.step), a.digest)));
    }
    let record = RunSealed {
        run: session.run.clone(),
        pipeline: pipeline.clone(),
        plan: plan_digest,
        steps: run_steps,
        sequence: session.record.next(),
        started_at,
        finished_at: now(),
    };
    let statement = Statement { subject, predicate: Predicate::RunSealed(record) };
    let committed = store.commit(&[statement], store.builder()).await?;
    let statement = committed.first().map_or(plan_digest, |c| c.statement);
    Ok(RunOutcome { run: session.run.clone(), pipeline, unchanged: false, statement, steps, warnings })
}

fn reused(
    name: &StepName,
    key: &KeyDocument,
    result: &CachedResult,
) -> Result<(StepOutcome, RunStep), Failure> {
    let cache_key = key.cache_key().map_err(|e| Failure::caused(Code::Internal, &e))?;
    let outputs: BTreeMap<String, Artifact> =
        result.outputs.iter().map(|(n, a)| (n.to_string(), a.clone())).collect();
    let outcome = StepOutcome {
        step: name.clone(),
        reused: true,
        why: "everything that determines it is as it was, and its bytes are there".to_owned(),
        cache_key,
        wall_ms: 0,
        entropy: String::new(),
        entropy_askers: Vec::new(),
        uncontrolled: Vec::new(),
        outputs: outputs.clone(),
    };
    let provenance = result.provenance;
    Ok((outcome, RunStep { step: name.clone(), cache_key, cached: true, provenance, outputs }))
}

fn convert(result: index::CachedResult, key: KeyDocument) -> Result<CachedResult, Failure> {
    let outputs = result
        .outputs
        .into_iter()
        .map(|(name, artifact)| {
            Ok((name.parse().map_err(|e| Failure::caused(Code::Internal, &e))?, artifact))
        })
        .collect::<Result<_, Failure>>()?;
    Ok(CachedResult { key, provenance: result.statement, outputs })
}

/// Whether every blob of `artifact` is there and hashes to its name; unchanged files are hashed once.
fn is_present(project: &Project, verified: &mut StatCache, artifact: &Artifact) -> bool {
    let blobs = project.store.blobs();
    let mut good = |digest: &Digest| {
        let Ok(path) = blobs.fetch(digest) else { return false };
        let Ok(metadata) = std::fs::metadata(&path) else { return false };
        if verified.get(&path, &metadata) == Some(*digest) {
            return true;
        }
        let holds = blobs.verify_file(digest).is_ok();
        if holds {
            verified.insert(&path, &metadata, *digest, now().unix_ms() / 1000);
        }
        holds
    };
    good(&artifact.digest)
        && tree::blobs_of(blobs, artifact.kind, &artifact.digest).is_ok_and(|all| all.iter().all(&mut good))
}

/// An image's name is told for people; its digest alone identifies it.
fn environment_descriptor(environment: &StepEnvironment) -> ResourceDescriptor {
    let mut found = descriptor(&format!("environment/{}", environment.name), environment.digest);
    if let Some(image) = &environment.image {
        found.annotations.insert("image".to_owned(), image.name().to_owned());
    }
    found
}

fn descriptor(name: &str, digest: Digest) -> ResourceDescriptor {
    ResourceDescriptor { name: name.to_owned(), digest: digest.into(), annotations: BTreeMap::new() }
}
