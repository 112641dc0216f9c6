//! Python tools by others that check what Lineal writes, for the tests of the binary.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result};

use super::Python;
use super::shelf::{Shelf, environment, read};
use crate::workspace::Workspace;

/// Makes the environment of `tools/peers` if it is missing, and the link by which tests find it.
pub(crate) fn ensure(workspace: &Workspace, python: &Python) -> Result<()> {
    let lock = workspace.root.join("tools/peers/requirements.txt");
    let shelf = Shelf::find(workspace, "peers");
    let folder = shelf.folder("python", &[&read(&lock)?, python.identity.as_bytes()], |folder| {
        environment(python, &lock, folder)
    })?;
    // Below `target`, because tests know where that is and cannot ask this program. The tests compare what is
    // installed with the lock, so that an old link is found out.
    let link = workspace.target.join("xtask/python-peers");
    if fs::read_link(&link).is_ok_and(|target| target == folder) {
        return Ok(());
    }
    let fresh = link.with_extension("new");
    fs::create_dir_all(workspace.target.join("xtask")).context("cannot create a folder below `target`")?;
    if fresh.symlink_metadata().is_ok() {
        fs::remove_file(&fresh).with_context(|| format!("cannot remove `{}`", fresh.display()))?;
    }
    symlink(&folder, &fresh).with_context(|| format!("cannot create `{}`", fresh.display()))?;
    fs::rename(&fresh, &link).with_context(|| format!("cannot create `{}`", link.display()))
}
