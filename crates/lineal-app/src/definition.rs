//! What a run was asked to do, as a document that can be read back without the file: the pipeline's bytes, the values
//! from the command line and the files that its gates name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lineal_blob::BlobStore;
use lineal_blob::files::{self, Context};
use lineal_blob::tree::{self, StatCache};
use lineal_engine::pipeline::{DataName, EnvName, Gate, Override, Pipeline};
use lineal_engine::plan::{Cpu, Plan, PlanDocument, PlanError, Resolved};
use lineal_facts::{Digest, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::environment::Environments;
use crate::failure::{Code, Failure, chain};
use crate::project::Project;
use crate::source::Source;

const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// The stored document, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// Format version.
    pub version: String,
    /// Blob with the pipeline file.
    pub pipeline: Digest,
    /// Folder of the file, relative to the project.
    pub folder: String,
    /// `KEY=VALUE` from the command line.
    pub overrides: Vec<String>,
    /// Blobs of the files that gates name, by path relative to `folder`.
    pub files: BTreeMap<String, Digest>,
}

/// The stored plan of a run, version 1.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunPlan {
    /// Format version.
    pub version: &'static str,
    /// What was asked for.
    pub definition: Digest,
    /// What it came to.
    pub plan: PlanDocument,
}

#[derive(Deserialize)]
struct StoredRunPlan {
    definition: Digest,
}

/// A pipeline with everything that its names stand for.
#[derive(Debug)]
pub struct Loaded {
    /// The pipeline, values from the command line applied.
    pub pipeline: Pipeline,
    /// The document, stored as a blob.
    pub definition: Definition,
    /// Its digest.
    pub definition_digest: Digest,
    /// Environments and machine.
    pub environments: Environments,
    /// The plan, nothing complete yet.
    pub plan: Plan,
}

/// A pipeline whose file is not on this machine: the object of a cluster.
#[derive(Debug)]
pub struct Submitted<'a> {
    /// The document that the object means.
    pub bytes: &'a [u8],
    /// `KEY=VALUE`, as on the command line.
    pub overrides: &'a [String],
    /// The tree that its paths are in, if it names any.
    pub source: Option<Digest>,
    /// What computes where its steps run.
    pub cpu: Cpu,
}

/// Reads the pipeline at `file`, freezes its code and resolves its names.
pub async fn load(
    project: &Project,
    file: &Path,
    overrides: &[String],
    now: Timestamp,
) -> Result<Loaded, Failure> {
    let bytes = pipeline_file(file)?;
    let pipeline = parse(&bytes, overrides, file)?;
    let folder = fs::canonicalize(files::parent(file)).context("open", files::parent(file))?;
    let relative = folder.strip_prefix(&project.root).map_err(|_| {
        Failure::new(
            Code::Usage,
            format!("`{}` is outside the project `{}`; run it there", file.display(), project.root.display()),
        )
    })?;
    let blobs = project.store.blobs();
    let mut named = BTreeMap::new();
    for contract in contracts(&pipeline) {
        named.insert(contract.to_owned(), blobs.put(&contract_file(&folder, contract)?)?);
    }
    let definition = Definition {
        version: "1".to_owned(),
        pipeline: blobs.put(&bytes)?,
        folder: relative.display().to_string(),
        overrides: overrides.to_vec(),
        files: named,
    };
    let environments = Environments::resolve(project, &folder, &pipeline, now)?;
    let code = freeze_code(project, &folder, &pipeline, now)?;
    assemble(project, pipeline, definition, environments, code).await
}

/// Resolves the names of a pipeline by what is stored alone.
pub async fn submitted(project: &Project, submitted: &Submitted<'_>) -> Result<Loaded, Failure> {
    let pipeline = parse(submitted.bytes, submitted.overrides, Path::new("pipeline"))?;
    let source = Source::read(project, &pipeline, submitted.source.as_ref())?;
    let definition = Definition {
        version: "1".to_owned(),
        pipeline: project.store.blobs().put(submitted.bytes)?,
        folder: String::new(),
        overrides: submitted.overrides.to_vec(),
        files: source.files,
    };
    let environments = Environments::elsewhere(&pipeline, submitted.cpu.clone())?;
    assemble(project, pipeline, definition, environments, source.code).await
}

async fn assemble(
    project: &Project,
    pipeline: Pipeline,
    definition: Definition,
    environments: Environments,
    code: Digest,
) -> Result<Loaded, Failure> {
    let mut snapshots: BTreeMap<DataName, Digest> = BTreeMap::new();
    for (name, reference) in &pipeline.data {
        snapshots.insert(name.clone(), crate::data::find(project, reference).await?.digest);
    }
    let digests: BTreeMap<EnvName, Digest> =
        environments.by_name.iter().map(|(name, env)| (name.clone(), env.digest)).collect();
    let resolved = Resolved {
        snapshots,
        code,
        environments: digests,
        base: environments.base.clone(),
        cpu: environments.cpu.clone(),
    };
    let plan = Plan::new(&pipeline, &resolved).map_err(|e| plan_failure(&e))?;
    let document =
        lineal_facts::json::canonical(&definition).map_err(|e| Failure::caused(Code::Internal, &e))?;
    let definition_digest = project.store.blobs().put(&document)?;
    Ok(Loaded { pipeline, definition, definition_digest, environments, plan })
}

/// The definition and pipeline of a recorded run.
pub async fn of_run(project: &Project, run: &RunId) -> Result<(Definition, Pipeline), Failure> {
    let row = project.store.index().run(run).await?.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no run `{run}`; `lineal runs list` shows what there is"),
        )
    })?;
    let blobs = project.store.blobs();
    let tampered = |e: &dyn std::error::Error| Failure::caused(Code::Tampered, e);
    let plan: StoredRunPlan = serde_json::from_slice(&blobs.read(&row.plan)?).map_err(|e| tampered(&e))?;
    let definition: Definition =
        lineal_facts::json::parse(&blobs.read(&plan.definition)?).map_err(|e| tampered(&e))?;
    let pipeline = parse(&blobs.read(&definition.pipeline)?, &definition.overrides, Path::new("pipeline"))?;
    Ok((definition, pipeline))
}

/// The blobs behind a run's plan: definition, pipeline and the files that gates name.
pub fn blobs_of_plan(blobs: &BlobStore, plan: &Digest) -> Result<Vec<Digest>, Failure> {
    let tampered = |e: &dyn std::error::Error| Failure::caused(Code::Tampered, e);
    let plan: StoredRunPlan = serde_json::from_slice(&blobs.read(plan)?).map_err(|e| tampered(&e))?;
    let definition: Definition =
        lineal_facts::json::parse(&blobs.read(&plan.definition)?).map_err(|e| tampered(&e))?;
    Ok([plan.definition, definition.pipeline].into_iter().chain(definition.files.into_values()).collect())
}

/// A failure of planning.
pub fn plan_failure(error: &PlanError) -> Failure {
    Failure::caused(Code::Pipeline, error)
}

pub(crate) fn pipeline_file(file: &Path) -> Result<Vec<u8>, Failure> {
    files::read_limited(file, FILE_LIMIT_BYTES)
        .map_err(|e| Failure::new(Code::Pipeline, format!("pipeline file: {}", chain(&e))))
}

/// What a contract file of a pipeline in `folder` holds.
pub(crate) fn contract_file(folder: &Path, contract: &str) -> Result<Vec<u8>, Failure> {
    files::read_limited(&folder.join(contract), FILE_LIMIT_BYTES)
        .map_err(|e| Failure::new(Code::Contract, format!("contract file: {}", chain(&e))))
}

pub(crate) fn parse(bytes: &[u8], overrides: &[String], file: &Path) -> Result<Pipeline, Failure> {
    let located =
        |failure: Failure| Failure { message: format!("{}: {}", file.display(), failure.message), ..failure };
    let overrides: Vec<Override> =
        overrides.iter().map(|text| text.parse::<Override>()).collect::<Result<_, _>>()?;
    let pipeline = Pipeline::parse(bytes).map_err(|e| located(e.into()))?;
    Ok(pipeline.with_overrides(&overrides)?)
}

/// The contract files that gates name, relative to the pipeline's folder.
pub(crate) fn contracts(pipeline: &Pipeline) -> impl Iterator<Item = &str> {
    pipeline.gates.values().filter_map(|gate| match gate {
        Gate::Contract { contract, .. } => Some(contract.as_str()),
        Gate::Metrics { .. } | Gate::Inference { .. } => None,
    })
}

/// Whether a file or folder of this name belongs to code.
pub(crate) fn is_code(name: &str) -> bool {
    name != "__pycache__" && !name.ends_with(".pyc") && name != ".lineal"
}

/// Freezes the code trees under their relative paths as one tree, without byte code caches and `.lineal`.
pub(crate) fn freeze_code(
    project: &Project,
    folder: &Path,
    pipeline: &Pipeline,
    now: Timestamp,
) -> Result<Digest, Failure> {
    let cache_path = project.folder().join("work/code.json");
    let mut cache = StatCache::load(&cache_path);
    let skip = |path: &str| path.rsplit('/').next().is_some_and(|name| !is_code(name));
    let mut found = Vec::new();
    for code in &pipeline.code {
        let path: PathBuf = folder.join(code);
        let is_directory = path.is_dir();
        for mut file in tree::walk(&path, &skip)? {
            file.path = if is_directory { format!("{code}/{}", file.path) } else { code.clone() };
            found.push(file);
        }
    }
    let manifest =
        tree::freeze(project.store.blobs(), &found, &mut cache, now.unix_ms() / 1000, &mut |_| {})?;
    cache.save(&cache_path)?;
    Ok(manifest.digest())
}
