//! Durable file operations: write, sync, rename, sync the directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most files that are synced one by one, each in a thread: the file system merges concurrent syncs into few journal
/// commits.
const SYNC_THREADS: usize = 8;

/// How the names of files begin that are not complete yet.
const UNFINISHED: &[u8] = b".new-";

/// An IO error with the path and the operation it belongs to.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`", path.display())]
pub struct FileError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// Adds path and operation to an IO result.
pub trait Context<T> {
    /// Names `operation` on `path` in the error.
    fn context(self, operation: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { operation, path: path.to_owned(), source })
    }
}

/// Replaces `path` by `bytes` so that a crash leaves either the old or the new content.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let directory = parent(path);
    let mut file = tempfile::Builder::new()
        .prefix(OsStr::from_bytes(UNFINISHED))
        .tempfile_in(directory)
        .context("create a file in", directory)?;
    file.write_all(bytes).context("write", path)?;
    file.as_file().sync_all().context("sync", path)?;
    file.persist(path).map_err(|e| e.error).context("rename to", path)?;
    sync_directory(directory)
}

/// Removes what [`replace`] left in `directory` when its process was killed, if nobody touched it since `cutoff`.
pub fn remove_unfinished(directory: &Path, cutoff: SystemTime) -> Result<(), FileError> {
    for entry in fs::read_dir(directory).context("list", directory)? {
        let path = entry.context("list", directory)?.path();
        let unfinished = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED));
        // One that vanishes meanwhile is somebody's who finished.
        let modified = path.symlink_metadata().and_then(|found| found.modified());
        if unfinished && modified.is_ok_and(|modified| modified < cutoff) {
            fs::remove_file(&path).context("remove", &path)?;
        }
    }
    Ok(())
}

/// Makes the entries of `directory` durable.
pub fn sync_directory(directory: &Path) -> Result<(), FileError> {
    File::open(directory).and_then(|d| d.sync_all()).context("sync", directory)
}

/// Makes the content of `files` and the entries of their directories durable. All must be on one file system.
///
/// A few files are synced one by one, at the same time; for many it is cheaper to flush the file system once, which
/// Linux reports errors of since 5.8.
pub fn sync_all(files: &[PathBuf]) -> Result<(), FileError> {
    let directories: BTreeSet<PathBuf> = files.iter().map(|f| parent(f).to_owned()).collect();
    let targets: Vec<&Path> = files.iter().chain(&directories).map(PathBuf::as_path).collect();
    if targets.len() > SYNC_THREADS
        && let Some(first) = directories.first()
    {
        let handle = File::open(first).context("open", first)?;
        return rustix::fs::syncfs(&handle)
            .map_err(io::Error::from)
            .context("sync the file system of", first);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = targets.iter().map(|path| scope.spawn(move || sync_one(path))).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| {
                Err(FileError {
                    operation: "sync",
                    path: PathBuf::new(),
                    source: io::ErrorKind::Other.into(),
                })
            })
        })
    })
}

fn sync_one(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|f| f.sync_all()).context("sync", path)
}

/// Creates `directory` and its parents.
pub fn create_directory(directory: &Path) -> Result<(), FileError> {
    fs::create_dir_all(directory).context("create directory", directory)
}

/// Removes a directory and what is below it, also if somebody made directories read-only.
pub fn remove_tree(directory: &Path) -> Result<(), FileError> {
    fs::remove_dir_all(directory)
        .or_else(|_| {
            make_writable(directory);
            fs::remove_dir_all(directory)
        })
        .context("remove", directory)
}

fn make_writable(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

/// Reads a file of at most `limit_bytes`.
pub fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
    let size = fs::metadata(path).context("read", path)?.len();
    if size > limit_bytes {
        let source =
            io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes; the limit is {limit_bytes}"));
        return Err(FileError { operation: "read", path: path.to_owned(), source });
    }
    fs::read(path).context("read", path)
}

/// The directory of `path`; `.` when it has none.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
