//! Standard output and standard error of the step: pipes that the launcher copies to files, up to a limit.
//!
//! Not the files themselves: their size could be limited only together with all files of the step, and a step that
//! prints too much would be killed instead of cut.

use crate::sys::fd::{self, Interest, Ready};
use crate::{SandboxError, Spec};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

const CHUNK_SIZE_BYTES: usize = 64 << 10;
/// `PIPE_BUF` of Linux: a pipe that is ready for writing has room for this.
const TEE_PART_SIZE_BYTES: usize = 4096;
/// How long the end of the output may wait for a tee that nobody reads.
const TEE_LIMIT: Duration = Duration::from_secs(5);

/// The two streams and what they may still write together.
pub(super) struct Logs {
    streams: [Stream; 2],
    left: u64,
    limit: u64,
    cut: bool,
    tee: Option<Tee>,
}

/// The launcher's own standard error, which takes both streams as well. What it has no room for is kept, and no more is
/// taken from the step until then.
struct Tee {
    to: File,
    left: Vec<u8>,
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
        let tee = if spec.tee { Some(Tee::open()?) } else { None };
        let logs = Self { streams: [stdout, stderr], left: limit, limit, cut: false, tee };
        Ok((logs, [stdout_end, stderr_end]))
    }

    /// Whether output was dropped.
    pub(super) fn was_cut(&self) -> bool {
        self.cut
    }

    /// The open pipes with their numbers for [`Self::copy`]. None while the tee waits.
    pub(super) fn pipes(&self) -> impl Iterator<Item = (usize, &File)> {
        let streams = if self.waiting_tee().is_some() { &[] } else { &self.streams[..] };
        streams.iter().enumerate().filter_map(|(index, stream)| Some((index, stream.pipe.as_ref()?)))
    }

    /// The tee, when something is left for it.
    pub(super) fn waiting_tee(&self) -> Option<&File> {
        self.tee.as_ref().filter(|tee| !tee.left.is_empty()).map(|tee| &tee.to)
    }

    /// Writes to the tee; call it when that has room.
    pub(super) fn pass_on(&mut self) {
        if let Some(tee) = &mut self.tee
            && tee.write().is_err()
        {
            self.tee = None;
        }
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
        if let Some(tee) = &mut self.tee {
            tee.left.extend_from_slice(&chunk[..kept]);
        }
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
        let end = Instant::now() + TEE_LIMIT;
        while let Some(tee) = self.waiting_tee() {
            let left = end.saturating_duration_since(Instant::now());
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            match fd::poll(&[Interest::write(tee)], Some(wait_ms)).as_deref() {
                Ok([Ready::Yes]) => self.pass_on(),
                Ok(_) if !left.is_zero() => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl Tee {
    fn open() -> Result<Self, SandboxError> {
        let to = io::stderr().as_fd().try_clone_to_owned();
        let to = to.map_err(|error| SandboxError::setup("standard error", error))?;
        Ok(Self { to: File::from(to), left: Vec::new() })
    }

    /// Writes one part: what a pipe that has room takes at once.
    fn write(&mut self) -> io::Result<()> {
        let size = self.left.len().min(TEE_PART_SIZE_BYTES);
        let written = self.to.write(&self.left[..size])?;
        self.left.drain(..written);
        Ok(())
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
