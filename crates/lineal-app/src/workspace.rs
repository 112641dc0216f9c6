//! Directories for work in progress that vanish with it, even after `kill -9`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use lineal_store::files::Context;

use crate::failure::Failure;
use crate::project::Project;

/// A private directory below `.lineal/work/`. A lock file says that its process lives; the next workspace removes
/// those whose process does not.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    /// A fresh directory for work called `name`.
    pub fn create(project: &Project, name: &str) -> Result<Self, Failure> {
        let parent = project.scratch("active")?;
        remove_abandoned(&parent);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&parent)
            .context("create a directory in", &parent)?;
        let lock_path = directory.path().join("lock");
        let lock = File::create(&lock_path).context("create", &lock_path)?;
        lock.lock().context("lock", &lock_path)?;
        Ok(Self { path: directory.keep(), _lock: lock })
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

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // A directory without a lock file is just being made, or its owner died before it made one: then it is
        // empty, and `remove_dir` removes only empty directories.
        match File::open(path.join("lock")) {
            Ok(lock) if lock.try_lock().is_ok() => remove(&path),
            Ok(_) => {}
            Err(_) => {}
        }
    }
}

/// Removes a tree whose directories may be read-only. What cannot be removed stays for the next attempt.
fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_err() {
        make_writable(path);
        let _ = fs::remove_dir_all(path);
    }
}

fn make_writable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            make_writable(&entry.path());
        }
    }
}
