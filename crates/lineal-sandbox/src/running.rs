//! A step that runs, seen from the parent.

use crate::Report;
use crate::wire::{Answer, Command, read_answer};
use std::io::{BufReader, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a launcher may take to kill its tree before it is killed itself (which has the same effect).
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// A step that runs. Dropping it kills the whole process tree and waits for its end.
#[derive(Debug)]
pub struct Running {
    child: Child,
    commands: Commands,
    answers: BufReader<ChildStdout>,
    pid: u32,
    report: Option<Report>,
}

/// Stops a step from another thread while [`Running::wait`] blocks.
#[derive(Debug, Clone)]
pub struct Control {
    commands: Commands,
}

/// The launcher's stdin. Shared because `Control` writes to it from other threads; `None` once it is closed.
type Commands = Arc<Mutex<Option<ChildStdin>>>;

impl Running {
    pub(crate) fn new(child: Child, stdin: ChildStdin, answers: BufReader<ChildStdout>) -> Self {
        Self { child, commands: Arc::new(Mutex::new(Some(stdin))), answers, pid: 0, report: None }
    }

    pub(crate) fn answers(&mut self) -> &mut BufReader<ChildStdout> {
        &mut self.answers
    }

    pub(crate) fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
    }

    /// The step's process id on the host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The launcher's process id.
    #[must_use]
    pub fn launcher_pid(&self) -> u32 {
        self.child.id()
    }

    /// A handle for other threads.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { commands: Arc::clone(&self.commands) }
    }

    /// The report, if the step has ended.
    pub fn try_wait(&mut self) -> Option<Report> {
        if self.report.is_none() && matches!(self.child.try_wait(), Ok(None)) {
            return None;
        }
        Some(self.wait())
    }

    /// Waits for the end. Can be called again.
    pub fn wait(&mut self) -> Report {
        if let Some(report) = &self.report {
            return report.clone();
        }
        let report = match read_answer(&mut self.answers) {
            Ok(Some(Answer::Report(report))) => report,
            Ok(Some(Answer::Started { .. } | Answer::Failed(_)) | None) | Err(_) => {
                Report::launcher_stopped()
            }
        };
        lock(&self.commands).take();
        self.reap();
        self.report = Some(report.clone());
        report
    }

    /// Asks for an end: SIGTERM to all processes of the step, SIGKILL after `grace`. Does not wait.
    pub fn stop(&self, grace: Duration) {
        send(&self.commands, Command::stop(grace));
    }

    /// Kills all processes of the step. Does not wait.
    pub fn kill(&self) {
        send(&self.commands, Command::Kill);
    }

    /// Kills the launcher; its parent-death signal takes the tree along.
    pub(crate) fn abandon(&mut self) {
        let _ = self.child.kill();
    }

    fn reap(&mut self) {
        // After its report the launcher only has to exit. Data on the pipe means it does something unknown.
        if !readable_within(&mut self.answers, KILL_LIMIT) {
            self.abandon();
        }
        let _ = self.child.wait();
    }
}

impl Control {
    /// As [`Running::stop`].
    pub fn stop(&self, grace: Duration) {
        send(&self.commands, Command::stop(grace));
    }

    /// As [`Running::kill`].
    pub fn kill(&self) {
        send(&self.commands, Command::Kill);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.report.is_some() {
            return;
        }
        // The end of its stdin tells the launcher to kill the tree.
        lock(&self.commands).take();
        while readable_within(&mut self.answers, KILL_LIMIT) {
            match read_answer(&mut self.answers) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.reap();
    }
}

/// Whether data, or the end of it, can be read from the launcher before the limit.
pub(crate) fn readable_within(from: &mut BufReader<ChildStdout>, limit: Duration) -> bool {
    if !from.buffer().is_empty() {
        return true;
    }
    let timeout_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let mut poll = libc::pollfd { fd: from.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `poll` is one valid pollfd, and its descriptor is open as long as `from` is borrowed.
    let ready = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
    // An interrupted wait counts as ready: the read that follows then waits without a limit.
    ready != 0
}

fn lock(commands: &Commands) -> MutexGuard<'_, Option<ChildStdin>> {
    commands.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a command. A launcher that is gone has nothing left to stop, so a failed write is dropped.
fn send(commands: &Commands, command: Command) {
    let Ok(mut line) = serde_json::to_vec(&command) else { return };
    line.push(b'\n');
    if let Some(stdin) = lock(commands).as_mut() {
        let _ = stdin.write_all(&line);
    }
}
