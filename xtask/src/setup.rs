//! What the other tasks need: programs of the system, Python environments from lock files, the example's data,
//! Python, Go and Rust tools by others for the tests.
//!
//! Nothing is made twice: every folder carries a stamp with the digest of what it was made from. A folder without the
//! right stamp is removed and made again.

mod cluster;
mod flights;
mod go;
mod peers;
mod rust;
mod shelf;
mod system;

use std::thread;

use anyhow::{Result, anyhow};

pub(crate) use cluster::{Containerd, Programs};
pub(crate) use flights::Flights;
pub(crate) use system::Python;

use crate::workspace::Workspace;

/// Makes sure of everything; quick when there is nothing to do.
pub(crate) fn setup(workspace: &Workspace) -> Result<()> {
    let python = system::ensure()?;
    system::ensure_go()?;
    tools(workspace, &python)
}

/// As [`setup`], and the programs of the test cluster.
///
/// They are built beside the others, which use one processor at a time or wait for the network.
pub(crate) fn setup_with_cluster(workspace: &Workspace) -> Result<()> {
    let python = system::ensure()?;
    system::ensure_go()?;
    system::ensure_cluster()?;
    thread::scope(|scope| {
        let cluster = scope.spawn(|| cluster::ensure(workspace, Containerd::Debian).map(|_| ()));
        let tools = tools(workspace, &python);
        let cluster = cluster.join().unwrap_or_else(|_| Err(anyhow!("building the test cluster panicked")));
        tools.and(cluster)
    })
}

fn tools(workspace: &Workspace, python: &Python) -> Result<()> {
    peers::ensure(workspace, python)?;
    go::ensure(workspace)?;
    rust::ensure(workspace)?;
    Flights::ensure(workspace, python).map(|_| ())
}

/// The system's Python.
pub(crate) fn python() -> Result<Python> {
    system::ensure()
}

/// The program around Tessera's POSIX driver: `tessera-bench LOG BUNDLES WRITERS ENTRIES`.
pub(crate) fn tessera(workspace: &Workspace) -> Result<std::path::PathBuf> {
    system::ensure_go()?;
    go::tessera(workspace)
}

/// The test cluster: what the system brings is installed, the rest is built.
pub(crate) fn cluster(workspace: &Workspace, containerd: Containerd) -> Result<Programs> {
    system::ensure_cluster()?;
    system::ensure_go()?;
    if containerd == Containerd::Modules {
        system::ensure_seccomp()?;
    }
    cluster::ensure(workspace, containerd)
}

/// Tests of the cluster's own Go code.
pub(crate) fn cluster_tests(workspace: &Workspace) -> Result<()> {
    system::ensure_go()?;
    cluster::test(workspace)
}

/// What the image of Lineal is made with.
pub(crate) fn image() -> Result<()> {
    system::ensure_image()
}

/// What a Debian image is made with.
pub(crate) fn debian() -> Result<()> {
    system::ensure_debian()
}

/// The example's environment of steps as an image in one file, for pods and for this machine.
pub(crate) fn step_image(workspace: &Workspace) -> Result<std::path::PathBuf> {
    flights::step_image(workspace)
}

/// Makes sure of what the example needs, which is less: no tools by others.
pub(crate) fn example(workspace: &Workspace) -> Result<Flights> {
    let python = system::ensure()?;
    Flights::ensure(workspace, &python)
}
