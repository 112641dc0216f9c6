//! Running the gates of a run and recording their verdicts about the model.

mod inference;

use std::fs::File;

use lineal_blob::tree;
use lineal_data::Contract;
use lineal_engine::gate::{self, Expectations, GateVerdict};
use lineal_engine::pipeline::{Gate, OutputRef, Pipeline, Source};
use lineal_facts::predicate::{Artifact, Outcome, ResourceDescriptor, TestResult};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, GateName, Predicate, RunId, Statement};
use serde::Serialize;
use serde_json::Value;

use crate::definition::{self, Definition};
use crate::failure::{Code, Failure};
use crate::model::serve_spec;
use crate::progress::{Event, Observer};
use crate::project::Project;
use crate::serving::{ModelServer, ServeTarget, unregistered};

/// A recorded verdict.
#[derive(Debug, Serialize)]
pub struct GateOutcome {
    /// The gate.
    pub gate: GateName,
    /// The verdict.
    pub outcome: Outcome,
    /// Checks that held.
    pub passed: Vec<String>,
    /// Checks that were not made, with the reason.
    pub skipped: Vec<String>,
    /// Checks that did not hold.
    pub failed: Vec<String>,
    /// The statement.
    pub statement: Digest,
}

/// Runs all gates of `run`, records each verdict about the run's model and what else was tested.
pub async fn run(
    project: &Project,
    run: &RunId,
    observer: Observer<'_>,
) -> Result<Vec<GateOutcome>, Failure> {
    let (definition, pipeline) = definition::of_run(project, run).await?;
    if pipeline.gates.is_empty() {
        return Err(Failure::new(Code::Usage, format!("the pipeline of `{run}` has no gates")));
    }
    let tester = Tester { project, run, definition: &definition, pipeline: &pipeline };
    let mut verdicts = Vec::new();
    for (name, gate) in &pipeline.gates {
        observer(Event::Began { what: format!("gate {name}"), total: 0 });
        let tested = tester.test(gate).await;
        observer(Event::Ended);
        verdicts.push((name.clone(), gate, tested?));
    }
    let mut statements = Vec::new();
    for (name, gate, tested) in &verdicts {
        statements.push(tester.statement(name, gate, tested).await?);
    }
    let committed = project.store.commit(&statements, project.store.builder()).await?;
    let outcomes = verdicts.into_iter().zip(committed).map(|((gate, _, tested), committed)| GateOutcome {
        gate,
        outcome: tested.verdict.outcome,
        passed: tested.verdict.passed,
        skipped: tested.verdict.skipped,
        failed: tested.verdict.failed,
        statement: committed.statement,
    });
    Ok(outcomes.collect())
}

/// The artefact that `reference` names in a sealed run, and the statement that made it.
pub async fn output_of(
    project: &Project,
    run: &RunId,
    reference: &OutputRef,
) -> Result<(Artifact, Digest), Failure> {
    let missing = || Failure::new(Code::NotFound, format!("run `{run}` has no output `{reference}`"));
    let steps = project.store.index().run_steps(run).await?;
    let step = steps.iter().find(|s| s.step == reference.step).ok_or_else(missing)?;
    let result = project.store.index().result(&step.cache_key).await?.ok_or_else(missing)?;
    let artifact = result.outputs.get(reference.output.as_str()).cloned().ok_or_else(missing)?;
    Ok((artifact, step.provenance))
}

/// A verdict and the documents that it rests on.
struct Tested {
    verdict: GateVerdict,
    /// What was tested besides the model.
    about: Vec<Subject>,
    /// What it was tested with.
    with: Vec<ResourceDescriptor>,
}

struct Tester<'a> {
    project: &'a Project,
    run: &'a RunId,
    definition: &'a Definition,
    pipeline: &'a Pipeline,
}

impl Tester<'_> {
    async fn test(&self, gate: &Gate) -> Result<Tested, Failure> {
        match gate {
            Gate::Contract { contract, on } => self.contract(contract, on).await,
            Gate::Metrics { metrics, expect } => self.metrics(metrics, expect).await,
            Gate::Inference { model, requests, expect } => self.inference(model, requests, expect).await,
        }
    }

    async fn contract(&self, path: &str, on: &Source) -> Result<Tested, Failure> {
        let blobs = self.project.store.blobs();
        let file = self.definition.files.get(path).copied().ok_or_else(|| {
            Failure::new(Code::Internal, format!("the run's definition lacks the contract `{path}`"))
        })?;
        let contract =
            Contract::parse(&blobs.read(&file)?).map_err(|e| Failure::caused(Code::Contract, &e))?;
        let digest = self.content(on).await?;
        let manifest = tree::manifest(blobs, &digest)?;
        let covered = manifest.files().iter().filter(|f| contract.covers(&f.path));
        let checks = contract.check(covered.map(|f| {
            let opened = blobs.verify(&f.digest).map_err(std::io::Error::other);
            (f.path.clone(), opened.and_then(|()| File::open(blobs.path(&f.digest))))
        }));
        let mut verdict =
            GateVerdict { outcome: Outcome::Passed, passed: vec![], failed: vec![], skipped: vec![] };
        for check in checks {
            let text = match &check.detail {
                Some(detail) => format!("{}: {} ({detail})", check.table, check.text),
                None => format!("{}: {}", check.table, check.text),
            };
            if check.held { verdict.passed.push(text) } else { verdict.failed.push(text) }
        }
        if !verdict.failed.is_empty() {
            verdict.outcome = Outcome::Failed;
        }
        let about = vec![Subject::new(on.to_string(), digest)];
        Ok(Tested { verdict, about, with: vec![descriptor(&format!("contract/{path}"), file)] })
    }

    async fn metrics(&self, metrics: &OutputRef, expect: &Expectations) -> Result<Tested, Failure> {
        let (report, _) = output_of(self.project, self.run, metrics).await?;
        let bytes = self.project.store.blobs().read(&report.digest)?;
        let value: Value = lineal_facts::json::parse_value(&bytes).map_err(|e| {
            Failure::new(Code::StepOutput, format!("`{metrics}` is declared as metrics but is {e}"))
        })?;
        let about = vec![Subject::new(metrics.to_string(), report.digest)];
        Ok(Tested { verdict: gate::evaluate(expect, &value), about, with: vec![] })
    }

    async fn inference(
        &self,
        model: &OutputRef,
        requests: &Source,
        expect: &Expectations,
    ) -> Result<Tested, Failure> {
        let (artifact, _) = output_of(self.project, self.run, model).await?;
        let name = self.pipeline.name.as_str().parse()?;
        let serve = serve_spec(self.project, self.definition, self.pipeline)?;
        let requests_digest = self.content(requests).await?;
        let lines = self.project.store.blobs().read(&requests_digest)?;
        let output = serve.output.clone();
        let target = ServeTarget { version: unregistered(&name), digest: artifact.digest, serve };
        let report = match ModelServer::start(self.project, &target).await {
            Ok(server) => {
                let report = inference::send(&server, &lines, &output).await;
                server.stop().await;
                report?
            }
            // A model that cannot be served failed its test; that is a verdict, not an accident.
            Err(failure) if failure.code == Code::ModelServer => {
                serde_json::json!({"start": failure.message})
            }
            Err(failure) => return Err(failure),
        };
        let bytes =
            lineal_facts::json::canonical(&report).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let report_digest = self.project.store.blobs().put(&bytes)?;
        let mut verdict = gate::evaluate(expect, &report);
        if let Some(reason) = report.get("start").and_then(Value::as_str) {
            verdict.failed.push(reason.to_owned());
        }
        let about = vec![Subject::new(requests.to_string(), requests_digest)];
        Ok(Tested { verdict, about, with: vec![descriptor("report", report_digest)] })
    }

    async fn content(&self, source: &Source) -> Result<Digest, Failure> {
        match source {
            Source::Output(reference) => Ok(output_of(self.project, self.run, reference).await?.0.digest),
            Source::Data(name) => {
                let reference = self.pipeline.data.get(name).ok_or_else(|| {
                    Failure::new(Code::Internal, format!("the pipeline lacks data `{name}`"))
                })?;
                Ok(crate::data::find(self.project, reference).await?.digest)
            }
        }
    }

    async fn statement(&self, name: &GateName, gate: &Gate, tested: &Tested) -> Result<Statement, Failure> {
        let definition =
            lineal_facts::json::canonical(gate).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let definition = self.project.store.blobs().put(&definition)?;
        let mut subject = Vec::new();
        if let Some(serve) = &self.pipeline.serve {
            let (model, _) = output_of(self.project, self.run, &serve.model).await?;
            subject.push(Subject::new(serve.model.to_string(), model.digest));
        }
        subject.extend(tested.about.iter().cloned());
        let mut configuration = vec![descriptor(&format!("gate/{name}"), definition)];
        configuration.extend(tested.with.iter().cloned());
        let result = TestResult {
            result: tested.verdict.outcome,
            configuration,
            passed_tests: tested.verdict.passed.clone(),
            warned_tests: tested.verdict.skipped.clone(),
            failed_tests: tested.verdict.failed.clone(),
        };
        Ok(Statement { subject, predicate: Predicate::TestResult(result) })
    }
}

fn descriptor(name: &str, digest: Digest) -> ResourceDescriptor {
    ResourceDescriptor { name: name.to_owned(), digest: digest.into(), annotations: Default::default() }
}
