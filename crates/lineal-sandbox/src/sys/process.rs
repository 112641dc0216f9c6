//! Processes: namespaces, forks, waits, signals, privileges, limits.

use super::{c_path, check};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr;

pub(crate) use libc::{CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS};

/// Moves this process, or its next children for pids, into new namespaces.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes an integer. A new user namespace needs a single thread, else it fails.
    check(unsafe { libc::unshare(flags) })?;
    Ok(())
}

/// Real user and group id.
pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: both calls take nothing and cannot fail.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// Leaves all supplementary groups, where the caller may.
pub(crate) fn leave_groups() -> io::Result<()> {
    // SAFETY: no groups, so no pointer is read.
    check(unsafe { libc::setgroups(0, ptr::null()) })?;
    Ok(())
}

/// Runs `body` in a child process; it ends with the code that `body` returns. Gives the child's process id.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the launcher, and init which it forks, have one thread each, so the child's memory is consistent
    // and no lock is held by a thread that is not there.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let code = body();
        // SAFETY: ends the process at once, without the destructors and buffers inherited from the parent.
        unsafe { libc::_exit(code) }
    }
    Ok(pid)
}

/// A child or tracee that changed state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) pid: i32,
    /// As waitpid(2) gives it.
    pub(crate) status: i32,
    /// Time used, with reaped children; only meaningful for one that ended.
    pub(crate) cpu_ms: u64,
    pub(crate) max_rss_bytes: u64,
}

/// Time and size of all children that were waited for, each with its own: milliseconds and bytes.
pub(crate) fn usage_of_children() -> (u64, u64) {
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: the address is valid for the write; the call cannot fail with it.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    (cpu_ms(&usage), max_rss_bytes(&usage))
}

fn cpu_ms(usage: &libc::rusage) -> u64 {
    let ms = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_usec).unwrap_or(0) / 1000
    };
    ms(usage.ru_utime) + ms(usage.ru_stime)
}

fn max_rss_bytes(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}

/// Waits for a change of any child or tracee. `None`: nothing now (`block` false) or no children.
pub(crate) fn wait_any(block: bool) -> io::Result<Option<Change>> {
    let mut status = 0;
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    // SAFETY: both addresses are valid for the writes of wait4.
    let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
    let pid = match check(pid) {
        Ok(0) => return Ok(None),
        Ok(pid) => pid,
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Change { pid, status, cpu_ms: cpu_ms(&usage), max_rss_bytes: max_rss_bytes(&usage) }))
}

/// Whether a status says that the process ended, and not only stopped.
pub(crate) fn has_ended(status: i32) -> bool {
    let status = ExitStatus::from_raw(status);
    status.code().is_some() || status.signal().is_some()
}

/// Sends a signal; a process that is gone is no error to the callers.
pub(crate) fn kill(pid: i32, signal: libc::c_int) {
    // SAFETY: takes integers.
    unsafe { libc::kill(pid, signal) };
}

/// Has this process killed when the thread that forked it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    Ok(())
}

/// Has orphans among the descendants become children of this process.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(())
}

/// Whether others of the same user may look into this process.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) })?;
    Ok(())
}

/// Passes SIGTERM on to every other process of the own pid namespace. For init only.
pub(crate) fn pass_on_termination() {
    extern "C" fn to_all(_: libc::c_int) {
        // SAFETY: kill is safe in a signal handler; -1 means all processes inside but init.
        unsafe { libc::kill(-1, libc::SIGTERM) };
    }
    let handler: extern "C" fn(libc::c_int) = to_all;
    // SAFETY: the handler only makes one system call that is allowed in handlers.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
}

/// Gives every signal its default effect and unblocks all. The Rust runtime ignores SIGPIPE, the launcher blocks
/// SIGCHLD, and both would be inherited.
pub(crate) fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: sets a default action; numbers that have none to set only fail.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero sigset_t is the empty set on Linux, and sigemptyset initialises it anyway.
    let mut none: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `none` is a valid set, and a null old set is allowed.
    unsafe {
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()))?;
    }
    Ok(())
}

/// Starts a new session, without a terminal.
pub(crate) fn new_session() -> io::Result<()> {
    // SAFETY: takes nothing.
    check(unsafe { libc::setsid() })?;
    Ok(())
}

/// Sets the mask of permission bits.
pub(crate) fn set_umask(mask: libc::mode_t) {
    // SAFETY: takes an integer and cannot fail.
    unsafe { libc::umask(mask) };
}

/// Names the machine, inside the own UTS namespace.
pub(crate) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `name`.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

/// Sets the soft limit to at most the hard one, and with `hard` the hard one too.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: u64, hard: bool) -> io::Result<()> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limits` is valid for the write.
    check(unsafe { libc::getrlimit(resource, &raw mut limits) })?;
    limits.rlim_cur = value.min(limits.rlim_max);
    if hard {
        limits.rlim_max = limits.rlim_cur;
    }
    // SAFETY: `limits` is valid for the read.
    check(unsafe { libc::setrlimit(resource, &raw const limits) })?;
    Ok(())
}

/// Fixes the address layout of programs started from here.
pub(crate) fn fix_address_layout() -> io::Result<()> {
    // SAFETY: takes an integer.
    check(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) })?;
    Ok(())
}

/// Gives up all capabilities, also those that a program run as root, or a set-user-id program, would gain. A process
/// without the right to shrink its bounding set keeps that; without new privileges nothing can be gained from it.
pub(crate) fn drop_privileges() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words for each of the three sets.
    const VERSION_3: u32 = 0x2008_0522;
    /// More than any kernel has; the loop ends at the first that is unknown.
    const MAX_CAPABILITIES: libc::c_ulong = 64;
    for capability in 0..MAX_CAPABILITIES {
        // SAFETY: takes integers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) {
                break;
            }
            return Err(error);
        }
    }
    let header: [u32; 2] = [VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) })?;
    // SAFETY: the header has two words and the data six, as this version defines; both are only read.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) })?;
    Ok(())
}

/// Whether this process may execute the file.
pub(crate) fn may_execute(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })?;
    Ok(())
}

/// Replaces this process by a program. Returns only when that failed.
pub(crate) fn execute(program: &CStr, argv: &[CString], env: &[CString]) -> io::Result<Infallible> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists end with a null pointer, and all strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}
