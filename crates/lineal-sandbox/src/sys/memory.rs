//! The memory of another process.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;

/// Fills `buffer` from the process's memory.
pub(crate) fn read(pid: i32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let length = buffer.len();
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: length };
    // SAFETY: `local` describes `buffer`, which is writable; `remote` is an address of the other process that the
    // kernel checks.
    let done = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match complete(done, length) {
        Err(error) if is_forbidden(&error) => {
            OpenOptions::new().read(true).open(memory_file(pid))?.read_exact_at(buffer, address)
        }
        result => result,
    }
}

/// Copies `bytes` into the process's memory.
pub(crate) fn write(pid: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel only reads from `local`, which describes `bytes`; it checks the remote address.
    let done = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match complete(done, bytes.len()) {
        Err(error) if is_forbidden(&error) => {
            OpenOptions::new().write(true).open(memory_file(pid))?.write_all_at(bytes, address)
        }
        result => result,
    }
}

fn complete(done: isize, length: usize) -> io::Result<()> {
    match usize::try_from(done) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(done) if done == length => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}

/// Whether the system call itself is forbidden, as in the default profile of containers. Then `/proc/PID/mem` may
/// still do. Not for bad addresses: writes through that file ignore page protection.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS))
}

fn memory_file(pid: i32) -> String {
    format!("/proc/{pid}/mem")
}
