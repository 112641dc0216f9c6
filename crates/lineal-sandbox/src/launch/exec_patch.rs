//! What a new program finds in its auxiliary vector: random bytes from the keyed stream, and no vDSO.
//!
//! The vDSO is code in the process that reads clocks, and since Linux 6.11 makes random bytes, without a system
//! call. A C library that does not find it makes system calls, which the filter sees.

use super::auxiliary::RANDOM_SIZE_BYTES;
use super::entropy::Stream;
use crate::sys::{memory, ptrace};
use std::io;

/// The size of one word, and of the parts in which the stack is read.
const WORD_SIZE_BYTES: u64 = 8;
const PART_WORDS: usize = 256;
/// The most words above the stack pointer: the kernel allows 6 MiB of arguments and environment, and each takes a
/// pointer and at least one byte.
const MAX_WORDS: u64 = 1 << 20;

/// Patches a process that stopped right after execve(2).
pub(super) fn patch(pid: i32, stream: &mut Stream) -> io::Result<()> {
    let mut words = Words { pid, next: ptrace::stack_pointer(pid)?, part: Vec::new(), left: MAX_WORDS };
    // The layout at the start of a program (System V ABI for x86-64, 3.4.1): argc, argv.., 0, env.., 0, auxv.
    let arguments = words.next()?;
    for _ in 0..arguments.saturating_add(1).min(MAX_WORDS) {
        words.next()?;
    }
    while words.next()? != 0 {}
    loop {
        let entry = words.next;
        let (kind, value) = (words.next()?, words.next()?);
        match kind {
            libc::AT_NULL => return Ok(()),
            libc::AT_SYSINFO_EHDR => memory::write(pid, entry, &libc::AT_IGNORE.to_le_bytes())?,
            libc::AT_RANDOM => {
                let mut bytes = [0; RANDOM_SIZE_BYTES];
                if !stream.fill(&mut bytes) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                memory::write(pid, value, &bytes)?;
            }
            _ => {}
        }
    }
}

/// Reads words upwards. The stack ends at a page boundary, so parts never reach past it when they are aligned.
struct Words {
    pid: i32,
    next: u64,
    /// What was read ahead, last word first.
    part: Vec<u64>,
    left: u64,
}

impl Words {
    fn next(&mut self) -> io::Result<u64> {
        if self.part.is_empty() {
            self.read_part()?;
        }
        self.next += WORD_SIZE_BYTES;
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        self.part.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn read_part(&mut self) -> io::Result<()> {
        let part_size = PART_WORDS as u64 * WORD_SIZE_BYTES;
        let size = part_size - self.next % part_size;
        let mut bytes = vec![0; size as usize];
        memory::read(self.pid, self.next, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<{ WORD_SIZE_BYTES as usize }>();
        self.part = words.iter().rev().map(|word| u64::from_le_bytes(*word)).collect();
        Ok(())
    }
}
