//! A project in a folder of its own, the binary under test, and waiting with a limit.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The longest that anything here may take; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(5);
/// How long a role may take to stop by itself.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What a small pipeline begins with.
pub(crate) const HEAD: &str = "apiVersion: lineal.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: small}\n";

/// A temporary folder with a project in it.
pub(crate) struct Project {
    folder: TempDir,
    /// Outside the project, as a user's configuration is: the identity file that opens the keys.
    home: Arc<TempDir>,
    /// Behind a lock, because roles that run borrow the project.
    variables: Mutex<Vec<(&'static str, PathBuf)>>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command under way. Dropping it ends the process: politely, so that it can stop what it started, then not.
pub(crate) struct Started {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Project {
    /// A fresh project.
    pub(crate) fn new() -> Self {
        let project = Self::absent();
        project.json(&["init", "--approver", "ana"]);
        project
    }

    /// A folder without a project.
    pub(crate) fn absent() -> Self {
        Self { folder: folder(), home: Arc::new(folder()), variables: Mutex::default() }
    }

    /// A fresh project of the same user.
    pub(crate) fn beside(&self) -> Self {
        let project = Self { folder: folder(), home: self.home.clone(), variables: Mutex::default() };
        project.json(&["init", "--approver", "ana"]);
        project
    }

    /// A folder of the same user with copies of another project's settings and keys, as on another machine.
    pub(crate) fn elsewhere(&self) -> Self {
        let variables = Mutex::new(self.variables.lock().unwrap().clone());
        let other = Self { folder: folder(), home: self.home.clone(), variables };
        fs::create_dir_all(other.path(".lineal/keys")).unwrap();
        for name in ["config.toml", "keys"] {
            let (from, to) = (self.path(&format!(".lineal/{name}")), other.path(".lineal"));
            assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
        }
        other
    }

    /// From now on, commands get this environment variable.
    pub(crate) fn set_variable(&self, name: &'static str, value: PathBuf) {
        self.variables.lock().unwrap().push((name, value));
    }

    /// From now on, commands see a clock that is so many days ahead, or behind.
    pub(crate) fn set_clock(&self, days: i32) {
        let mut folders = fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
        let library = folders
            .find_map(|folder| Some(folder.join("faketime/libfaketimeMT.so.1")).filter(|l| l.exists()));
        self.set_variable("LD_PRELOAD", library.expect("no libfaketime; `cargo xtask setup` installs it"));
        self.set_variable("FAKETIME", format!("{days:+}d").into());
        // Only what a clock says changes: neither how long a wait takes nor the times of files.
        self.set_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1".into());
        self.set_variable("NO_FAKE_STAT", "1".into());
    }

    /// The identity file of the user.
    pub(crate) fn identity(&self) -> PathBuf {
        self.home.path().join("identity.txt")
    }

    /// A fresh project with a pipeline: [`HEAD`] and `body`.
    pub(crate) fn with_pipeline(body: &str) -> Self {
        let project = Self::new();
        project.pipeline(body);
        project
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn pipeline(&self, body: &str) {
        self.write("pipeline.yaml", format!("{HEAD}{body}"));
    }

    /// Runs the binary in the folder.
    pub(crate) fn lineal(&self, arguments: &[&str]) -> Answer {
        self.start(arguments).finish()
    }

    /// Starts the binary in the folder.
    pub(crate) fn start(&self, arguments: &[&str]) -> Started {
        Started::new(self.command(arguments))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lineal"));
        command.args(arguments).current_dir(self.root()).env("LINEAL_IDENTITY", self.identity());
        command.envs(self.variables.lock().unwrap().iter().map(|(name, value)| (name, value)));
        command
    }

    /// The result of a command that must succeed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.lineal(&arguments).json()
    }

    /// Runs a command that must fail like this, and leave the ledger as it was.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &[&str], exit: i32, code: &str, fragments: &[&str]) {
        let before = self.ledger();
        self.fails(arguments, exit, code, fragments);
        assert_eq!(before, self.ledger(), "{arguments:?} failed and recorded something");
    }

    /// Runs a command that must fail like this.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], exit: i32, code: &str, fragments: &[&str]) {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.lineal(&arguments).failed(exit, code, fragments);
    }

    /// All entries of the ledger, newest first.
    #[track_caller]
    pub(crate) fn ledger(&self) -> Value {
        self.json(&["ledger", "show"])
    }

    /// How many statements of a kind the ledger has.
    #[track_caller]
    pub(crate) fn count(&self, noun: &str) -> usize {
        self.ledger().as_array().unwrap().iter().filter(|entry| entry["noun"] == noun).count()
    }

    /// Runs the pipeline, which must succeed, and yields its result.
    #[track_caller]
    pub(crate) fn run(&self, sets: &[&str]) -> Value {
        let mut arguments = vec!["run"];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        self.json(&arguments)
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: &Value) -> PathBuf {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        self.path(&format!(".lineal/blobs/sha256/{}/{}", &hex[..2], &hex[2..]))
    }

    /// Every file and folder of work in progress, or what is left of it.
    pub(crate) fn workspaces(&self) -> Vec<PathBuf> {
        let (mut folders, mut found) = (vec![self.path(".lineal/work/active")], Vec::new());
        while let Some(folder) = folders.pop() {
            let inside = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
            let before = found.len();
            found.extend(inside);
            folders.extend(found[before..].iter().filter(|path| path.is_dir()).cloned());
        }
        found
    }
}

impl Answer {
    /// The JSON on standard output of a success.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.success(), "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// Checks exit code, error code and text, and yields the text.
    #[track_caller]
    pub(crate) fn failed(&self, exit: i32, code: &str, fragments: &[&str]) -> String {
        let last = self.stderr.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        assert_eq!(error["code"], code, "{self:#?}");
        assert_eq!(self.status.code(), Some(exit), "{self:#?}");
        let text = error["error"].as_str().unwrap();
        for fragment in fragments {
            assert!(text.contains(fragment), "no `{fragment}` in: {text}");
        }
        text.to_owned()
    }
}

impl Started {
    pub(crate) fn new(mut command: Command) -> Self {
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to stop.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        // It may be gone already; then there is nothing to stop.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Answer {
        let status = eventually("the command ends", || self.child.try_wait().unwrap());
        Answer { status, stdout: text(&mut self.stdout), stderr: text(&mut self.stderr) }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > STOP_LIMIT {
                // Nothing more can be done about a process that is gone in this very moment.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            self.terminate();
            std::thread::sleep(POLL);
        }
    }
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Processes whose command line contains `marker`, as `PID ARGUMENTS`.
pub(crate) fn processes_with(marker: &str) -> Vec<String> {
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        // Processes come and go.
        let arguments = String::from_utf8(fs::read(entry.path().join("cmdline")).ok()?).ok()?;
        Some(format!("{pid} {}", arguments.replace('\0', " ")))
    });
    commands.filter(|command| command.contains(marker)).collect()
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("lineal-it-").tempdir().unwrap()
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}
