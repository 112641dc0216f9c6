//! Tracing of starts only: no stops at system calls. One thread must make all calls.

use super::check;
use std::io;
use std::mem;
use std::ptr;

/// Why a tracee stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It replaced its program.
    Exec,
    /// It made a process or thread.
    Spawn,
    /// It has just been attached, or its whole process was stopped by this signal.
    Attached { signal: i32 },
    /// This signal is about to reach it.
    Signal(i32),
}

impl Stop {
    /// Reads a wait status; `None` for a tracee that ended.
    pub(crate) fn from_status(status: i32) -> Option<Self> {
        if !libc::WIFSTOPPED(status) {
            return None;
        }
        let signal = libc::WSTOPSIG(status);
        Some(match status >> 16 {
            libc::PTRACE_EVENT_EXEC => Self::Exec,
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => Self::Spawn,
            libc::PTRACE_EVENT_STOP => Self::Attached { signal },
            _ => Self::Signal(signal),
        })
    }
}

/// Attaches to a process and all it will make; they die with this process.
pub(crate) fn seize(pid: i32) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_EXITKILL;
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: the data argument of PTRACE_SEIZE is a number.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, options as libc::c_long) })?;
    Ok(())
}

/// Lets a stopped tracee go on, with a signal or 0. One that is gone is no error to the callers.
pub(crate) fn resume(pid: i32, signal: i32) {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: the data argument of PTRACE_CONT is a number.
    unsafe { libc::ptrace(libc::PTRACE_CONT, pid, none, libc::c_long::from(signal)) };
}

/// Leaves a tracee stopped, as its stop signal wants, but listens for SIGCONT.
pub(crate) fn leave_stopped(pid: i32) {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_LISTEN has no data.
    unsafe { libc::ptrace(libc::PTRACE_LISTEN, pid, none, none) };
}

/// At [`Stop::Spawn`] the new thread's id; at [`Stop::Exec`] the id the thread had before.
pub(crate) fn event_thread(pid: i32) -> io::Result<i32> {
    let mut message: libc::c_ulong = 0;
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_GETEVENTMSG writes one unsigned long to the data address.
    check(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, none, &raw mut message) })?;
    i32::try_from(message).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// The stack pointer of a stopped tracee.
pub(crate) fn stack_pointer(pid: i32) -> io::Result<u64> {
    // SAFETY: all-zero is a valid user_regs_struct.
    let mut registers: libc::user_regs_struct = unsafe { mem::zeroed() };
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_GETREGS writes one user_regs_struct to the data address.
    check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, none, &raw mut registers) })?;
    Ok(registers.rsp)
}
