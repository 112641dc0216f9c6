//! Thin safe wrappers around the system calls of the launcher. No policy here: each function is one call, checked.

pub(crate) mod fd;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod process;
pub(crate) mod ptrace;
pub(crate) mod seccomp;
pub(crate) mod socket;

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Turns a return value of -1 into the thread's error.
fn check<T: Copy + PartialOrd + Default>(value: T) -> io::Result<T> {
    if value < T::default() { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// A path for the kernel. Paths of a checked spec have no NUL; others are our own.
fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
