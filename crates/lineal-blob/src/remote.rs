//! Where the blobs of a folder also are, or belong: a bucket, or the operator whom a pod works for.

use std::fmt;
use std::path::{Path, PathBuf};

use lineal_facts::Digest;

use crate::files::FileError;

/// The far side of a [`crate::BlobStore`]. Its calls wait for the answer, and several may be under way at a time.
pub trait Remote: fmt::Debug + Send + Sync {
    /// What it calls the blob, for messages.
    fn name(&self, digest: &Digest) -> PathBuf;

    /// Whether the blob is there, whole, with this size. `false` if the far side does not tell: then it is sent.
    fn have(&self, digest: &Digest, size_bytes: u64) -> Result<bool, FileError>;

    /// Calls `sink` with the pieces of the blob, in order. `false` when there is no such blob; whatever `sink` got is
    /// nothing then. Nobody has checked the bytes.
    fn get(
        &self,
        digest: &Digest,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<bool, FileError>;

    /// Sends the file `source` as the blob `digest`. Yields the digest of the bytes that were read; if it is another one,
    /// the far side has not taken them.
    fn put(&self, digest: &Digest, source: &Path) -> Result<Digest, FileError>;
}
