//! Descriptors: pipes, polling, signals as a descriptor.

use super::{c_path, check};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Takes ownership of a descriptor that the kernel just returned.
pub(super) fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a descriptor that a system call just opened for them; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A pipe, close-on-exec: (read end, write end).
pub(crate) fn pipe() -> io::Result<(File, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors that pipe2 writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((File::from(owned(ends[0])), owned(ends[1])))
}

/// A pipe as one descriptor for both directions that does not wait, like a FIFO opened for both.
pub(crate) fn loop_pipe() -> io::Result<OwnedFd> {
    let (read_end, _write_end) = pipe()?;
    let path = own_path(&read_end);
    Ok(File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?.into())
}

/// Opens what a descriptor of a pipe is about once more, for reading. Waits for data unless `nonblocking`.
pub(crate) fn reopen_for_reading(fd: &impl AsRawFd, nonblocking: bool) -> io::Result<File> {
    let flags = if nonblocking { libc::O_NONBLOCK } else { 0 };
    File::options().read(true).custom_flags(flags).open(own_path(fd))
}

fn own_path(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Makes reads and writes return `WouldBlock` instead of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL takes no pointer, and the descriptor is open while borrowed.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: F_SETFL takes an integer.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Bytes that can be read from a pipe at once.
pub(crate) fn bytes_waiting(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the address given.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) })?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Creates a FIFO.
pub(crate) fn make_fifo(path: &Path, mode: u32) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mkfifo(path.as_ptr(), mode) })?;
    Ok(())
}

/// Puts `fd` in the place of descriptor `number`, without close-on-exec.
pub(crate) fn put_at(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2 takes two integers. The callers replace only 0, 1 and 2, which no Rust value owns.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
    Ok(())
}

/// Marks every descriptor above 2 close-on-exec, whoever opened it.
pub(crate) fn close_others_on_exec() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: with this flag close_range closes nothing now, so no owner is left with a dead descriptor.
    check(unsafe { libc::close_range(3, libc::c_uint::MAX, flags) })?;
    Ok(())
}

/// One descriptor to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest {
    fd: RawFd,
    events: i16,
}

impl Interest {
    pub(crate) fn read(fd: &impl AsRawFd) -> Self {
        Self { fd: fd.as_raw_fd(), events: libc::POLLIN }
    }

    pub(crate) fn write(fd: &impl AsRawFd) -> Self {
        Self { fd: fd.as_raw_fd(), events: libc::POLLOUT }
    }
}

/// What [`poll`] found for one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    No,
    /// Data to read, or room to write; possibly the end of the data.
    Yes,
    /// Only an end or an error.
    Closed,
}

/// Waits until a descriptor is ready or the time is over. An interruption counts as nothing ready.
pub(crate) fn poll(interests: &[Interest], timeout_ms: Option<u64>) -> io::Result<Vec<Ready>> {
    let mut polls: Vec<libc::pollfd> = interests
        .iter()
        .map(|interest| libc::pollfd { fd: interest.fd, events: interest.events, revents: 0 })
        .collect();
    let timeout = timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    // SAFETY: the pointer and the length describe `polls`, which lives through the call.
    let found = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout) };
    match check(found) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            return Ok(vec![Ready::No; interests.len()]);
        }
        Err(error) => return Err(error),
    }
    let ready = |poll: &libc::pollfd| match poll.revents {
        0 => Ready::No,
        events if events & poll.events != 0 => Ready::Yes,
        _ => Ready::Closed,
    };
    Ok(polls.iter().map(ready).collect())
}

/// A descriptor that becomes readable when a child or tracee changes state. Blocks SIGCHLD in this thread.
pub(crate) fn child_signal() -> io::Result<File> {
    // SAFETY: an all-zero sigset_t is a valid value, and sigemptyset initialises it anyway.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is a valid sigset_t for all calls, and a null old set is allowed.
    let fd = unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        // An ignored SIGCHLD would be inherited from the parent and would make the kernel reap for us.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
    };
    Ok(File::from(owned(fd)))
}

/// Closes a descriptor that a fork copied from the parent and that the child's code has no value for.
pub(crate) fn close_inherited(fd: &impl AsRawFd) {
    // SAFETY: only called in a fresh child that ends with _exit, so the value that owns the descriptor number is
    // neither used nor dropped there.
    unsafe { libc::close(fd.as_raw_fd()) };
}
