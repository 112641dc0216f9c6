//! Directories for work in progress that vanish with it, even after `kill -9`.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use lineal_blob::files::{self, Context};
use rustix::fs::{AtFlags, CWD, linkat};

use crate::failure::Failure;
use crate::project::Project;

/// A private directory below `.lineal/work/`. A lock file says that its process lives; the next workspace removes
/// those whose process does not.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    lock: File,
}

impl Workspace {
    /// A fresh directory for work called `name`.
    pub fn create(project: &Project, name: &str) -> Result<Self, Failure> {
        let parent = project.scratch("active")?;
        remove_abandoned(&parent);
        remove_dead(&parent);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&parent)
            .context("create a directory in", &parent)?;
        let lock = locked_file(directory.path())?;
        Ok(Self { path: directory.keep(), lock })
    }

    /// Takes over a directory whose owner died, or shares one whose owner lives: removed when this is dropped.
    pub fn adopt(path: &Path) -> Result<Self, Failure> {
        let lock_path = path.join("lock");
        let lock = File::open(&lock_path).context("open", &lock_path)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The lock, for a child process that shall hold it too: the directory is abandoned when all holders are gone.
    pub fn share_lock(&self) -> Result<File, Failure> {
        Ok(self.lock.try_clone().context("share the lock of", &self.path)?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Makes the file `lock`, locked before it has that name: an unlocked one means a dead owner.
fn locked_file(directory: &Path) -> Result<File, Failure> {
    let path = directory.join("lock");
    // Without a name until it is locked, so that a kill leaves an empty directory, as one before it does.
    let lock = tempfile::tempfile_in(directory).context("create a file in", directory)?;
    lock.lock().context("lock", &path)?;
    let nameless = format!("/proc/self/fd/{}", lock.as_raw_fd());
    if linkat(CWD, nameless, CWD, &path, AtFlags::SYMLINK_FOLLOW).is_ok() {
        return Ok(lock);
    }
    // A file system without nameless files.
    let new_path = directory.join("lock.new");
    let lock = File::create(&new_path).context("create", &new_path)?;
    lock.lock().context("lock", &new_path)?;
    fs::rename(&new_path, &path).context("rename", &new_path)?;
    Ok(lock)
}

/// Whether nobody holds the lock of the directory `path`.
pub fn is_abandoned(path: &Path) -> bool {
    File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// The directories of living and dead processes below `.lineal/work/`.
pub fn all(project: &Project) -> Vec<PathBuf> {
    let Ok(parent) = project.scratch("active") else { return Vec::new() };
    std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // A directory without a lock file is just being made; if its owner died then, it is empty and stays.
        if is_abandoned(&path) {
            remove(&path);
        }
    }
}

/// Removes a directory. It first leaves the place of the living, in one step, so that a removal that is interrupted
/// can be finished by anyone; what cannot be removed now stays for the next attempt.
fn remove(path: &Path) {
    let Some(dead) = path.parent().and_then(Path::parent).map(|work| work.join("dead")) else { return };
    let Some(name) = path.file_name() else { return };
    if fs::create_dir_all(&dead).is_ok() && fs::rename(path, dead.join(name)).is_ok() {
        let _ = files::remove_tree(&dead.join(name));
    }
}

/// Finishes removals that were interrupted.
fn remove_dead(parent: &Path) {
    let dead = parent.parent().map(|work| work.join("dead"));
    for entry in dead.and_then(|dead| fs::read_dir(dead).ok()).into_iter().flatten().flatten() {
        let _ = files::remove_tree(&entry.path());
    }
}
