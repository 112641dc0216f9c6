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
            let file = OpenOptions::new().read(true).open(memory_file(pid))?;
            file.read_exact_at(buffer, address).map_err(bad_address)
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
        Err(error) if is_forbidden(&error) => write_anywhere(pid, address, bytes),
        result => result,
    }
}

/// Copies `bytes` into the process's memory, also where the process itself may not write: such pages become its own
/// copies. Needs the same rights as tracing, but not ptrace(2).
pub(crate) fn write_anywhere(pid: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(memory_file(pid))?;
    file.write_all_at(bytes, address).map_err(bad_address)
}

/// The text of at most `limit` bytes at an address, up to its NUL; `None` when there is none.
pub(crate) fn read_text(pid: i32, address: u64, limit: usize) -> io::Result<Option<Vec<u8>>> {
    /// Pages have a multiple of this size, so an aligned part is there as a whole or not at all.
    const PART_SIZE_BYTES: u64 = 64;
    let mut text = Vec::new();
    while text.len() < limit {
        let next = address.wrapping_add(text.len() as u64);
        let mut part = vec![0; (PART_SIZE_BYTES - next % PART_SIZE_BYTES) as usize];
        read(pid, next, &mut part)?;
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&part[..end]);
            return Ok(Some(text));
        }
        text.extend(part);
    }
    Ok(None)
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

/// The file says "I/O error", or an end, where the call says "bad address".
fn bad_address(error: io::Error) -> io::Error {
    match (error.raw_os_error(), error.kind()) {
        (Some(libc::EIO), _) | (_, io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero) => {
            io::Error::from_raw_os_error(libc::EFAULT)
        }
        _ => error,
    }
}

fn memory_file(pid: i32) -> String {
    format!("/proc/{pid}/mem")
}
