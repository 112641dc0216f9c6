//! Folders that are made once: a shelf of them for each subject, a stamp in each.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::Python;
use crate::shell;
use crate::workspace::Workspace;

/// Written last: what a folder was made from. No file of this name means half-made.
const STAMP: &str = ".made-from";
/// Digits of the digest in a folder's name.
const KEY_DIGITS: usize = 16;

/// Where folders are kept.
pub(super) struct Shelf {
    folder: PathBuf,
    /// Whether other checkouts use it too, so that folders of other keys must stay.
    shared: bool,
}

impl Shelf {
    /// `LINEAL_CACHE_DIR`, or a folder `lineal` in the user's cache folder if someone made one, or else below `target`.
    pub(super) fn find(workspace: &Workspace, subject: &str) -> Self {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = || variable("HOME").map(|home| home.join(".cache"));
        let users = || {
            variable("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("lineal")).filter(|c| c.is_dir())
        };
        match variable("LINEAL_CACHE_DIR").or_else(users) {
            Some(cache) => Self { folder: cache.join(subject), shared: true },
            None => Self { folder: workspace.target.join("xtask").join(subject), shared: false },
        }
    }

    /// The folder `name` made from `parts`; made by `make` unless it is there.
    pub(super) fn folder(
        &self,
        name: &str,
        parts: &[&[u8]],
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let key = hex::encode(hasher.finalize());
        let folder = self.folder.join(format!("{name}-{}", &key[..KEY_DIGITS]));
        let stamp = folder.join(STAMP);
        let made = || fs::read_to_string(&stamp).is_ok_and(|found| found == key);
        if made() {
            return Ok(folder);
        }
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create `{}`", self.folder.display()))?;
        // Two checkouts may share a shelf; whoever comes second waits and finds the folder made.
        let lock =
            File::create(self.folder.join(format!("{name}.lock"))).context("cannot create a lock file")?;
        lock.lock().context("cannot lock")?;
        if made() {
            return Ok(folder);
        }
        self.clear(name, &folder)?;
        make(&folder)?;
        fs::write(&stamp, key).with_context(|| format!("cannot write `{}`", stamp.display()))?;
        Ok(folder)
    }

    /// Removes what is half-made, and what nobody else can want.
    fn clear(&self, name: &str, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let other = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.rsplit_once('-'));
            let outdated = !self.shared && path.is_dir() && other.is_some_and(|(other, _)| other == name);
            if path == folder || outdated {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Makes a Python environment with exactly what the lock file names.
pub(super) fn environment(python: &Python, lock: &Path, folder: &Path) -> Result<()> {
    let name = lock.file_name().unwrap_or_default().to_string_lossy().into_owned();
    shell::timed(&format!("making the Python environment of {name}"), || {
        shell::quiet(Command::new(&python.program).args(["-m", "venv"]).arg(folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
        let mut install = Command::new(folder.join("bin/python"));
        install.args(pip).args(["--only-binary", ":all:", "-r"]).arg(lock);
        shell::quiet(&mut install)
    })
}

/// Makes the link by which tests find a folder: below `target`, because they know where that is and cannot ask this
/// program.
pub(super) fn link(workspace: &Workspace, name: &str, folder: &Path) -> Result<()> {
    let link = workspace.target.join("xtask").join(name);
    if fs::read_link(&link).is_ok_and(|target| target == folder) {
        return Ok(());
    }
    let fresh = link.with_extension("new");
    fs::create_dir_all(workspace.target.join("xtask")).context("cannot create a folder below `target`")?;
    if fresh.symlink_metadata().is_ok() {
        fs::remove_file(&fresh).with_context(|| format!("cannot remove `{}`", fresh.display()))?;
    }
    symlink(folder, &fresh).with_context(|| format!("cannot create `{}`", fresh.display()))?;
    fs::rename(&fresh, &link).with_context(|| format!("cannot create `{}`", link.display()))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
