//! A file as the body of a request.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use lineal_blob::files::{Context as _, FileError};

const PIECE_BYTES: u64 = 256 << 10;

/// As many bytes of a file as it had when it was opened.
pub(super) struct FileBody {
    file: File,
    left: u64,
    /// Bytes that were taken so far; the one who waits for the answer looks whether something moves.
    sent: Arc<AtomicU64>,
}

impl FileBody {
    pub(super) fn open(path: &Path, sent: Arc<AtomicU64>) -> Result<Self, FileError> {
        let file = File::open(path).context("read", path)?;
        let left = file.metadata().context("read", path)?.len();
        Ok(Self { file, left, sent })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    /// Reads without leaving the thread: pieces are small, and the file was written a moment ago.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = Vec::new();
        let size = self.left.min(PIECE_BYTES);
        let read = (&mut self.file).take(size).read_to_end(&mut piece);
        Poll::Ready(Some(match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.left -= count as u64;
                self.sent.fetch_add(count as u64, Ordering::Relaxed);
                Ok(Frame::data(Bytes::from(piece)))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
