//! The last steps before the program starts: streams, limits, privileges, filter.

use super::message::{self, Message};
use super::program;
use crate::sys::seccomp::Traps;
use crate::sys::socket::Socket;
use crate::sys::{fd, process, seccomp};
use crate::{Isolation, SandboxError, Spec, Uncontrolled};
use std::convert::Infallible;
use std::env;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// The stack limit changes the address layout, so it must not come from the caller.
const STACK_SIZE_BYTES: u64 = 8 << 20;
/// Launcher and init are in the same user namespace and count as processes of it.
const OWN_PROCESSES: u64 = 2;

/// What the step finds.
pub(super) struct Surroundings<'a> {
    /// Write ends for standard output and standard error.
    pub(super) output: [BorrowedFd<'a>; 2],
    /// Whether the launcher will see starts of programs and tasks by ptrace(2), if it is to see them at all.
    pub(super) traced: bool,
}

/// Turns this process, a fresh child of init or of the launcher, into the step's program. Returns only when that failed.
///
/// Between the installation of the filter and the launcher's go-ahead, it must not ask for random bytes: nobody
/// would answer yet. So no `HashMap` here.
pub(super) fn start(
    spec: &Spec,
    launcher: &Socket,
    surroundings: Surroundings<'_>,
) -> Result<Infallible, SandboxError> {
    let setup = |what: &'static str| move |error| SandboxError::setup(what, error);
    process::reset_signals().map_err(setup("signals"))?;
    process::new_session().map_err(setup("session"))?;
    let null = File::open("/dev/null").map_err(setup("/dev/null"))?;
    let output = surroundings.output;
    for (stream, number) in [null.as_fd(), output[0], output[1]].into_iter().zip(0..) {
        fd::put_at(stream, number).map_err(setup("standard streams"))?;
    }
    apply_limits(spec)?;
    process::drop_privileges().map_err(setup("privileges"))?;
    // Init is closed to others of the same user; the launcher must be able to trace this process.
    process::set_dumpable(true).map_err(setup("tracing"))?;
    env::set_current_dir(&spec.cwd).map_err(|error| SandboxError::WorkingDirectory {
        path: spec.cwd.clone(),
        reason: error.to_string(),
    })?;

    let Some(name) = spec.argv.first() else { return Err(SandboxError::bad_spec("argv", "is empty")) };
    let path = program::find(name, spec.env.get("PATH").map(String::as_str))?;
    let c_path = c_string("argv[0]", path.as_os_str().as_bytes())?;
    let argv =
        spec.argv.iter().map(|text| c_string("argv", text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let variable = |(name, value): (&String, &String)| c_string("env", format!("{name}={value}").as_bytes());
    let env = spec.env.iter().map(variable).collect::<Result<Vec<_>, _>>()?;

    let (uncontrolled, calls) = control(spec, surroundings.traced);
    let descriptors: Vec<_> = calls.iter().map(AsFd::as_fd).collect();
    message::send(launcher, &Message::StepReady { uncontrolled }, &descriptors);
    match launcher.receive() {
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => return Err(SandboxError::setup("go-ahead", "the launcher is gone")),
    }
    fd::close_others_on_exec().map_err(setup("closing descriptors"))?;
    process::execute(&c_path, &argv, &env).map_err(|error| program::explain(&path, &error))
}

fn apply_limits(spec: &Spec) -> Result<(), SandboxError> {
    let limits = &spec.limits;
    let processes = limits.processes.saturating_add(OWN_PROCESSES);
    match spec.isolation {
        Isolation::Namespaces => process::limit(libc::RLIMIT_NPROC, processes, true)
            .map_err(|error| SandboxError::setup("limits", error))?,
        // It would count all processes of this user id on the node.
        Isolation::Pod => {}
    }
    for (resource, value, hard) in [
        (libc::RLIMIT_FSIZE, limits.file_size_bytes, true),
        (libc::RLIMIT_CORE, 0, true),
        (libc::RLIMIT_STACK, STACK_SIZE_BYTES, false),
    ] {
        process::limit(resource, value, hard).map_err(|error| SandboxError::setup("limits", error))?;
    }
    Ok(())
}

/// Fixes the address layout and installs the filter. What the machine forbids is named, and the step runs on.
fn control(spec: &Spec, traced: bool) -> (Vec<Uncontrolled>, Option<OwnedFd>) {
    let determinism = &spec.determinism;
    if determinism.is_off() {
        return (Vec::new(), None);
    }
    let mut uncontrolled = Vec::new();
    if let Err(error) = process::fix_address_layout() {
        uncontrolled.push(Uncontrolled::new("aslr", format!("personality(2) is forbidden here: {error}")));
    }
    let traps = Traps {
        clock: determinism.is_strict(),
        // With namespaces FIFOs are mounted in their place.
        opens: spec.isolation == Isolation::Pod,
        tasks: determinism.is_strict() && !traced,
    };
    match seccomp::install(&mut seccomp::filter(traps)) {
        Ok((calls, steady)) => {
            if determinism.is_strict() && !steady {
                let why =
                    "before Linux 5.19 a call that a signal interrupts may be answered, and counted, twice";
                uncontrolled.push(Uncontrolled::new("calls that signals interrupt", why));
            }
            (uncontrolled, Some(calls))
        }
        Err(error) => {
            let why = format!("seccomp notification is not possible here: {error}");
            uncontrolled.push(Uncontrolled::new("entropy", why.clone()));
            if determinism.is_strict() {
                uncontrolled.push(Uncontrolled::new("wall clock", why));
            }
            (uncontrolled, None)
        }
    }
}

fn c_string(field: &str, bytes: &[u8]) -> Result<CString, SandboxError> {
    CString::new(bytes).map_err(|_| SandboxError::bad_spec(field, "contains a NUL byte"))
}
