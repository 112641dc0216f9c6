//! One step in a scratch directory.

use lineal_sandbox::{
    Access, Determinism, EntropyKey, Exit, Isolation, Launcher, Limits, Mount, Network, Report, Running,
    SandboxError, Spec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The launcher program of this crate.
pub(crate) const LAUNCHER: &str = env!("CARGO_BIN_EXE_lineal-sandbox-launch");
/// How long a condition may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn launcher() -> Launcher {
    Launcher::new(LAUNCHER, [""; 0])
}

pub(crate) fn strict(key: u8, epoch_s: i64) -> Determinism {
    Determinism::Strict { key: EntropyKey::new([key; 32]), epoch_s }
}

/// A step, its scratch directory (host) and its spec, which tests change freely.
pub(crate) struct Step {
    pub(crate) dir: TempDir,
    pub(crate) spec: Spec,
    pub(crate) launcher: Launcher,
}

/// What a step left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) report: Report,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Step {
    pub(crate) fn new<const N: usize>(argv: [&str; N]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec {
            argv: argv.map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            cwd: "/tmp".into(),
            isolation: Isolation::Namespaces,
            root: None,
            mounts: vec![],
            stdout: dir.path().join("stdout"),
            stderr: dir.path().join("stderr"),
            tee: false,
            network: Network::None,
            determinism: Determinism::Observe,
            limits: Limits { tmp_size_bytes: 64 << 20, timeout_ms: Some(60_000), ..Limits::default() },
        };
        Self { dir, spec, launcher: launcher() }
    }

    pub(crate) fn shell(script: &str) -> Self {
        Self::new(["sh", "-c", script])
    }

    /// A step that runs Python, with its installation mounted at its own path.
    pub(crate) fn python(script: &str) -> Self {
        let python = python();
        let mut step = Self::new([python.executable.to_str().unwrap(), "-c", script]);
        step.mount(&python.prefix, python.prefix.to_str().unwrap(), Access::ReadOnly);
        step
    }

    pub(crate) fn determinism(mut self, determinism: Determinism) -> Self {
        self.spec.determinism = determinism;
        self
    }

    pub(crate) fn mount(&mut self, source: &Path, target: &str, access: Access) {
        self.spec.mounts.push(Mount { source: source.to_owned(), target: target.into(), access });
    }

    /// Makes a directory on the host and mounts it for writing.
    pub(crate) fn mount_output(&mut self, target: &str) -> PathBuf {
        let path = self.dir.path().join("output");
        fs::create_dir(&path).unwrap();
        self.mount(&path, target, Access::ReadWrite);
        path
    }

    pub(crate) fn try_run(&self) -> Result<Outcome, SandboxError> {
        let report = self.launcher.run(&self.spec)?;
        Ok(Outcome { report, stdout: self.stdout(), stderr: self.stderr() })
    }

    pub(crate) fn run(&self) -> Outcome {
        self.try_run().unwrap()
    }

    /// Runs the step, which must succeed, and gives its standard output.
    pub(crate) fn output(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
        outcome.stdout
    }

    pub(crate) fn error(&self) -> SandboxError {
        self.try_run().unwrap_err()
    }

    pub(crate) fn start(&self) -> Running {
        self.launcher.start(&self.spec).unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        text_of(&self.spec.stdout)
    }

    fn stderr(&self) -> String {
        text_of(&self.spec.stderr)
    }

    /// Waits until the step has printed this.
    pub(crate) fn wait_for_output(&self, text: &str) {
        wait_until(&format!("output of {text:?}"), || self.stdout().contains(text));
    }
}

/// A log, which may hold any bytes.
fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// Polls a condition until it holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "no {what} within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The pid namespace of a process; it names a step's process tree.
pub(crate) fn namespace_of(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap()
}

/// All processes that are alive in a pid namespace.
pub(crate) fn processes_in(namespace: &Path) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == namespace))
        .collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    // The state after the last ")" of the line: a zombie is not alive.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z')))
}

/// The Python of this machine.
pub(crate) struct Python {
    pub(crate) executable: PathBuf,
    pub(crate) prefix: PathBuf,
}

pub(crate) fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)";
        let output = Command::new("python3").args(["-c", script]).output().expect("python3 is required");
        assert!(output.status.success(), "python3 is required: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (executable, prefix) = text.trim().split_once('\n').unwrap();
        Python { executable: executable.into(), prefix: prefix.into() }
    })
}
