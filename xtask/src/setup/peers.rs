//! Python tools by others that check what Lineal writes, for the tests of the binary.

use anyhow::Result;

use super::Python;
use super::shelf::{Shelf, environment, link, read};
use crate::workspace::Workspace;

/// Makes the environment of `tools/peers` if it is missing, and the link by which tests find it.
pub(crate) fn ensure(workspace: &Workspace, python: &Python) -> Result<()> {
    let lock = workspace.root.join("tools/peers/requirements.txt");
    let shelf = Shelf::find(workspace, "peers");
    let folder = shelf.folder("python", &[&read(&lock)?, python.identity.as_bytes()], |folder| {
        environment(python, &lock, folder)
    })?;
    // The tests compare what is installed with the lock, so that an old link is found out.
    link(workspace, "python-peers", &folder)
}
