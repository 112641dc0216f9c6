//! System calls that wait for an answer from the launcher: seccomp_unotify(2).

use super::check;
use super::fd::owned;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The architecture that a filter sees for 64-bit (and x32) calls: linux/audit.h.
const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
/// The bit that marks calls of the x32 interface: asm/unistd.h.
const X32_SYSCALL_BIT: u32 = 0x4000_0000;
/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND` and `_ID_VALID` of linux/seccomp.h, with the sizes of the structs in libc.
const IOCTL_RECEIVE: libc::Ioctl = 0xC050_2100_u32 as libc::Ioctl;
const IOCTL_SEND: libc::Ioctl = 0xC018_2101_u32 as libc::Ioctl;
const IOCTL_ID_VALID: libc::Ioctl = 0x4008_2102_u32 as libc::Ioctl;
/// `SECCOMP_IOCTL_NOTIF_ADDFD`, for a struct of 24 bytes.
const IOCTL_ADD_DESCRIPTOR: libc::Ioctl = 0x4018_2103_u32 as libc::Ioctl;
/// `SECCOMP_ADDFD_FLAG_SEND` (Linux 5.14): the new descriptor is the call's result.
const ADD_AND_SEND: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): once a call is received here, only a deadly signal
/// interrupts it. Others would have it made, and answered, twice.
const FLAG_WAIT_KILLABLE: libc::c_ulong = 1 << 5;
/// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_FIRST_ARGUMENT: u32 = 16;

/// Clocks that show the time of day: `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`, `CLOCK_TAI`.
pub(crate) const TIME_OF_DAY_CLOCKS: [libc::clockid_t; 3] =
    [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE, libc::CLOCK_TAI];

/// Calls that make a new thread or process.
pub(crate) const SPAWNS: [libc::c_long; 4] =
    [libc::SYS_clone, libc::SYS_clone3, libc::SYS_fork, libc::SYS_vfork];
/// Calls that replace a program.
pub(crate) const STARTS: [libc::c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];
/// What a C library calls early: the first for each program, the second for each new thread or process.
const EARLY: [libc::c_long; 2] = [libc::SYS_arch_prctl, libc::SYS_set_robust_list];
/// Calls that open a file by its path.
pub(crate) const OPENS: [libc::c_long; 3] = [libc::SYS_open, libc::SYS_openat, libc::SYS_openat2];

/// Which calls wait for an answer, besides getrandom.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traps {
    /// Readings of the time of day.
    pub(crate) clock: bool,
    /// Opens of files.
    pub(crate) opens: bool,
    /// Starts of programs, threads and processes.
    pub(crate) tasks: bool,
}

/// The filter program. The 32-bit interface kills the process and x32 is refused, because their numbers mean other
/// calls.
pub(crate) fn filter(traps: Traps) -> Vec<libc::sock_filter> {
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value, yes, no| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value);
    let bit_set = |value, yes, no| instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, yes, no, value);
    let answer = |action| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let notify = answer(libc::SECCOMP_RET_USER_NOTIF);
    let mut program = vec![
        load(OFFSET_ARCHITECTURE),
        equal(AUDIT_ARCH_X86_64, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(OFFSET_NUMBER),
        bit_set(X32_SYSCALL_BIT, 0, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];
    let mut calls = vec![libc::SYS_getrandom];
    if traps.clock {
        calls.extend([libc::SYS_gettimeofday, libc::SYS_time]);
    }
    if traps.opens {
        calls.extend(OPENS);
    }
    if traps.tasks {
        calls.extend(SPAWNS.iter().chain(&STARTS).chain(&EARLY));
    }
    for call in calls {
        program.extend([equal(call as u32, 0, 1), notify]);
    }
    if traps.clock {
        let skip = 1 + 2 * TIME_OF_DAY_CLOCKS.len();
        program.extend([equal(libc::SYS_clock_gettime as u32, 0, skip as u8), load(OFFSET_FIRST_ARGUMENT)]);
        for id in TIME_OF_DAY_CLOCKS {
            program.extend([equal(id as u32, 0, 1), notify]);
        }
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Puts the filter on this process. Returns the descriptor on which its calls wait, and whether a signal leaves a call
/// alone that was received there (not before Linux 5.19).
pub(crate) fn install(filter: &mut [libc::sock_filter]) -> io::Result<(OwnedFd, bool)> {
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    let add = |flags: libc::c_ulong| {
        // SAFETY: `program` describes `filter`; the kernel copies both during the call.
        check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        })
    };
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let (fd, steady) = match add(listen | FLAG_WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (add(listen)?, false),
        result => (result?, true),
    };
    Ok((owned(fd as RawFd), steady))
}

/// The descriptor on which calls wait.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

/// A call that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    id: u64,
    /// The calling thread.
    pub(crate) thread: i32,
    pub(crate) number: libc::c_long,
    pub(crate) arguments: [u64; 6],
}

/// What a waiting call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The kernel executes it.
    Continue,
    /// This value, instead of executing it.
    Value(i64),
    /// This error number (positive), instead of executing it.
    Error(i32),
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Listener {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Takes the next waiting call. `None` when its caller was interrupted or died in between.
    pub(crate) fn receive(&self) -> io::Result<Option<Call>> {
        // SAFETY: all-zero is a valid seccomp_notif, and the kernel demands it.
        let mut notification: libc::seccomp_notif = unsafe { mem::zeroed() };
        // SAFETY: the request's size matches seccomp_notif, which is valid for writes.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), IOCTL_RECEIVE, &raw mut notification) };
        match check(result) {
            Ok(_) => Ok(Some(Call {
                id: notification.id,
                thread: notification.pid as i32,
                number: libc::c_long::from(notification.data.nr),
                arguments: notification.data.args,
            })),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENOENT)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the caller still waits, so that its thread id still means it.
    pub(crate) fn still_waits(&self, call: &Call) -> bool {
        // SAFETY: the request reads one u64, the id.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IOCTL_ID_VALID, &raw const call.id) == 0 }
    }

    /// Answers a call. False when the caller is gone, or no longer waits.
    pub(crate) fn reply(&self, call: &Call, reply: Reply) -> io::Result<bool> {
        let (val, error, flags) = match reply {
            Reply::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Reply::Value(value) => (value, 0, 0),
            Reply::Error(number) => (0, -number, 0),
        };
        let mut response = libc::seccomp_notif_resp { id: call.id, val, error, flags };
        // SAFETY: the request's size matches seccomp_notif_resp, which is valid for reads and writes.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), IOCTL_SEND, &raw mut response) };
        is_there(result)
    }

    /// Answers a call with a new descriptor of the caller, a copy of `fd`. False as in [`Self::reply`].
    pub(crate) fn reply_descriptor(
        &self,
        call: &Call,
        fd: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> io::Result<bool> {
        /// `struct seccomp_notif_addfd` of linux/seccomp.h.
        #[repr(C)]
        struct AddDescriptor {
            id: u64,
            flags: u32,
            source: u32,
            new: u32,
            new_flags: u32,
        }
        let new_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        let source = fd.as_raw_fd().unsigned_abs();
        let request = AddDescriptor { id: call.id, flags: ADD_AND_SEND, source, new: 0, new_flags };
        // SAFETY: the request's size matches `AddDescriptor`, which is valid for reads.
        is_there(unsafe { libc::ioctl(self.0.as_raw_fd(), IOCTL_ADD_DESCRIPTOR, &raw const request) })
    }
}

/// Reads the result of an answer.
fn is_there(result: libc::c_int) -> io::Result<bool> {
    match check(result) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINPROGRESS)) => Ok(false),
        Err(error) => Err(error),
    }
}
