//! Calls that wait only in a pod: opens of the random devices, in whose place nothing can be mounted, and, where
//! ptrace(2) is forbidden, starts of programs and tasks.

use super::answers::Answers;
use super::devices::Device;
use super::follow::Follower;
use crate::sys::fd;
use crate::sys::memory;
use crate::sys::seccomp::{Call, Listener, OPENS, Reply, SPAWNS, STARTS};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `PATH_MAX` of Linux.
const MAX_PATH_SIZE_BYTES: usize = 4096;

/// What a pod's step needs in addition.
#[derive(Default)]
pub(super) struct PodCalls {
    /// Only under strict without ptrace(2).
    pub(super) follower: Option<Follower>,
    /// Why something was left to the kernel that should not have been.
    pub(super) missed: Option<io::Error>,
}

impl PodCalls {
    /// Answers a call if it is one of these. False: it still waits.
    pub(super) fn answer(
        &mut self,
        (listener, call): (&Listener, &Call),
        answers: &mut Answers,
        devices: &[Device],
    ) -> io::Result<bool> {
        if let (Some(follower), Some(tasks)) = (&mut self.follower, answers.tasks()) {
            let mut looked = follower.look(call, tasks);
            if STARTS.contains(&call.number) {
                looked = looked.and(follower.start(call));
            }
            if let Err(error) = looked
                && listener.still_waits(call)
            {
                self.missed.get_or_insert(error);
            }
            if SPAWNS.contains(&call.number) {
                follower.spawn(listener, call, tasks)?;
                return Ok(true);
            }
        }
        if !OPENS.contains(&call.number) {
            return Ok(false);
        }
        let opened = Open::of(call).and_then(|open| match open {
            Some(open) => open.answer(listener, call, devices),
            None => Ok(false),
        });
        match opened {
            Ok(true) => Ok(true),
            Ok(false) => listener.reply(call, Reply::Continue).map(|_| true),
            Err(error) => {
                // A bad address is the caller's fault, and the kernel says so.
                if error.raw_os_error() != Some(libc::EFAULT) && listener.still_waits(call) {
                    self.missed.get_or_insert(error);
                }
                listener.reply(call, Reply::Continue).map(|_| true)
            }
        }
    }
}

/// A call that opens something whose name ends like a random device's, for reading.
struct Open {
    path: PathBuf,
    flags: i32,
}

impl Open {
    fn of(call: &Call) -> io::Result<Option<Self>> {
        let [first, second, third, ..] = call.arguments;
        let (directory, path, flags) = match call.number {
            libc::SYS_open => (libc::AT_FDCWD, first, second),
            // `flags` is the first member of openat2's `struct open_how`.
            libc::SYS_openat2 => (first as i32, second, word(call.thread, third)?),
            _ => (first as i32, second, third),
        };
        let flags = flags as i32;
        let Some(path) = memory::read_text(call.thread, path, MAX_PATH_SIZE_BYTES)? else { return Ok(None) };
        if !path.ends_with(b"random")
            || flags & libc::O_ACCMODE != libc::O_RDONLY
            || flags & libc::O_PATH != 0
        {
            return Ok(None);
        }
        let base = match directory {
            libc::AT_FDCWD => format!("/proc/{}/cwd", call.thread),
            number => format!("/proc/{}/fd/{number}", call.thread),
        };
        let path = Path::new(OsStr::from_bytes(&path));
        let path = if path.is_absolute() { path.to_owned() } else { fs::read_link(base)?.join(path) };
        Ok(Some(Self { path, flags }))
    }

    /// Gives the device's pipe in its place. False when it is no random device.
    fn answer(&self, listener: &Listener, call: &Call, devices: &[Device]) -> io::Result<bool> {
        // Through links, for instance /dev/../dev/urandom. The step has the same root.
        let Ok(path) = fs::canonicalize(&self.path) else { return Ok(false) };
        let Some(device) = devices.iter().find(|device| Path::new(device.path()) == path) else {
            return Ok(false);
        };
        let pipe = fd::reopen_for_reading(device.fifo(), self.flags & libc::O_NONBLOCK != 0)?;
        listener.reply_descriptor(call, pipe.as_fd(), self.flags & libc::O_CLOEXEC != 0)?;
        Ok(true)
    }
}

fn word(pid: i32, address: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    memory::read(pid, address, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
