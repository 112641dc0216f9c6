//! The step's first process in a pod: there is no init and no file tree to build.

use super::message::{self, Message};
use super::step;
use crate::sys::socket::Socket;
use crate::sys::{fd, process};
use crate::{SandboxError, Spec};
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// What the step is given by the launcher, which forks it itself.
pub(crate) struct PodStep {
    /// To the launcher. Its other end must be closed before it runs.
    pub(crate) launcher: Socket,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl PodStep {
    /// The body of the process; returns only when the program could not be started.
    pub(crate) fn run(self, spec: &Spec) -> i32 {
        let error = match self.start(spec) {
            Err(error) => error,
            Ok(never) => match never {},
        };
        message::send(&self.launcher, &Message::Failed(error), &[]);
        1
    }

    fn start(&self, spec: &Spec) -> Result<Infallible, SandboxError> {
        let setup = |what: &'static str| move |error| SandboxError::setup(what, error);
        // Should the launcher be gone already, the next message finds its end closed.
        process::die_with_parent().map_err(setup("death with the launcher"))?;
        process::set_umask(0o022);
        // The report goes out on the launcher's standard output: the step must not hold it.
        let null = File::options().read(true).write(true).open("/dev/null").map_err(setup("/dev/null"))?;
        fd::put_at(null.as_fd(), 1).map_err(setup("standard output"))?;
        // The launcher has closed its own memory to the step; this process it must be able to trace.
        process::set_dumpable(true).map_err(setup("tracing"))?;
        message::send(&self.launcher, &Message::Attachable, &[]);
        let traced = match self.launcher.receive() {
            Ok(Some(packet)) => packet.bytes == message::TRACED,
            Ok(None) | Err(_) => return Err(SandboxError::setup("go-ahead", "the launcher is gone")),
        };
        step::start(
            spec,
            &self.launcher,
            step::Surroundings { output: [self.stdout.as_fd(), self.stderr.as_fd()], traced },
        )
    }
}
