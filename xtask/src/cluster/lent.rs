//! A cluster that lives as long as a test run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::install;
use super::life::{self, Start};
use super::place::Place;
use super::{inside, machine};
use crate::image::Made;
use crate::setup::Containerd;
use crate::workspace::Workspace;

/// For everything to be ready: more than by default, because other work may run beside a test.
const LIMIT_SECONDS: u64 = 120;
/// Digits of the digest in a name.
const NAME_DIGITS: usize = 8;

/// A cluster of this checkout, which ends with the value.
///
/// Its name is the checkout's, so that one that was left by a killed test run is found and ended by the next. Two test
/// runs of one checkout wait for each other.
pub(crate) struct Lent {
    place: Place,
    /// The kernel gives it back however this process ends.
    _lock: File,
}

impl Lent {
    /// Starts it, with the image `cluster.test/probe:1` on its node; says why if this machine cannot have one.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        possible()?;
        let folder = workspace.target.join("xtask");
        fs::create_dir_all(&folder).context("cannot create a folder below `target`")?;
        let lock = File::create(folder.join("cluster.lock")).context("cannot create a lock file")?;
        lock.lock().context("cannot lock")?;
        let place = Place::of(&name(&workspace.root)?)?;
        if place.init().is_some() {
            life::down(&place, false)?;
        }
        let start = Start { kept: false, containerd: Containerd::Debian, limit_seconds: LIMIT_SECONDS };
        life::up(workspace, &place, start)?;
        let lent = Self { place, _lock: lock };
        inside::load(&lent.place, &[lent.place.at("bin/probe.tar")])?;
        Ok(lent)
    }

    /// The configuration for programs outside of the cluster's network.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.place.machine_kubeconfig()
    }

    /// The cluster's own client.
    pub(crate) fn kubectl(&self) -> PathBuf {
        self.place.at("bin/kubectl")
    }

    /// Helm, of the version that the chart is tested with.
    pub(crate) fn helm(&self) -> PathBuf {
        self.place.at("bin/helm")
    }

    /// Installs Lineal as it is in this image, and waits until the operator is ready.
    pub(crate) fn install(&self, workspace: &Workspace, image: &Made) -> Result<()> {
        install::install_image(workspace, &self.place, image, Some(LIMIT_SECONDS), &[])
    }

    /// Puts an image into the cluster's registry; gives its name with the digest.
    pub(crate) fn push(&self, image: &Path, repository: &str) -> Result<String> {
        inside::push(&self.place, image, repository)
    }

    /// Ends it, and says if that fails.
    pub(crate) fn end(self) -> Result<()> {
        life::down(&self.place, false)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // `end` has done it and said so; this is for errors and panics on the way.
        if self.place.state.exists()
            && let Err(error) = life::down(&self.place, false)
        {
            eprintln!("error: {error:#}");
        }
    }
}

/// Whether this machine can have a cluster, as far as can be said at once.
pub(crate) fn possible() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("this machine cannot have a test cluster: root is needed");
    }
    if !machine::has_cgroups() {
        bail!("this machine cannot have a test cluster: no cgroups are mounted below `{}`", machine::CGROUPS);
    }
    Ok(())
}

fn name(root: &Path) -> Result<super::place::Name> {
    let digest = hex::encode(Sha256::digest(root.as_os_str().as_encoded_bytes()));
    format!("test-{}", &digest[..NAME_DIGITS]).parse().map_err(anyhow::Error::msg)
}
