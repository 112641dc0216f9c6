//! The keeper: a small process that holds one model server and outlives whoever started it.
//!
//! Its directory says who it is (`server.json`) and whether it lives (a lock that the keeper inherits and holds). A
//! keeper ends when its server ends, or on SIGTERM after it has stopped the server.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lineal_blob::files::{self, Context};
use lineal_facts::{Digest, ModelVersion};
use lineal_sandbox::{Launcher, Spec};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::{STOP_GRACE, ServeTarget};
use crate::failure::{Code, Failure};
use crate::project::{MODEL_SERVER, Project, SANDBOX_LAUNCH};
use crate::workspace::{self, Workspace};

const DOCUMENT: &str = "server.json";
const PID: &str = "pid";
const DOCUMENT_LIMIT_BYTES: u64 = 2 << 20;
const EXIT_INTERVAL: Duration = Duration::from_millis(20);

/// A keeper process, ours or of an earlier control plane.
#[derive(Debug)]
pub(super) struct Keeper {
    pid: Option<Pid>,
    /// Present if this process started it: then it must be reaped.
    child: Option<Child>,
}

/// A living keeper.
pub(super) struct Found {
    pub(super) version: ModelVersion,
    pub(super) digest: Digest,
    pub(super) address: SocketAddr,
    pub(super) directory: PathBuf,
    pid: Option<Pid>,
}

impl Found {
    /// Takes charge of it: dropping the keeper ends the server.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper { pid: self.pid, child: None }
    }
}

/// What a keeper is told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: ModelVersion,
    digest: Digest,
    address: SocketAddr,
    spec: Spec,
}

impl Keeper {
    pub(super) fn start(
        project: &Project,
        workspace: &Workspace,
        target: &ServeTarget,
        address: SocketAddr,
        spec: &Spec,
    ) -> Result<Self, Failure> {
        let (version, digest) = (target.version.clone(), target.digest);
        let document = Document { version, digest, address, spec: spec.clone() };
        let bytes = serde_json::to_vec(&document).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let directory = workspace.path();
        let path = directory.join(DOCUMENT);
        fs::write(&path, bytes).context("write", &path)?;
        let log =
            File::options().create(true).append(true).open(&spec.stdout).context("open", &spec.stdout)?;
        let errors = log.try_clone().context("open", &spec.stdout)?;
        let child = Command::new(&project.program)
            .arg(MODEL_SERVER)
            .arg(directory)
            // The lock belongs to the open file, so the keeper holds it as long as this is its standard input.
            .stdin(Stdio::from(workspace.share_lock()?))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .process_group(0)
            .spawn()
            .context("start", &project.program)?;
        let path = directory.join(PID);
        fs::write(&path, child.id().to_string()).context("write", &path)?;
        Ok(Self { pid: pid(child.id()), child: Some(child) })
    }

    /// Whether the keeper ended, and with it the server.
    pub(super) fn exited(&mut self, directory: &Path) -> Option<String> {
        match &mut self.child {
            Some(child) => child.try_wait().ok().flatten().map(|status| format!("ended ({status})")),
            None => (!directory.exists() || workspace::is_abandoned(directory)).then(|| "ended".to_owned()),
        }
    }

    /// Asks, waits for `grace`, then kills; the sandbox below a killed keeper ends with it.
    pub(super) fn stop(&mut self, directory: &Path, grace: Duration) {
        self.signal(Signal::TERM);
        if self.ends_within(directory, grace * 2) {
            return;
        }
        self.signal(Signal::KILL);
        // Nothing outlives SIGKILL for long; what still has the lock after it cannot be waited for.
        self.ends_within(directory, grace);
    }

    fn ends_within(&mut self, directory: &Path, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.exited(directory).is_none() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(EXIT_INTERVAL);
        }
        // It is gone: its process id may belong to someone else from now on.
        self.pid = None;
        true
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // It may have ended already, which is what the signal is for.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && child.try_wait().is_ok_and(|status| status.is_some())
        {
            return;
        }
        self.signal(Signal::KILL);
        if let Some(child) = &mut self.child {
            // Reaped, whatever it says.
            let _ = child.wait();
        }
    }
}

/// The living keepers of `project` that this process did not start.
pub(super) fn found(project: &Project) -> Vec<Found> {
    workspace::all(project).into_iter().filter_map(|directory| read(&directory)).collect()
}

/// Stops the keepers whose version is not in `wanted`.
pub fn stop_others(project: &Project, wanted: &[ModelVersion]) {
    for found in found(project).into_iter().filter(|found| !wanted.contains(&found.version)) {
        found.keeper().stop(&found.directory, STOP_GRACE);
    }
}

fn read(directory: &Path) -> Option<Found> {
    let bytes = files::read_limited(&directory.join(DOCUMENT), DOCUMENT_LIMIT_BYTES).ok()?;
    let document: Document = serde_json::from_slice(&bytes).ok()?;
    let id: u32 = fs::read_to_string(directory.join(PID)).ok()?.parse().ok()?;
    if workspace::is_abandoned(directory) {
        return None;
    }
    let Document { version, digest, address, .. } = document;
    Some(Found { version, digest, address, directory: directory.to_owned(), pid: pid(id) })
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// The body of the hidden subcommand: runs the server of `directory` until it ends or SIGTERM arrives.
pub fn keep(directory: &Path, program: &Path) -> Result<(), Failure> {
    let bytes = files::read_limited(&directory.join(DOCUMENT), DOCUMENT_LIMIT_BYTES)?;
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|e| Failure::caused(Code::Internal, &e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::caused(Code::Internal, &e))?;
    let mut running = Launcher::new(program, [SANDBOX_LAUNCH]).start(&document.spec)?;
    let control = running.control();
    runtime.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let mut waiting = tokio::task::spawn_blocking(move || running.wait());
        tokio::select! {
            ended = &mut waiting => drop(ended),
            _ = terminate.recv() => {
                control.stop(STOP_GRACE);
                // Either it stopped in time or the sandbox made it.
                let _ = waiting.await;
            }
        }
        Ok(())
    })
}
