//! The launcher process: one thread, one event loop.

mod account;
mod answers;
mod auxiliary;
mod commands;
mod descendants;
mod devices;
mod entropy;
mod exec_patch;
mod follow;
mod logs;
mod pod;
mod supervisor;
mod tasks;
mod vdso;

use crate::inside::{Init, PodStep};
use crate::sys::socket::Socket;
use crate::sys::{fd, process};
use crate::wire::{Answer, answer};
use crate::{Isolation, SandboxError, Spec};
use commands::Commands;
use logs::Logs;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use supervisor::{First, Supervisor};

/// The body of the hidden launcher subcommand: reads a [`crate::Spec`] from stdin, runs it, writes the answer to stdout.
///
/// It must be called in a process with a single thread, before anything else has started: it makes namespaces and
/// forks. Only [`crate::Launcher`] speaks its language.
#[must_use]
pub fn launcher_main() -> ExitCode {
    match launch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            answer(&Answer::Failed(error));
            ExitCode::FAILURE
        }
    }
}

fn launch() -> Result<(), SandboxError> {
    // Descriptors that the caller forgot to close must not reach the step.
    fd::close_others_on_exec().map_err(|error| SandboxError::setup("inherited descriptors", error))?;
    let mut commands = Commands::from_stdin()?;
    let spec = commands.spec()?;
    spec.check()?;
    let (logs, output) = Logs::open(&spec)?;
    let supervisor = match spec.isolation {
        Isolation::Namespaces => fork_init(&spec, logs, output)?,
        Isolation::Pod => fork_step(&spec, logs, output)?,
    };
    supervisor.run(&mut commands)
}

fn fork_init(
    spec: &Spec,
    logs: Logs,
    [stdout, stderr]: [OwnedFd; 2],
) -> Result<Supervisor<'_>, SandboxError> {
    enter_user_namespace()?;
    let children = child_signal()?;
    let ((to_init, launcher), (to_step, step)) = (socket_pair()?, socket_pair()?);
    to_step.name_senders().map_err(|error| SandboxError::setup("sockets", error))?;
    let init = Init { launcher, step, stdout, stderr };
    let forked = process::fork(|| {
        fd::close_inherited(&to_init);
        fd::close_inherited(&to_step);
        init.run(spec)
    });
    let pid = forked.map_err(|error| SandboxError::Unsupported {
        what: "a new pid namespace".to_owned(),
        reason: error.to_string(),
    })?;
    let go_ahead = to_init.send(b"go", &[]);
    let sockets = [Some(to_init), Some(to_step)];
    let mut supervisor = Supervisor::new(spec, First::Init(pid), (sockets, children), logs);
    if go_ahead.is_err() {
        supervisor.kill();
    }
    Ok(supervisor)
}

/// In a pod: the step is the launcher's own child, and so is every orphan below.
fn fork_step(
    spec: &Spec,
    logs: Logs,
    [stdout, stderr]: [OwnedFd; 2],
) -> Result<Supervisor<'_>, SandboxError> {
    let setup = |what: &'static str| move |error| SandboxError::setup(what, error);
    process::adopt_orphans().map_err(setup("adoption of orphans"))?;
    // The step has the same user id; this keeps it from looking into this memory, where the key is.
    process::set_dumpable(false).map_err(setup("protection of the launcher"))?;
    let children = child_signal()?;
    let (to_step, launcher) = socket_pair()?;
    to_step.name_senders().map_err(setup("sockets"))?;
    let step = PodStep { launcher, stdout, stderr };
    let forked = process::fork(|| {
        fd::close_inherited(&to_step);
        step.run(spec)
    });
    let pid = forked.map_err(setup("fork of the step"))?;
    let mut supervisor = Supervisor::new(spec, First::Step(pid), ([None, Some(to_step)], children), logs);
    supervisor.make_devices()?;
    Ok(supervisor)
}

fn socket_pair() -> Result<(Socket, Socket), SandboxError> {
    Socket::pair().map_err(|error| SandboxError::setup("sockets", error))
}

fn child_signal() -> Result<File, SandboxError> {
    fd::child_signal().map_err(|error| SandboxError::setup("child signals", error))
}

/// Makes the user namespace that gives the rights for all others, with only the own ids in it.
fn enter_user_namespace() -> Result<(), SandboxError> {
    let unsupported = |error: io::Error| SandboxError::Unsupported {
        what: "user namespaces (see /proc/sys/user/max_user_namespaces and the security module's settings)"
            .to_owned(),
        reason: error.to_string(),
    };
    let (uid, gid) = process::ids();
    // Root may leave its groups; others keep theirs, which then show as `nogroup` inside.
    let _ = process::leave_groups();
    process::unshare(process::CLONE_NEWUSER | process::CLONE_NEWPID).map_err(unsupported)?;
    // The kernel may have closed /proc/self to this process when its credentials changed.
    process::set_dumpable(true).map_err(unsupported)?;
    fs::write("/proc/self/setgroups", "deny").map_err(unsupported)?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).map_err(unsupported)?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).map_err(unsupported)
}
