//! An image of Debian with Python, and what a lock file pins: two layers, so that the first is shared.
//!
//! The same twice as long as the Debian mirror does not change. Byte code is compiled once, in order, and names no
//! times; wheels are unpacked and not installed, because an installer writes down when and where.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType};

use super::{EPOCH_SECONDS, Image, Layer, Measured, Process, folder_of, header};
use crate::{setup, shell};

const SUITE: &str = "bookworm";
/// numpy needs the C++ library, scikit-learn and LightGBM libgomp.
const PACKAGES: &str = "python3,libstdc++6,libgomp1";
const DOCUMENTATION: [&str; 3] = ["man", "locale", "doc"];
/// What an installation leaves behind that is of this machine or this hour, or that nobody reads in a pod.
const DROPPED: [&str; 23] = [
    "var/cache/",
    "var/log/",
    "var/lib/apt/lists/",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/statoverride-old",
    "var/lib/systemd/",
    "var/lib/dbus/machine-id",
    "tmp/",
    "run/",
    "dev/",
    "proc/",
    "sys/",
    "etc/machine-id",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/.pwd.lock",
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/lintian/",
];
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "PYTHONDONTWRITEBYTECODE=1",
];
/// Wheels that Debian's C library can load.
const PLATFORMS: [&str; 3] = ["manylinux2014_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64"];

/// Writes the image; gives its digest.
pub(crate) fn write(out: &Path, name: &str, lock: Option<&Path>) -> Result<String> {
    setup::debian()?;
    let work = tempfile::Builder::new().prefix("image").tempdir_in(folder_of(out))?;
    // What is unpacked is read by other users below it.
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755))?;
    let root = work.path().join("root");
    shell::timed("unpacking Debian and Python", || debian(work.path(), &root))?;
    let version = python_version(&root)?;
    // As a virtual environment calls it, so that a pipeline can be run in either.
    symlink("/usr/bin/python3", root.join("usr/local/bin/python")).context("cannot link Python")?;
    let mut layers = Vec::new();
    shell::timed("writing the layer of Debian and Python", || {
        compile(&root, &["usr/lib/python3", &format!("usr/lib/{version}")])?;
        layers.push(Layer::new(folder_of(out), |tar| append_tree(tar, &root, |name| !dropped(name)))?);
        Ok(())
    })?;
    if let Some(lock) = lock {
        let site = format!("usr/local/lib/{version}/dist-packages");
        shell::timed("unpacking wheels", || wheels(work.path(), lock, &version, &root.join(&site)))?;
        shell::timed("writing the layer of wheels", || {
            compile(&root, &[&site])?;
            let inside = |name: &str| name == site || name.starts_with(&format!("{site}/"));
            layers.push(Layer::new(folder_of(out), |tar| append_tree(tar, &root, inside))?);
            Ok(())
        })?;
    }
    let image = Image { name: name.to_owned(), entrypoint: vec!["/usr/bin/python3".to_owned()] };
    image.assemble(out, &mut layers, &Process { user: None, environment: &ENVIRONMENT })
}

fn debian(work: &Path, root: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    // The smaller variant has no libstdc++6.
    command.args(["--mode=root", "--variant=essential", "--format=directory", "--quiet"]);
    command.arg(format!("--include={PACKAGES}"));
    command.args(DOCUMENTATION.map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")));
    command.arg(SUITE).arg(root);
    command.env("SOURCE_DATE_EPOCH", EPOCH_SECONDS.to_string()).env("TMPDIR", work);
    shell::quiet(&mut command)
}

/// `python3.11`, as its folder is called.
fn python_version(root: &Path) -> Result<String> {
    let names = fs::read_dir(root.join("usr/lib"))?.flatten();
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.starts_with("python3."));
    names.sort();
    names.pop().context("Debian has no Python in it")
}

/// Byte code that does not depend on times or on who compiled first. Some files are for other versions of Python and
/// cannot be compiled.
fn compile(root: &Path, folders: &[&str]) -> Result<()> {
    for folder in folders {
        remove_byte_code(&root.join(folder))?;
    }
    let mut command = Command::new("chroot");
    command.arg(root).args(["/usr/bin/python3", "-I", "-S", "-m", "compileall", "-q", "-j", "1"]);
    command.args(["--invalidation-mode", "unchecked-hash"]);
    command.args(folders.iter().map(|folder| format!("/{folder}")));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    command.env("PYTHONHASHSEED", "0");
    shell::succeeds(&mut command);
    Ok(())
}

fn remove_byte_code(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("no `{}`", folder.display()))? {
        let entry = entry?;
        if entry.file_name() == "__pycache__" {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_type()?.is_dir() {
            remove_byte_code(&entry.path())?;
        }
    }
    Ok(())
}

/// Fetches what the lock file pins, for the image's Python, and unpacks it.
fn wheels(work: &Path, lock: &Path, version: &str, site: &Path) -> Result<()> {
    let python = setup::python()?;
    let tools = work.join("tools");
    shell::quiet(Command::new(&python.program).args(["-m", "venv"]).arg(&tools))?;
    let (own, fetched) = (tools.join("bin/python"), work.join("wheels"));
    let mut download = Command::new(&own);
    download.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    download.args(["--require-hashes", "--only-binary=:all:", "--implementation=cp"]);
    download.args(PLATFORMS.map(|platform| format!("--platform={platform}")));
    download.arg(format!("--python-version={}", version.trim_start_matches("python")));
    shell::quiet(download.arg("--dest").arg(&fetched).arg("--requirement").arg(lock))?;
    let mut files: Vec<PathBuf> = fs::read_dir(&fetched)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in &files {
        shell::quiet(Command::new(&own).args(["-m", "zipfile", "--extract"]).arg(file).arg(site))?;
    }
    for entry in fs::read_dir(site)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "data") {
            settle(&path)?;
        }
    }
    Ok(())
}

/// A wheel's folder of files for other places: scripts and headers are not needed to import; modules would be.
fn settle(data: &Path) -> Result<()> {
    if ["purelib", "platlib"].iter().any(|kind| data.join(kind).exists()) {
        bail!("`{}` has modules for another place, which is not provided for", data.display());
    }
    Ok(fs::remove_dir_all(data)?)
}

fn dropped(name: &str) -> bool {
    DROPPED.iter().any(|drop| if drop.ends_with('/') { name.starts_with(drop) } else { name == *drop })
}

/// Appends what is below `root`, sorted by name; hard links stay links.
fn append_tree(tar: &mut Builder<Measured>, root: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
    let mut names = Vec::new();
    list(root, "", &mut names)?;
    names.sort();
    let mut first: HashMap<u64, &str> = HashMap::new();
    for name in names.iter().filter(|name| keep(name)) {
        let path = root.join(name);
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        let mut header = header(metadata.mode() & 0o7777, 0);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, name, fs::read_link(&path)?)?;
        } else if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, name, std::io::empty())?;
        } else if let Some(other) = first.get(&metadata.ino()) {
            header.set_entry_type(EntryType::Link);
            tar.append_link(&mut header, name, other)?;
        } else if kind.is_file() {
            if metadata.nlink() > 1 {
                first.insert(metadata.ino(), name);
            }
            header.set_size(metadata.len());
            tar.append_data(&mut header, name, File::open(&path)?)?;
        }
        // Sockets, pipes and devices have no place in an image.
    }
    Ok(())
}

fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file's name is not UTF-8")?;
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &name, names)?;
        }
        names.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
