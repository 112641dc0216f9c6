//! The launcher process: one thread, one event loop.

mod account;
mod answers;
mod commands;
mod devices;
mod entropy;
mod exec_patch;
mod logs;
mod supervisor;
mod tasks;

use crate::SandboxError;
use crate::inside::Init;
use crate::sys::socket::Socket;
use crate::sys::{fd, process};
use crate::wire::{Answer, answer};
use commands::Commands;
use logs::Logs;
use std::fs;
use std::io;
use std::process::ExitCode;
use supervisor::Supervisor;

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
    let (logs, [stdout, stderr]) = Logs::open(&spec)?;
    enter_user_namespace()?;
    let children = fd::child_signal().map_err(|error| SandboxError::setup("child signals", error))?;

    let pair = || Socket::pair().map_err(|error| SandboxError::setup("sockets", error));
    let ((to_init, launcher), (to_step, step)) = (pair()?, pair()?);
    to_step.name_senders().map_err(|error| SandboxError::setup("sockets", error))?;
    let init = Init { launcher, step, stdout, stderr };
    let forked = process::fork(|| {
        fd::close_inherited(&to_init);
        fd::close_inherited(&to_step);
        init.run(&spec)
    });
    let pid = forked.map_err(|error| SandboxError::Unsupported {
        what: "a new pid namespace".to_owned(),
        reason: error.to_string(),
    })?;
    let go_ahead = to_init.send(b"go", &[]);
    let mut supervisor = Supervisor::new(&spec, pid, [to_init, to_step], logs);
    if go_ahead.is_err() {
        supervisor.kill();
    }
    supervisor.run(&mut commands, &children)
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
