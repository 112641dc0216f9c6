//! Blobs in the bucket: uploaded from files, downloaded piece by piece, hashed on the way.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lineal_blob::Remote;
use lineal_blob::blob::below;
use lineal_blob::files::{Context as _, FileError};
use lineal_facts::Digest;
use lineal_facts::digest::Hasher;
use object_store::{Error, ObjectStoreExt as _, WriteMultipart};

use super::Bucket;

/// What is read or written in one request. A file that is not larger is one request, a larger one is several.
const PIECE_BYTES: usize = 8 << 20;
/// Pieces of one file that are under way at a time.
const PIECES_LIMIT: usize = 4;

impl Remote for Bucket {
    fn name(&self, digest: &Digest) -> PathBuf {
        below(&self.root().join("blobs"), digest)
    }

    /// One of that size is taken for it: an object is whole or not there.
    fn have(&self, digest: &Digest, size_bytes: u64) -> Result<bool, FileError> {
        Ok(self.size_of(&self.name(digest))? == Some(size_bytes))
    }

    fn get(
        &self,
        digest: &Digest,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<bool, FileError> {
        let path = &self.name(digest);
        let Some(size_bytes) = self.size_of(path)? else { return Ok(false) };
        let mut start = 0;
        while start < size_bytes {
            let end = (start + PIECE_BYTES as u64).min(size_bytes);
            let Some(piece) = self.range(path, start..end)? else { return Ok(false) };
            sink(&piece)?;
            start = end;
        }
        Ok(true)
    }

    fn put(&self, digest: &Digest, source: &Path) -> Result<Digest, FileError> {
        let path = &self.name(digest);
        let mut file = File::open(source).context("read", source)?;
        let size_bytes = file.metadata().context("read", source)?.len();
        let mut hasher = Hasher::default();
        let first = piece(&mut file, source, &mut hasher)?;
        if size_bytes <= PIECE_BYTES as u64 {
            let found = hasher.finish();
            if found == *digest {
                self.overwrite(path, &first)?;
            }
            return Ok(found);
        }
        let (store, key) = (self.store.clone(), self.key(path));
        let mut upload = self.wait("write", path, async move {
            Ok(WriteMultipart::new_with_chunk_size(store.put_multipart(&key).await?, PIECE_BYTES))
        })?;
        let mut next = first;
        while !next.is_empty() {
            upload = self.wait("write", path, async move {
                upload.wait_for_capacity(PIECES_LIMIT).await?;
                upload.put(Bytes::from(next));
                Ok(upload)
            })?;
            next = piece(&mut file, source, &mut hasher)?;
        }
        let found = hasher.finish();
        let is_good = found == *digest;
        self.wait("write", path, async move {
            if is_good { upload.finish().await.map(|_| ()) } else { upload.abort().await }
        })?;
        Ok(found)
    }
}

impl Bucket {
    /// Itself, as the far side of a folder of blobs.
    pub(crate) fn remote(self) -> Box<dyn Remote> {
        Box::new(self)
    }

    fn range(&self, path: &Path, range: Range<u64>) -> Result<Option<Bytes>, FileError> {
        let (store, key) = (self.store.clone(), self.key(path));
        self.wait("read", path, async move {
            match store.get_range(&key, range).await {
                Err(Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        })
    }
}

/// The next piece of a file; empty at its end.
fn piece(file: &mut File, path: &Path, hasher: &mut Hasher) -> Result<Vec<u8>, FileError> {
    let mut piece = Vec::new();
    file.take(PIECE_BYTES as u64).read_to_end(&mut piece).context("read", path)?;
    hasher.update(&piece);
    Ok(piece)
}
