//! The bucket as a disk: for whole files, each of which is one object.

use std::io;
use std::path::Path;

use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt as _};

use super::{Bucket, Change};
use crate::disk::Disk;
use lineal_blob::files::FileError;

/// Largest object that grows. A pack of statements is the only kind.
const GROWING_LIMIT_BYTES: u64 = 1 << 30;

impl Disk for Bucket {
    fn bucket(&self) -> Option<&Bucket> {
        Some(self)
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.get(path, limit_bytes)?.map(|content| content.bytes))
    }

    fn size(&self, path: &Path) -> Result<Option<u64>, FileError> {
        self.size_of(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, FileError> {
        let (store, prefix) = (self.store.clone(), self.key(directory));
        let listed =
            self.wait("list", directory, async move { store.list_with_delimiter(Some(&prefix)).await })?;
        let objects = listed.objects.iter().map(|object| &object.location);
        let keys = objects.chain(&listed.common_prefixes);
        let mut names: Vec<String> = keys.filter_map(Key::filename).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Nothing: names need no directory.
    fn create_directory(&self, _: &Path) -> Result<(), FileError> {
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        self.overwrite(path, bytes)
    }

    /// Unlike on a disk, what stands behind stays: another machine may have appended it since. Whoever writes knows what
    /// follows from the journal, and repeats what another one wrote or will write; so nothing but the length tells who
    /// was later.
    fn write_tail(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let written = self.change(path, GROWING_LIMIT_BYTES, &|found| {
            let found = found.unwrap_or_default();
            let Some(before) = found.get(..offset) else { return Change::Refused };
            let behind = found.get(offset + bytes.len()..).unwrap_or_default();
            let new = [before, bytes, behind].concat();
            if new == found { Change::Done } else { Change::To(new) }
        })?;
        if written {
            return Ok(());
        }
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("it ends before byte {offset}"));
        Err(FileError { operation: "write", path: path.to_owned(), source })
    }

    /// Refused: an object cannot be renamed in one step. What must change in one step is exchanged.
    fn rename(&self, _: &Path, to: &Path) -> Result<(), FileError> {
        let source = io::ErrorKind::Unsupported.into();
        Err(FileError { operation: "rename to", path: to.to_owned(), source })
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        let (store, key) = (self.store.clone(), self.key(path));
        self.wait("remove", path, async move {
            match store.delete(&key).await {
                Err(Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        })
    }

    /// Nothing: a directory is there as long as an object is in it.
    fn remove_directory(&self, _: &Path) -> Result<(), FileError> {
        Ok(())
    }

    /// Nothing, as with the next two: what was written is durable.
    fn sync(&self, _: &Path) -> Result<(), FileError> {
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> Result<(), FileError> {
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> Result<(), FileError> {
        Ok(())
    }
}
