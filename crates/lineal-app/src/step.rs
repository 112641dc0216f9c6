//! Executing one step in the sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lineal_blob::files;
use lineal_engine::pipeline::{Determinism, OutputName};
use lineal_engine::plan::{IMAGE_BASE, KeyDocument, KeyInput};
use lineal_facts::predicate::{Artifact, Entropy};
use lineal_facts::{Digest, StepName};
use lineal_sandbox::{EntropyKey, EntropySource, Exit, Limits, Mount, Report};
use lineal_step::wire::WIRE_VERSION;
use lineal_step::{Input, Place, StepOrder, outputs, variables};

use crate::environment::Environment;
use crate::executor::Executed;
use crate::failure::{Code, Failure};
use crate::project::{Project, now};
use crate::workspace::Workspace;

/// Lines of a failed step's log that its error shows.
const LOG_TAIL_LINES: usize = 15;
/// Largest log that is looked at for that.
const LOG_LIMIT_BYTES: u64 = 64 << 20;
/// The attempt of a step that runs here. Nobody is told of it.
const HERE: &str = "here";

/// Everything that an execution needs; it follows from the key document and the host's environment alone.
#[derive(Debug, Clone)]
pub struct Execution {
    /// For messages.
    pub step: StepName,
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
#[derive(Debug, Clone, Default)]
pub struct Software {
    /// An unpacked image; none means this machine's base system.
    pub root: Option<PathBuf>,
    /// What else must be visible.
    pub mounts: Vec<Mount>,
    /// Environment variables of the image; those of the step go over them.
    pub variables: BTreeMap<String, String>,
}

impl Software {
    /// The base system, and a Python environment if there is one.
    pub fn of_base(environment: Option<&Environment>) -> Self {
        let mounts = environment.map(|e| e.mounts.clone()).unwrap_or_default();
        Self { mounts, ..Self::default() }
    }
}

/// Runs the step in a fresh place and freezes its outputs.
pub fn execute(project: &Project, execution: &Execution) -> Result<Executed, Failure> {
    let workspace = Workspace::create(project, execution.step.as_str())?;
    let place = Place::new(workspace.path());
    let blobs = project.store.blobs();
    let order = order(execution, HERE)?;
    let started_at = now();
    place.lay_out(blobs, &order)?;
    let mut spec = place.spec(&order);
    spec.root = execution.software.root.clone();
    spec.mounts.extend(execution.software.mounts.iter().cloned());
    let mut env = execution.software.variables.clone();
    env.append(&mut spec.env);
    spec.env = env;
    let report = project.launcher.run(&spec)?;
    let finished_at = now();
    check_exit(&execution.step, execution.timeout_ms, &report, &place.log())?;
    let outputs = declared(&execution.key, outputs::collect(blobs, &order, &place.outputs())?);
    let (log, _) = blobs.put_file(&place.log())?;
    Ok(Executed { outputs, report, log, started_at, finished_at, location: BTreeMap::new() })
}

/// What whoever runs the step is told, here or in a pod: it follows from the execution alone.
pub fn order(execution: &Execution, attempt: &str) -> Result<StepOrder, Failure> {
    let key = &execution.key;
    let internal = |e: &dyn std::error::Error| Failure::caused(Code::Internal, e);
    let mut parameters = serde_json::Map::new();
    for (name, text) in &key.parameters {
        let value = serde_json::from_str(text).map_err(|e| internal(&e))?;
        parameters.insert(name.to_string(), value);
    }
    let determinism = match execution.determinism {
        Determinism::Off => lineal_sandbox::Determinism::Off,
        Determinism::Observe => lineal_sandbox::Determinism::Observe,
        Determinism::Strict => {
            let cache_key = key.cache_key().map_err(|e| internal(&e))?;
            let text = format!("lineal/entropy/v1\n{cache_key}\n{}", execution.stream);
            let entropy_key = EntropyKey::new(*Digest::of(text.as_bytes()).as_bytes());
            lineal_sandbox::Determinism::Strict { key: entropy_key, epoch_s: variables::FIXED_TIME_S }
        }
    };
    let env = match key.base == IMAGE_BASE {
        true => variables::of_step_in_image(&key.seed),
        false => variables::of_step(&key.seed),
    };
    let input = |input: &KeyInput| Input { kind: input.kind, digest: input.digest };
    Ok(StepOrder {
        version: WIRE_VERSION.to_owned(),
        attempt: attempt.to_owned(),
        step: execution.step.clone(),
        run: key.run.clone(),
        env,
        code: key.code,
        inputs: key.inputs.iter().map(|(name, found)| (name.to_string(), input(found))).collect(),
        parameters: serde_json::to_string(&parameters).map_err(|e| internal(&e))?,
        outputs: key.outputs.iter().map(|(name, output)| (name.to_string(), output.path.clone())).collect(),
        determinism,
        limits: Limits { timeout_ms: Some(execution.timeout_ms), ..Limits::default() },
    })
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

/// Of what was made, the outputs that the key declares, under their names there.
pub fn declared(key: &KeyDocument, mut made: BTreeMap<String, Artifact>) -> BTreeMap<OutputName, Artifact> {
    let named = |name: &OutputName| Some((name.clone(), made.remove(name.as_str())?));
    key.outputs.keys().filter_map(named).collect()
}

/// Whether the step, which may take `timeout_ms`, ended well; if not, why, with the end of its log.
pub fn check_exit(step: &StepName, timeout_ms: u64, report: &Report, log: &Path) -> Result<(), Failure> {
    let (code, what) = match report.exit {
        Exit::Code(0) => return Ok(()),
        // What a shell says of a program that signal 9 ended.
        Exit::Code(137) => (
            Code::Step,
            format!(
                "step `{step}` failed with exit code 137: a program in it was killed, by hand, or memory ran out"
            ),
        ),
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
                timeout_ms / 1000
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
