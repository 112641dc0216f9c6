//! What the ledger asks of a disk, operation by operation, so that every one of them can be made to fail.
//!
//! Implementations: [`FileSystem`], [`Bucket`] and, in tests, a simulated disk that forgets what was not synced.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::bucket::Bucket;
use lineal_blob::files::{self, Context, FileError};

#[cfg(test)]
pub(crate) mod simulated;

/// The operations. Nothing is durable before it is synced, and a name is durable only with its directory.
pub trait Disk: Debug + Send + Sync {
    /// The bucket that this is: then other machines may write to it at the same time, every write is durable, and names
    /// that must change in one step are changed by its operations.
    fn bucket(&self) -> Option<&Bucket> {
        None
    }

    /// The content of a file of at most `limit_bytes`; `None` when there is no such file.
    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, FileError>;

    /// The size of a file in bytes; `None` when there is no such file.
    fn size(&self, path: &Path) -> Result<Option<u64>, FileError>;

    /// The names in a directory, sorted; none when there is no such directory.
    fn list(&self, directory: &Path) -> Result<Vec<String>, FileError>;

    /// Creates a directory and its parents.
    fn create_directory(&self, directory: &Path) -> Result<(), FileError>;

    /// Writes a whole file, over whatever was there.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError>;

    /// Writes `bytes` at `offset` and cuts off what stood behind; the file is created if needed.
    fn write_tail(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), FileError>;

    /// Gives the file `from` the name `to`, in place of what had that name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError>;

    /// Removes a file; nothing happens when there is none.
    fn remove(&self, path: &Path) -> Result<(), FileError>;

    /// Removes a directory if it is empty; otherwise, and when there is none, nothing happens.
    fn remove_directory(&self, directory: &Path) -> Result<(), FileError>;

    /// Makes the content of a file durable.
    fn sync(&self, path: &Path) -> Result<(), FileError>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> Result<(), FileError>;

    /// Makes everything durable that was written to the file system of `path`.
    fn sync_all(&self, path: &Path) -> Result<(), FileError>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
        present(files::read_limited(path, limit_bytes))
    }

    fn size(&self, path: &Path) -> Result<Option<u64>, FileError> {
        present(fs::metadata(path).map(|metadata| metadata.len()).context("read", path))
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, FileError> {
        let Some(entries) = present(fs::read_dir(directory).context("list", directory))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.context("list", directory)?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_directory(&self, directory: &Path) -> Result<(), FileError> {
        files::create_directory(directory)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        fs::write(path, bytes).context("write", path)
    }

    fn write_tail(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        let write = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            file.write_all_at(bytes, offset)?;
            let end = offset + bytes.len() as u64;
            if file.metadata()?.len() > end { file.set_len(end) } else { Ok(()) }
        };
        write().context("write", path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        fs::rename(from, to).context("rename to", to)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        present(fs::remove_file(path).context("remove", path)).map(|_| ())
    }

    fn remove_directory(&self, directory: &Path) -> Result<(), FileError> {
        match present(fs::remove_dir(directory).context("remove", directory)) {
            Err(error) if error.source.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn sync(&self, path: &Path) -> Result<(), FileError> {
        File::open(path).and_then(|file| file.sync_data()).context("sync", path)
    }

    fn sync_directory(&self, directory: &Path) -> Result<(), FileError> {
        files::sync_directory(directory)
    }

    fn sync_all(&self, path: &Path) -> Result<(), FileError> {
        let directory = File::open(path).context("open", path)?;
        rustix::fs::syncfs(&directory).map_err(io::Error::from).context("sync the file system of", path)
    }
}

/// Replaces the content of `path` so that a reader sees the old or the new one, never a part. Durable after the next
/// sync of everything.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let staged: PathBuf = path.with_file_name(name);
    disk.write(&staged, bytes)?;
    disk.rename(&staged, path)
}

fn present<T>(result: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match result {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
