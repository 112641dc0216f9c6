//! The FIFOs behind `/dev/urandom` and `/dev/random`; in a pod, pipes that are given out at each open.
//!
//! A FIFO is filled ahead of its readers, so what is in it at the end was not read. Each byte reaches one reader
//! only, so real random bytes stay as good as they are. Readers of one FIFO share its stream: with several at the
//! same time, who gets which bytes depends on their order.

use super::entropy::{Stream, StreamId};
use crate::sys::fd;
use crate::{Determinism, EntropySource};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// In order of the FIFOs that init sends.
const SOURCES: [(EntropySource, &str); 2] =
    [(EntropySource::DevUrandom, "/dev/urandom"), (EntropySource::DevRandom, "/dev/random")];
/// `PIPE_BUF` of Linux: a write of this size goes in whole or not at all.
const CHUNK_SIZE_BYTES: usize = 4096;

/// One FIFO and what feeds it.
pub(super) struct Device {
    pub(super) source: EntropySource,
    path: &'static str,
    fifo: File,
    feed: Feed,
    /// A chunk for which there was no room. Dropping it would change the stream.
    pending: Option<Vec<u8>>,
    written: u64,
}

enum Feed {
    Kernel(File),
    Keyed(Stream),
}

impl Device {
    /// Makes the devices of a step from init's FIFOs.
    pub(super) fn open_all(fifos: Vec<OwnedFd>, determinism: &Determinism) -> io::Result<Vec<Self>> {
        let mut devices = Vec::new();
        for ((fifo, (source, path)), index) in fifos.into_iter().zip(SOURCES).zip(0..) {
            let feed = match determinism {
                Determinism::Off => continue,
                Determinism::Observe => Feed::Kernel(File::open(path)?),
                Determinism::Strict { key, .. } => {
                    Feed::Keyed(StreamId::root(key.as_bytes()).child(b"device", index).stream())
                }
            };
            devices.push(Self { source, path, fifo: File::from(fifo), feed, pending: None, written: 0 });
        }
        Ok(devices)
    }

    /// Those of a pod, which have no place in the file tree.
    pub(super) fn pipes(determinism: &Determinism) -> io::Result<Vec<Self>> {
        let pipes = SOURCES.iter().map(|_| fd::loop_pipe()).collect::<io::Result<_>>()?;
        Self::open_all(pipes, determinism)
    }

    /// The device that this stands for.
    pub(super) fn path(&self) -> &str {
        self.path
    }

    pub(super) fn fifo(&self) -> &File {
        &self.fifo
    }

    /// Fills the FIFO up; call it when there is room.
    pub(super) fn feed(&mut self) -> io::Result<()> {
        loop {
            let chunk = match self.pending.take() {
                Some(chunk) => chunk,
                None => self.feed.next_chunk()?,
            };
            match self.fifo.write(&chunk) {
                Ok(size) => self.written += size as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pending = Some(chunk);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How many bytes were taken out.
    pub(super) fn bytes_read(&self) -> u64 {
        self.written.saturating_sub(fd::bytes_waiting(self.fifo.as_fd()).unwrap_or(0))
    }
}

impl Feed {
    fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; CHUNK_SIZE_BYTES];
        match self {
            Self::Kernel(file) => file.read_exact(&mut chunk)?,
            Self::Keyed(stream) => {
                if !stream.fill(&mut chunk) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(chunk)
    }
}
