//! Mounts, by the descriptor-based interface of Linux 5.12.

use super::fd::owned;
use super::{c_path, check};
use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

pub(crate) use libc::{MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY};

/// Properties that a mount gets in addition to those it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) read_only: bool,
    pub(crate) no_devices: bool,
}

impl Attributes {
    fn bits(self) -> u64 {
        let mut bits = libc::MOUNT_ATTR_NOSUID;
        if self.read_only {
            bits |= libc::MOUNT_ATTR_RDONLY;
        }
        if self.no_devices {
            bits |= libc::MOUNT_ATTR_NODEV;
        }
        bits
    }
}

/// A copy of what is mounted at and below a path, not yet attached anywhere. Symbolic links are followed.
pub(crate) fn copy_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
    // SAFETY: `path` is a NUL-terminated string that outlives the call; the result is a new descriptor.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    Ok(owned(fd as i32))
}

/// Adds properties to a mount and all below it. Properties are only added, so locked ones stay.
pub(crate) fn restrict_tree(tree: &OwnedFd, attributes: Attributes) -> io::Result<()> {
    set_attributes(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, attributes)
}

/// Adds properties to the one mount at `path`.
pub(crate) fn restrict(path: &CStr, attributes: Attributes) -> io::Result<()> {
    set_attributes(libc::AT_FDCWD, path, 0, attributes)
}

fn set_attributes(at: i32, path: &CStr, flags: i32, attributes: Attributes) -> io::Result<()> {
    let request = libc::mount_attr { attr_set: attributes.bits(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: `path` is NUL-terminated, and the address and size describe `request`; both outlive the call.
    check(unsafe {
        let size = mem::size_of_val(&request);
        libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, &raw const request, size)
    })?;
    Ok(())
}

/// Attaches a copied tree.
pub(crate) fn attach_tree(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
    // SAFETY: both paths are NUL-terminated strings that outlive the call.
    check(unsafe {
        let from = tree.as_raw_fd();
        libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), libc::AT_FDCWD, target.as_ptr(), flags)
    })?;
    Ok(())
}

/// Mounts a new file system of this kind.
pub(crate) fn mount_new(kind: &CStr, target: &CStr, flags: libc::c_ulong, options: &CStr) -> io::Result<()> {
    // SAFETY: all strings are NUL-terminated and outlive the call.
    check(unsafe {
        libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
    })?;
    Ok(())
}

/// Cuts the own mount namespace off from the host's: nothing mounted later travels either way.
pub(crate) fn make_all_private() -> io::Result<()> {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: for a change of propagation only the target is read, and it is NUL-terminated.
    check(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) })?;
    Ok(())
}

/// Makes the working directory, a mount, the root, and lets go of the old root. pivot_root(2) describes this use
/// of `.` twice: the old root is put on top of the new one and is taken off from there.
pub(crate) fn enter_root() -> io::Result<()> {
    let here = c".".as_ptr();
    // SAFETY: the paths are static NUL-terminated strings.
    unsafe {
        check(libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(libc::umount2(here, libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
    }
    Ok(())
}
