//! Init: process 1 of the step's pid namespace. Builds the file tree, starts the step, reaps, and ends with it.
//! When it ends, the kernel kills whatever else runs in the namespace.

mod image;
pub(crate) mod message;
mod pod;
mod program;
mod root;
mod step;

use crate::sys::socket::Socket;
use crate::sys::{fd, process};
use crate::{Network, SandboxError, Spec};
use message::Message;
pub(crate) use pod::PodStep;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// The host name of every step with namespaces.
pub(crate) const HOST_NAME: &str = "step";

/// What init is given by the launcher.
pub(crate) struct Init {
    /// To the launcher. Its other end must be closed in init before it runs.
    pub(crate) launcher: Socket,
    /// The step's own way to the launcher, which closes when its program starts.
    pub(crate) step: Socket,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Init {
    /// The body of init; returns its exit code when the step has ended.
    pub(crate) fn run(self, spec: &Spec) -> i32 {
        let Self { launcher, step, stdout, stderr } = self;
        // The launcher may have died before it became the parent to die with: then its end is closed here.
        if process::die_with_parent().is_err() || !matches!(launcher.receive(), Ok(Some(_))) {
            return 1;
        }
        if let Err(error) = prepare(spec, &launcher) {
            message::send(&launcher, &Message::Failed(error), &[]);
            return 1;
        }
        let surroundings = step::Surroundings { output: [stdout.as_fd(), stderr.as_fd()], traced: true };
        let forked = process::fork(|| {
            fd::close_inherited(&launcher);
            let error = match step::start(spec, &step, surroundings) {
                Err(error) => error,
                Ok(never) => match never {},
            };
            message::send(&step, &Message::Failed(error), &[]);
            1
        });
        let pid = match forked {
            Ok(pid) => pid,
            Err(error) => {
                let error = SandboxError::setup("fork of the step", error);
                message::send(&launcher, &Message::Failed(error), &[]);
                return 1;
            }
        };
        drop((step, stdout, stderr));
        process::pass_on_termination();
        let status = reap_until(pid);
        message::send(&launcher, &Message::Ended { status }, &[]);
        0
    }
}

/// Everything that needs privileges and that the step inherits.
fn prepare(spec: &Spec, launcher: &Socket) -> Result<(), SandboxError> {
    let setup = |what: &'static str| move |error| SandboxError::setup(what, error);
    // The report goes out on the launcher's standard output: nothing inside may hold it.
    let null = File::options().read(true).write(true).open("/dev/null").map_err(setup("/dev/null"))?;
    for number in [0, 1] {
        fd::put_at(null.as_fd(), number).map_err(setup("standard input and output"))?;
    }
    // The step has the same user id; this keeps it from looking into init's copy of the launcher's memory.
    process::set_dumpable(false).map_err(setup("protection of init"))?;
    process::set_umask(0o022);
    let mut flags = process::CLONE_NEWNS | process::CLONE_NEWIPC | process::CLONE_NEWUTS;
    match spec.network {
        Network::None => flags |= process::CLONE_NEWNET,
        Network::Host => {}
    }
    process::unshare(flags).map_err(|error| SandboxError::Unsupported {
        what: "mount, ipc, uts and network namespaces".to_owned(),
        reason: error.to_string(),
    })?;
    process::set_host_name(HOST_NAME).map_err(setup("host name"))?;
    let devices = root::build(spec)?;
    let descriptors: Vec<_> = devices.iter().map(AsFd::as_fd).collect();
    message::send(launcher, &Message::RootReady, &descriptors);
    Ok(())
}

/// Reaps every process of the namespace until the step ends, and gives its wait status.
fn reap_until(step: i32) -> i32 {
    loop {
        match process::wait_any(true) {
            Ok(Some(change)) if change.pid == step && process::has_ended(change.status) => {
                return change.status;
            }
            // SIGTERM interrupts the wait; its handler has passed the signal on.
            Ok(Some(_)) | Err(_) => {}
            // No children: the step cannot have been missed, but waiting again would spin.
            Ok(None) => return libc::SIGKILL,
        }
    }
}
