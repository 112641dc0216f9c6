//! Executing a recorded run again, from its record alone, and comparing every digest.

use lineal_engine::pipeline::{Env, EnvName, Pipeline};
use lineal_engine::plan::KeyDocument;
use lineal_facts::predicate::{Outcome, ResourceDescriptor, TestResult};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, Predicate, RunId, Statement, StepName};
use serde::Serialize;

use crate::definition;
use crate::environment;
use crate::failure::{Code, Failure};
use crate::progress::{Event, Observer};
use crate::project::{Project, now};
use crate::step::{self, Execution, Software};

/// What came of a reproduction.
#[derive(Debug, Serialize)]
pub struct Reproduction {
    /// The run.
    pub run: RunId,
    /// Whether every output has the recorded digest.
    pub reproduced: bool,
    /// Outputs, one by one.
    pub outputs: Vec<ReproducedOutput>,
    /// What may explain differences.
    pub causes: Vec<String>,
    /// The statement that records the result.
    pub statement: Digest,
}

/// One output.
#[derive(Debug, Serialize)]
pub struct ReproducedOutput {
    /// The step.
    pub step: StepName,
    /// Its output.
    pub output: String,
    /// What was recorded.
    pub recorded: Digest,
    /// What came out now.
    pub found: Digest,
}

/// Re-executes every step of `run` with recorded code, inputs, parameters, seed and environment, in fresh places.
pub async fn reproduce(
    project: &Project,
    run: &RunId,
    observer: Observer<'_>,
) -> Result<Reproduction, Failure> {
    let (definition, pipeline) = definition::of_run(project, run).await?;
    let index = project.store.index();
    let (mut outputs, mut causes) = (Vec::new(), Vec::new());
    for recorded in index.run_steps(run).await? {
        let result = index.result(&recorded.cache_key).await?.ok_or_else(|| {
            Failure::new(Code::NotVerified, format!("the result of step `{}` is not recorded", recorded.step))
        })?;
        let document = project.store.blobs().read(&result.key_document)?;
        let key = KeyDocument::from_bytes(&document).map_err(|e| Failure::caused(Code::Tampered, &e))?;
        let execution = execution(project, &definition.folder, &pipeline, &recorded.step, key)?;
        observer(Event::Began { what: format!("re-executing {}", recorded.step), total: 0 });
        let worker = project.clone();
        let executed = tokio::task::spawn_blocking(move || step::execute(&worker, &execution))
            .await
            .map_err(|e| Failure::caused(Code::Internal, &e));
        observer(Event::Ended);
        let executed = executed??;
        let mut equal = true;
        for (name, artifact) in &executed.outputs {
            let recorded_digest = result.outputs.get(name.as_str()).map_or(artifact.digest, |a| a.digest);
            equal &= recorded_digest == artifact.digest;
            outputs.push(ReproducedOutput {
                step: recorded.step.clone(),
                output: name.to_string(),
                recorded: recorded_digest,
                found: artifact.digest,
            });
        }
        if !equal {
            causes.push(cause(&recorded.step, &result.entropy));
        }
    }
    let reproduced = outputs.iter().all(|o| o.recorded == o.found);
    let statement = record(project, run, &outputs).await?;
    Ok(Reproduction { run: run.clone(), reproduced, outputs, causes, statement })
}

fn execution(
    project: &Project,
    folder: &str,
    pipeline: &Pipeline,
    step: &StepName,
    key: KeyDocument,
) -> Result<Execution, Failure> {
    let declared = pipeline.step(step).ok_or_else(|| {
        Failure::new(Code::Tampered, format!("the run's pipeline lacks step `{step}`, which it recorded"))
    })?;
    let mut software = Software::of_base(None);
    if let Some(name) = &declared.env {
        let (digest, found) = software_of(project, folder, pipeline, name)?;
        if Some(digest) != key.environment {
            let recorded = key.environment.map_or_else(|| "none".to_owned(), |d| d.to_string());
            return Err(Failure::new(
                Code::Environment,
                format!(
                    "environment `{name}` is {digest}, recorded was {recorded}; restore it from its lock file"
                ),
            ));
        }
        software = found;
    }
    let determinism = key.determinism;
    let timeout_ms = declared.timeout_ms;
    Ok(Execution { step: step.clone(), key, software, timeout_ms, stream: 0, determinism })
}

fn software_of(
    project: &Project,
    folder: &str,
    pipeline: &Pipeline,
    name: &EnvName,
) -> Result<(Digest, Software), Failure> {
    let env = pipeline.envs.get(name).ok_or_else(|| {
        Failure::new(Code::Tampered, format!("the run's pipeline lacks environment `{name}`"))
    })?;
    match env {
        Env::Python(python) => {
            let found = environment::at(project, &project.root.join(folder).join(python), now())?;
            Ok((found.digest, Software::of_base(Some(&found))))
        }
        Env::Image(image) => Ok((image.digest(), crate::image::software(project, image)?)),
    }
}

fn cause(step: &StepName, entropy: &str) -> String {
    match entropy {
        "sensitive" => format!(
            "step `{step}`: its output follows the system's randomness (proven by a probe); seed it, or set `determinism: strict`"
        ),
        "read" => format!(
            "step `{step}`: it read the system's randomness, which `observe` does not control; seed it, or set `determinism: strict`"
        ),
        _ => format!("step `{step}`: the cause is not known; compare its log and the machine"),
    }
}

async fn record(project: &Project, run: &RunId, outputs: &[ReproducedOutput]) -> Result<Digest, Failure> {
    let row = project
        .store
        .index()
        .run(run)
        .await?
        .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no run `{run}`")))?;
    let line = |o: &ReproducedOutput| format!("{}.{}: {}", o.step, o.output, o.found);
    let (passed, failed): (Vec<_>, Vec<_>) = outputs.iter().partition(|o| o.recorded == o.found);
    let mut subject = vec![Subject::new(run.to_string(), row.statement)];
    subject.extend(outputs.iter().map(|o| Subject::new(format!("{}.{}", o.step, o.output), o.recorded)));
    let result = TestResult {
        result: if failed.is_empty() { Outcome::Passed } else { Outcome::Failed },
        configuration: vec![ResourceDescriptor {
            name: format!("reproduce/{run}"),
            digest: row.plan.into(),
            annotations: Default::default(),
        }],
        passed_tests: passed.into_iter().map(line).collect(),
        warned_tests: vec![],
        failed_tests: failed.into_iter().map(line).collect(),
    };
    let statement = Statement { subject, predicate: Predicate::TestResult(result) };
    let committed = project.store.commit(&[statement], project.store.builder()).await?;
    Ok(committed.first().map_or(row.statement, |c| c.statement))
}
