//! What the parent sends on stdin.

use crate::wire::Command;
use crate::{MAX_SPEC_SIZE_BYTES, SandboxError, Spec};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Lines from the parent. Unlike `std::io::Stdin` it buffers nothing that a poll would miss.
pub(super) struct Commands {
    stdin: File,
    buffer: Vec<u8>,
}

/// What a read of stdin brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Commands(Vec<Command>),
    /// The parent is gone, or sends what no parent sends.
    End,
}

impl AsRawFd for Commands {
    fn as_raw_fd(&self) -> RawFd {
        self.stdin.as_raw_fd()
    }
}

impl Commands {
    pub(super) fn from_stdin() -> Result<Self, SandboxError> {
        let stdin = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| SandboxError::setup("standard input", error))?;
        Ok(Self { stdin: File::from(stdin), buffer: Vec::new() })
    }

    /// Waits for the first line.
    pub(super) fn spec(&mut self) -> Result<Spec, SandboxError> {
        loop {
            if let Some(line) = self.next_line() {
                return serde_json::from_slice(&line)
                    .map_err(|error| SandboxError::bad_spec("spec", format!("is not readable: {error}")));
            }
            let size_bytes = self.buffer.len() as u64;
            if size_bytes >= MAX_SPEC_SIZE_BYTES {
                return Err(SandboxError::SpecTooLarge { size_bytes, limit_bytes: MAX_SPEC_SIZE_BYTES });
            }
            match self.fill() {
                Ok(0) => return Err(SandboxError::bad_spec("spec", "ends before its line does")),
                Ok(_) => {}
                Err(error) => return Err(SandboxError::setup("reading the spec", error)),
            }
        }
    }

    /// Reads what is there; call it when stdin is readable.
    pub(super) fn read(&mut self) -> Word {
        if !matches!(self.fill(), Ok(1..)) || self.buffer.len() as u64 > MAX_SPEC_SIZE_BYTES {
            return Word::End;
        }
        let mut commands = Vec::new();
        while let Some(line) = self.next_line() {
            match serde_json::from_slice(&line) {
                Ok(command) => commands.push(command),
                Err(_) => return Word::End,
            }
        }
        Word::Commands(commands)
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        Some(self.buffer.drain(..=end).collect())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 8192];
        let size = self.stdin.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..size]);
        Ok(size)
    }
}
