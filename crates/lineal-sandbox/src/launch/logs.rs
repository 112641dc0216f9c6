//! Standard output and standard error of the step: pipes that the launcher copies to files, up to a limit.
//!
//! Not the files themselves: their size could be limited only together with all files of the step, and a step that
//! prints too much would be killed instead of cut.

use crate::sys::fd;
use crate::{SandboxError, Spec};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const CHUNK_SIZE_BYTES: usize = 64 << 10;

/// The two streams and what they may still write together.
pub(super) struct Logs {
    streams: [Stream; 2],
    left: u64,
    limit: u64,
    cut: bool,
}

struct Stream {
    /// `None` once all writers are gone.
    pipe: Option<File>,
    file: File,
    /// Whether the place where output was dropped is marked already.
    marked: bool,
}

impl Logs {
    /// Opens both files. Gives the write ends for the step as well.
    pub(super) fn open(spec: &Spec) -> Result<(Self, [OwnedFd; 2]), SandboxError> {
        let (stdout, stdout_end) = Stream::open(&spec.stdout)?;
        let (stderr, stderr_end) = Stream::open(&spec.stderr)?;
        let limit = spec.limits.log_size_bytes;
        Ok((Self { streams: [stdout, stderr], left: limit, limit, cut: false }, [stdout_end, stderr_end]))
    }

    /// Whether output was dropped.
    pub(super) fn was_cut(&self) -> bool {
        self.cut
    }

    /// The open pipes with their numbers for [`Self::copy`].
    pub(super) fn pipes(&self) -> impl Iterator<Item = (usize, &File)> {
        self.streams.iter().enumerate().filter_map(|(index, stream)| Some((index, stream.pipe.as_ref()?)))
    }

    /// Copies what is there in one pipe, at most one chunk. False when nothing is left to copy for now.
    pub(super) fn copy(&mut self, index: usize) -> bool {
        let stream = &mut self.streams[index];
        let Some(pipe) = &mut stream.pipe else { return false };
        let mut chunk = [0; CHUNK_SIZE_BYTES];
        let size = match pipe.read(&mut chunk) {
            Ok(0) => {
                stream.pipe = None;
                return false;
            }
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => {
                stream.pipe = None;
                return false;
            }
        };
        let kept = size.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let written = stream.file.write_all(&chunk[..kept]);
        self.left -= kept as u64;
        if written.is_err() {
            // A full disk. Nothing more can be written, but the step must not block on a full pipe.
            self.left = 0;
        }
        if kept < size || written.is_err() {
            self.cut = true;
            stream.mark(self.limit);
        }
        true
    }

    /// Copies the rest after all processes of the step are gone. Does not wait for the end of the pipes: a process
    /// elsewhere that was handed a descriptor could hold them open.
    pub(super) fn drain(&mut self) {
        for index in 0..self.streams.len() {
            while self.copy(index) {}
        }
    }
}

impl Stream {
    fn open(path: &Path) -> Result<(Self, OwnedFd), SandboxError> {
        let failed =
            |error: io::Error| SandboxError::LogFile { path: path.to_owned(), reason: error.to_string() };
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        let (pipe, write_end) = fd::pipe().map_err(failed)?;
        fd::set_nonblocking(pipe.as_fd()).map_err(failed)?;
        Ok((Self { pipe: Some(pipe), file, marked: false }, write_end))
    }

    fn mark(&mut self, limit: u64) {
        if !self.marked {
            self.marked = true;
            let _ = writeln!(self.file, "\n[lineal: output dropped from here, the limit is {limit} bytes]");
        }
    }
}
