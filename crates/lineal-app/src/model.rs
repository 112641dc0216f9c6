//! Registering model versions.

use lineal_engine::pipeline::{Env, Pipeline};
use lineal_facts::predicate::{ArtifactKind, ModelVersionRecord, ServeSpec};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, ModelName, ModelVersion, Predicate, RunId, Statement};
use lineal_store::index::VersionRow;
use serde::Serialize;

use crate::definition::{self, Definition};
use crate::environment;
use crate::failure::{Code, Failure};
use crate::gates;
use crate::project::{Project, now};

/// A version that is in the record now.
#[derive(Debug, Serialize)]
pub struct Registered {
    /// Name and number.
    pub version: ModelVersion,
    /// The model's digest.
    pub digest: Digest,
    /// The statement.
    pub statement: Digest,
    /// Whether the record had it already.
    pub unchanged: bool,
}

/// Registers the model of `run` as the next version of `model`. The same bytes of the same run stay the same version.
pub async fn register(project: &Project, model: &ModelName, run: &RunId) -> Result<Registered, Failure> {
    let (definition, pipeline) = definition::of_run(project, run).await?;
    let Some(serve) = &pipeline.serve else {
        return Err(Failure::new(
            Code::Usage,
            format!(
                "the pipeline of `{run}` has no `serve` section; it says which output is the model and how it is served"
            ),
        ));
    };
    let (artifact, provenance) = gates::output_of(project, run, &serve.model).await?;
    if artifact.kind != ArtifactKind::Directory {
        return Err(Failure::new(
            Code::Usage,
            format!("`{}` is a file; a model is a directory with all that serving needs", serve.model),
        ));
    }
    let known = project.store.index().versions(Some(model)).await?;
    if let Some(row) = known.iter().find(|row| row.digest == artifact.digest && row.record.run == *run) {
        let (version, digest, statement) = (row.version.clone(), row.digest, row.statement);
        return Ok(Registered { version, digest, statement, unchanged: true });
    }
    let number = known.iter().map(|row| row.version.version).max().unwrap_or(0) + 1;
    let version = ModelVersion { model: model.clone(), version: number };
    let record = ModelVersionRecord {
        version: version.clone(),
        run: run.clone(),
        step: serve.model.step.clone(),
        output: serve.model.output.to_string(),
        provenance,
        serve: serve_spec(project, &definition, &pipeline)?,
        registered_at: now(),
    };
    let statement = Statement {
        subject: vec![Subject::new(version.to_string(), artifact.digest)],
        predicate: Predicate::ModelVersion(record),
    };
    let committed = project.store.commit(&[statement], project.store.builder()).await?;
    let statement = committed.first().map_or(artifact.digest, |c| c.statement);
    let row = find(project, &version).await?;
    if row.statement != statement {
        return Err(Failure::new(
            Code::Taken,
            format!("another process registered `{version}` at the same moment; run the command again"),
        ));
    }
    Ok(Registered { version, digest: artifact.digest, statement, unchanged: false })
}

/// A registered version.
pub async fn find(project: &Project, version: &ModelVersion) -> Result<VersionRow, Failure> {
    project.store.index().version(version).await?.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no model version `{version}`; `lineal model list` shows what there is"),
        )
    })
}

/// How the pipeline's model is served, with the digest of the environment as it is now.
pub fn serve_spec(
    project: &Project,
    definition: &Definition,
    pipeline: &Pipeline,
) -> Result<ServeSpec, Failure> {
    let wrong =
        |reason: &str| Failure::new(Code::Pipeline, format!("the pipeline's `serve` section {reason}"));
    let serve = pipeline.serve.as_ref().ok_or_else(|| wrong("is missing"))?;
    let env = pipeline.envs.get(&serve.env).ok_or_else(|| wrong("names an unknown environment"))?;
    let (environment, environment_path) = match env {
        Env::Python(python) => {
            let path = std::path::Path::new(&definition.folder).join(python);
            let found = environment::at(project, &project.root.join(&path), now())?;
            (found.digest, path.display().to_string())
        }
        // Whether it is here matters to who starts a server.
        Env::Image(image) => (image.digest(), image.to_string()),
    };
    Ok(ServeSpec {
        run: serve.run.clone(),
        environment,
        environment_path,
        output: serve.output.clone(),
        ready_timeout_ms: serve.ready_timeout_ms.to_string(),
    })
}
