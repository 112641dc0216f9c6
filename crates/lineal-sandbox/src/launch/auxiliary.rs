//! What the kernel told a program at its start, as `/proc/PID/auxv` keeps it.

use crate::sys::memory;
use std::fs;
use std::io;

/// `AT_RANDOM` points to this many bytes.
pub(super) const RANDOM_SIZE_BYTES: usize = 16;

/// The entries of interest.
#[derive(Debug, Clone, Copy)]
pub(super) struct AuxiliaryVector {
    /// Address of the random bytes.
    pub(super) random: u64,
    /// Start of the vDSO; a kernel may have none.
    pub(super) vdso: Option<u64>,
}

impl AuxiliaryVector {
    /// Reads that of a process.
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        let bytes = fs::read(format!("/proc/{pid}/auxv"))?;
        let (words, _) = bytes.as_chunks::<8>();
        let (entries, _) = words.as_chunks::<2>();
        let entry = |kind: libc::c_ulong| {
            let found = entries.iter().find(|[found, _]| u64::from_le_bytes(*found) == kind);
            found.map(|[_, value]| u64::from_le_bytes(*value)).filter(|value| *value != 0)
        };
        let random = entry(libc::AT_RANDOM).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(Self { random, vdso: entry(libc::AT_SYSINFO_EHDR) })
    }

    /// The random bytes as they are now.
    pub(super) fn random_bytes(&self, pid: i32) -> io::Result<[u8; RANDOM_SIZE_BYTES]> {
        let mut bytes = [0; RANDOM_SIZE_BYTES];
        memory::read(pid, self.random, &mut bytes)?;
        Ok(bytes)
    }
}
