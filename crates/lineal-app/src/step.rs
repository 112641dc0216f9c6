//! Executing one step in the sandbox.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lineal_engine::pipeline::Determinism;
use lineal_engine::plan::KeyDocument;
use lineal_facts::Digest;
use lineal_facts::predicate::{ArtifactKind, Entropy};
use lineal_sandbox::{
    Access, EntropyKey, EntropySource, Exit, Isolation, Limits, Mount, Network, Report, Spec,
};
use lineal_store::files::{self, Context};
use lineal_store::tree::{self, TreeError};

use crate::environment::{self, Environment, FIXED_TIME_S};
use crate::executor::Executed;
use crate::failure::{Code, Failure, chain};
use crate::project::{Project, now};
use crate::workspace::Workspace;

/// Lines of a failed step's log that its error shows.
const LOG_TAIL_LINES: usize = 15;
/// Largest log that is looked at for that.
const LOG_LIMIT_BYTES: u64 = 64 << 20;

/// Everything that an execution needs; it follows from the key document and the host's environment alone.
#[derive(Debug, Clone)]
pub struct Execution {
    /// For messages.
    pub step: String,
    /// What determines the result.
    pub key: KeyDocument,
    /// What it runs in.
    pub software: Software,
    /// Longest time.
    pub timeout_ms: u64,
    /// Which of several entropy streams `strict` uses; 0 unless probing.
    pub stream: u32,
    /// Overrides the key's determinism, for probing.
    pub determinism: Determinism,
}

/// What a step runs in.
#[derive(Debug, Clone)]
pub struct Software {
    /// An unpacked image; none means this machine's base system.
    pub root: Option<PathBuf>,
    /// What else must be visible.
    pub mounts: Vec<Mount>,
    /// Environment variables, without those of the step itself.
    pub variables: BTreeMap<String, String>,
}

impl Software {
    /// The base system, and a Python environment if there is one.
    pub fn of_base(environment: Option<&Environment>) -> Self {
        let mounts = environment.map(|e| e.mounts.clone()).unwrap_or_default();
        Self { root: None, mounts, variables: environment::variables() }
    }
}

/// Runs the step in a fresh place and freezes its outputs.
pub fn execute(project: &Project, execution: &Execution) -> Result<Executed, Failure> {
    let workspace = Workspace::create(project, &execution.step)?;
    let started_at = now();
    let spec = prepare(project, execution, workspace.path())?;
    let report = project.launcher.run(&spec)?;
    let finished_at = now();
    check_exit(execution, &report, &spec.stdout)?;
    let out = workspace.path().join("out");
    check_undeclared(execution, &out)?;
    let mut outputs = BTreeMap::new();
    for (name, output) in &execution.key.outputs {
        let path = out.join(&output.path);
        if !path.exists() {
            return Err(Failure::new(
                Code::StepOutput,
                format!(
                    "step `{}` ended well but did not write its output `{name}` (`$LINEAL_OUT/{}`)",
                    execution.step, output.path
                ),
            ));
        }
        let artifact = tree::freeze_artifact(project.store.blobs(), &path);
        outputs.insert(name.clone(), artifact.map_err(|e| output_failure(execution, &out, e))?);
    }
    let (log, _) = project.store.blobs().put_file(&spec.stdout)?;
    Ok(Executed { outputs, report, log, started_at, finished_at, location: BTreeMap::new() })
}

/// The words of the provenance statement about what the sandbox saw.
pub fn entropy(report: &Report, determinism: Determinism) -> Entropy {
    let askers = report.entropy.askers.iter().map(|asker| {
        let source = match asker.source {
            EntropySource::Getrandom => "getrandom",
            EntropySource::DevUrandom => "/dev/urandom",
            EntropySource::DevRandom => "/dev/random",
        };
        let process = asker.process.as_deref().unwrap_or("unknown");
        format!("{source} {} bytes by {process} x{}", asker.size_bytes, asker.count)
    });
    let state = match determinism {
        Determinism::Off => "not-observed",
        Determinism::Strict => "controlled",
        Determinism::Observe if report.entropy.beyond_start_up() => "read",
        Determinism::Observe => "not-read",
    };
    Entropy {
        reads: report.entropy.reads.to_string(),
        bytes: report.entropy.bytes.to_string(),
        askers: askers.collect(),
        state: state.to_owned(),
    }
}

/// Lays out code, inputs and parameters below `place` and describes the sandbox.
fn prepare(project: &Project, execution: &Execution, place: &Path) -> Result<Spec, Failure> {
    let key = &execution.key;
    let blobs = project.store.blobs();
    let internal = |e: &dyn std::error::Error| Failure::caused(Code::Internal, e);
    tree::lay_out(blobs, ArtifactKind::Directory, &key.code, &place.join("code"))?;
    files::create_directory(&place.join("in"))?;
    for (name, input) in &key.inputs {
        tree::lay_out(blobs, input.kind, &input.digest, &place.join("in").join(name.as_str()))?;
    }
    for output in key.outputs.values() {
        let path = place.join("out").join(&output.path);
        files::create_directory(files::parent(&path))?;
    }
    let mut params = serde_json::Map::new();
    for (name, text) in &key.parameters {
        let value = serde_json::from_str(text).map_err(|e| internal(&e))?;
        params.insert(name.to_string(), value);
    }
    let params_path = place.join("params.json");
    fs::write(&params_path, serde_json::to_vec(&params).map_err(|e| internal(&e))?)
        .context("write", &params_path)?;
    let log = place.join("log");
    let mut mounts = vec![
        mount(place.join("code"), "/lineal/code", Access::ReadOnly),
        mount(place.join("in"), "/lineal/in", Access::ReadOnly),
        mount(params_path, "/lineal/params.json", Access::ReadOnly),
        mount(place.join("out"), "/lineal/out", Access::ReadWrite),
    ];
    mounts.extend(execution.software.mounts.iter().cloned());
    let mut env = execution.software.variables.clone();
    env.extend(
        [
            ("LINEAL_IN", "/lineal/in"),
            ("LINEAL_OUT", "/lineal/out"),
            ("LINEAL_PARAMS", "/lineal/params.json"),
            ("LINEAL_SEED", key.seed.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let determinism = match execution.determinism {
        Determinism::Off => lineal_sandbox::Determinism::Off,
        Determinism::Observe => lineal_sandbox::Determinism::Observe,
        Determinism::Strict => {
            let cache_key = key.cache_key().map_err(|e| internal(&e))?;
            let text = format!("lineal/entropy/v1\n{cache_key}\n{}", execution.stream);
            let entropy_key = EntropyKey::new(*Digest::of(text.as_bytes()).as_bytes());
            lineal_sandbox::Determinism::Strict { key: entropy_key, epoch_s: FIXED_TIME_S }
        }
    };
    Ok(Spec {
        argv: key.run.clone(),
        env,
        cwd: PathBuf::from("/lineal/code"),
        isolation: Isolation::Namespaces,
        root: execution.software.root.clone(),
        mounts,
        stdout: log.clone(),
        stderr: log,
        tee: false,
        network: Network::None,
        determinism,
        limits: Limits { timeout_ms: Some(execution.timeout_ms), ..Limits::default() },
    })
}

fn mount(source: PathBuf, target: &str, access: Access) -> Mount {
    Mount { source, target: PathBuf::from(target), access }
}

fn check_exit(execution: &Execution, report: &Report, log: &Path) -> Result<(), Failure> {
    let step = &execution.step;
    let (code, what) = match report.exit {
        Exit::Code(0) => return Ok(()),
        Exit::Code(code) => (Code::Step, format!("step `{step}` failed with exit code {code}")),
        Exit::Signal(25) => (
            Code::Step,
            format!("step `{step}` was stopped: a file it wrote grew beyond the limit (signal 25, SIGXFSZ)"),
        ),
        Exit::Signal(9) => {
            (Code::Step, format!("step `{step}` was killed (signal 9): by hand, or memory ran out"))
        }
        Exit::Signal(signal) => (Code::Step, format!("step `{step}` crashed with signal {signal}")),
        Exit::TimedOut => (
            Code::StepTimeout,
            format!(
                "step `{step}` was stopped after its timeout of {} s; raise `timeout` in the pipeline if it needs longer",
                execution.timeout_ms / 1000
            ),
        ),
        Exit::LauncherStopped => (Code::Step, format!("step `{step}` was killed together with its launcher")),
    };
    let tail = log_tail(log);
    let message = if tail.is_empty() {
        format!("{what}; it printed nothing")
    } else {
        format!("{what}; it printed:\n{tail}")
    };
    Err(Failure::new(code, message))
}

fn log_tail(log: &Path) -> String {
    let bytes = files::read_limited(log, LOG_LIMIT_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_TAIL_LINES);
    lines[from..].iter().map(|line| format!("  | {line}\n")).collect::<String>().trim_end().to_owned()
}

/// Whatever a step leaves in its output directory must be declared: an output nobody recorded would be lost.
fn check_undeclared(execution: &Execution, out: &Path) -> Result<(), Failure> {
    let declared: Vec<&str> = execution.key.outputs.values().map(|o| o.path.as_str()).collect();
    let undeclared = |path: &str| {
        !declared.iter().any(|d| path == *d || path.strip_prefix(d).is_some_and(|rest| rest.starts_with('/')))
    };
    let found = tree::walk(out, &|_| false).map_err(|e| output_failure(execution, out, e))?;
    match found.iter().find(|f| undeclared(&f.path)) {
        None => Ok(()),
        Some(file) => Err(Failure::new(
            Code::StepOutput,
            format!(
                "step `{}` wrote `$LINEAL_OUT/{}`, which it does not declare under `out`; declare it, or write it to /tmp",
                execution.step, file.path
            ),
        )),
    }
}

/// What a step wrote and cannot be kept is the step's fault, told by the path that the step knows.
fn output_failure(execution: &Execution, out: &Path, error: TreeError) -> Failure {
    if matches!(error, TreeError::Blob(_) | TreeError::File(_)) {
        return error.into();
    }
    let reason = chain(&error).replace(&out.display().to_string(), "$LINEAL_OUT");
    Failure::new(
        Code::StepOutput,
        format!("the output of step `{}` cannot be kept: {reason}", execution.step),
    )
}
