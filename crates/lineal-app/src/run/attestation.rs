//! What is stated about the steps of one run. Only here is signed what executions made, wherever they ran.

use std::collections::BTreeMap;

use lineal_engine::plan::{CachedResult, KeyDocument, Plan, StepEnvironment, StepPlan};
use lineal_facts::predicate::{
    Artifact, BuildDefinition, Builder, ExternalParameters, Incident, InternalParameters, ResourceDescriptor,
    RunDetails, RunMetadata, RunSealed, RunStep, STEP_BUILD_TYPE, StepProvenance,
};
use lineal_facts::sequence::Series;
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, PipelineName, Predicate, RunId, Statement, StepName, Timestamp};

use super::record::RunRecord;
use super::{RunOutcome, StepOutcome};
use crate::definition::RunPlan;
use crate::executor::Executed;
use crate::failure::{Code, Failure};
use crate::project::{Project, now};
use crate::step;

/// One run on its way into the ledger.
pub(super) struct Attestation<'a> {
    pub(super) project: &'a Project,
    pub(super) pipeline: PipelineName,
    pub(super) seed: String,
    pub(super) run: RunId,
    /// Kind of builder, as a URI.
    pub(super) builder: &'a str,
    record: RunRecord,
}

impl<'a> Attestation<'a> {
    /// Goes on after what is recorded of `run` already, if it was interrupted.
    pub(super) async fn begin(
        project: &'a Project,
        pipeline: PipelineName,
        seed: String,
        run: RunId,
        builder: &'a str,
    ) -> Result<Self, Failure> {
        let end = project.store.index().series_end(&Series::Run(run.clone())).await?;
        let record = RunRecord::begin(&project.store, end);
        Ok(Self { project, pipeline, seed, run, builder, record })
    }

    /// Waits until everything so far is durable and indexed, and looks whether others were first.
    pub(super) async fn finish(&mut self, done: &[RunStep]) -> Result<(), Failure> {
        self.record.finish().await?;
        self.check_first(done).await
    }

    /// Makes the provenance statement and hands it to a group commit; the next step need not wait for the disk.
    pub(super) async fn record(
        &mut self,
        step: &StepPlan,
        key: &KeyDocument,
        why: String,
        (executed, probed): (Executed, Option<&'static str>),
        recorded: Option<&CachedResult>,
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
            location: executed.location.clone(),
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
                id: self.builder.to_owned(),
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
    async fn check_first(&self, done: &[RunStep]) -> Result<(), Failure> {
        for step in done.iter().filter(|step| !step.cached) {
            let first = self.project.store.index().result(&step.cache_key).await?;
            let Some(first) = first.filter(|first| first.outputs != step.outputs) else { continue };
            let digests = first.outputs.values().chain(step.outputs.values()).map(|a| a.digest).collect();
            let why = "another run executed it at the same time and got other bytes";
            return Err(contradiction(self.project, &step.step, digests, why).await?);
        }
        Ok(())
    }

    /// Closes the run with one statement over all its steps; nothing comes after it. A run of which every step was
    /// reused, and that came to what an earlier one came to, is that one.
    pub(super) async fn seal(
        &self,
        plan: &Plan,
        definition: Digest,
        started_at: Timestamp,
        done: Vec<(StepOutcome, RunStep)>,
        warnings: Vec<String>,
    ) -> Result<RunOutcome, Failure> {
        let store = &self.project.store;
        let document = RunPlan { version: "1", definition, plan: plan.document() };
        let bytes =
            lineal_facts::json::canonical(&document).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let plan_digest = store.blobs().put(&bytes)?;
        let (steps, run_steps): (Vec<StepOutcome>, Vec<RunStep>) = done.into_iter().unzip();
        let pipeline = self.pipeline.clone();
        if steps.iter().all(|s| s.reused)
            && let Some(earlier) = store.index().run_of_plan(&plan_digest).await?
        {
            let (run, statement) = (earlier.run, earlier.statement);
            return Ok(RunOutcome { run, pipeline, unchanged: true, statement, steps, warnings });
        }
        let mut subject = vec![Subject::new("plan", plan_digest)];
        for step in &run_steps {
            let named = step.outputs.iter();
            subject.extend(named.map(|(n, a)| Subject::new(format!("{}.{n}", step.step), a.digest)));
        }
        let record = RunSealed {
            run: self.run.clone(),
            pipeline: pipeline.clone(),
            plan: plan_digest,
            steps: run_steps,
            sequence: self.record.next(),
            started_at,
            finished_at: now(),
        };
        let statement = Statement { subject, predicate: Predicate::RunSealed(record) };
        let committed = store.commit(&[statement], store.builder()).await?;
        let statement = committed.first().map_or(plan_digest, |c| c.statement);
        Ok(RunOutcome { run: self.run.clone(), pipeline, unchanged: false, statement, steps, warnings })
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
