//! What clusters change on the machine itself, and how that is undone.
//!
//! Namespaces hide nearly everything. What is left: six sysctls that the kubelet sets for the whole machine, folders
//! that must exist to be covered, cgroups. The first two belong to all clusters together: whoever comes first writes
//! down how it was, whoever goes last puts it back. A cluster lives as long as the lock on its file is held, by its
//! first process; the kernel gives it back however that process ends.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::place::{Place, eventually, read};

/// Gone with the machine's next start, as are the sysctls.
const FOLDER: &str = "/run/lineal-cluster";
const UNDO: &str = "undo.json";
/// Where sysctls are.
const SYSTEM: &str = "/proc/sys";
/// The kubelet sets these.
const SYSCTLS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
/// Folders that a cluster covers, in its own mount namespace; `testing/cluster/node` has the same list.
const COVERED: [&str; 6] = [
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/pods",
    "/var/log/containers",
];
/// Where cgroups are.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";
/// The kernel needs a moment to see that a cgroup is empty.
const CGROUP_LIMIT: Duration = Duration::from_secs(5);

/// The first process has a parent that ends after it and holds the seat too.
const SEAT_LIMIT: Duration = Duration::from_secs(10);

/// A cluster's place among those that run: held as long as it lives.
pub(crate) struct Seat(File);

impl Seat {
    /// Takes a seat and prepares the machine; refused while a cluster of that name runs, wherever its folder is.
    pub(crate) fn take(place: &Place) -> Result<Self> {
        // It may have been killed just now.
        await_end(place)?;
        let _lock = lock()?;
        let path = seats().join(place.name.to_string());
        fs::create_dir_all(seats())?;
        let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
        if !free(&file)? {
            let elsewhere = read(&path).unwrap_or_default();
            bail!("a cluster `{}` runs already, in `{}`; take another name", place.name, elsewhere.trim());
        }
        file.set_len(0)?;
        writeln!(file, "{}", place.state.display())?;
        let undo = Path::new(FOLDER).join(UNDO);
        if !undo.exists() {
            fs::write(&undo, record(Path::new(SYSTEM)).to_string())?;
        }
        for folder in COVERED {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{folder}`"))?;
        }
        make_cgroups(&place.cgroup())?;
        Ok(Self(file))
    }

    /// The file, to be handed to the cluster's first process.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// Clears up behind a cluster that has ended; behind all of them if it was the last.
pub(crate) fn leave(place: &Place) -> Result<()> {
    await_end(place)?;
    remove_cgroups(&place.cgroup())?;
    let _lock = lock()?;
    let mut taken = false;
    for entry in fs::read_dir(seats()).into_iter().flatten() {
        let path = entry?.path();
        if free(&File::open(&path)?)? {
            fs::remove_file(&path)?;
        } else {
            taken = true;
        }
    }
    if taken {
        return Ok(());
    }
    let undo = Path::new(FOLDER).join(UNDO);
    if let Some(text) = read(&undo) {
        let before = serde_json::from_str(&text);
        let before = before.with_context(|| format!("`{}` is damaged", undo.display()))?;
        restore(&before, Path::new(SYSTEM))?;
    }
    fs::remove_dir_all(FOLDER).context("cannot remove the clusters' folder")
}

/// All clusters that run: name and folder.
pub(crate) fn running() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    if is_used() {
        let _lock = lock()?;
        for entry in fs::read_dir(seats()).into_iter().flatten() {
            let entry = entry?;
            if !free(&File::open(entry.path())?)? {
                let folder = read(&entry.path()).unwrap_or_default().trim().to_owned();
                found.push((entry.file_name().to_string_lossy().into_owned(), folder));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Waits until the kernel has ended a cluster; one of that name in another folder is none of ours.
fn await_end(place: &Place) -> Result<()> {
    let own = seats().join(place.name.to_string());
    let folder = place.state.display().to_string();
    eventually(&format!("the cluster `{}` has ended", place.name), SEAT_LIMIT, || {
        let Ok(seat) = File::open(&own) else { return Ok(Some(())) };
        let is_free = free(&seat)?;
        let found = read(&own).unwrap_or_default();
        if !is_free && !found.trim().is_empty() && found.trim() != folder {
            bail!("the cluster `{}` that runs is another one, in `{}`", place.name, found.trim());
        }
        Ok(is_free.then_some(()))
    })
}

/// The sysctls that clusters change, as they are now.
pub(crate) fn sysctls() -> Vec<(&'static str, String)> {
    values(Path::new(SYSTEM))
}

/// Those of the covered folders that exist.
pub(crate) fn covered_folders() -> BTreeSet<&'static str> {
    COVERED.into_iter().filter(|folder| Path::new(folder).is_dir()).collect()
}

/// Whether a cluster runs, of whatever name.
pub(crate) fn is_used() -> bool {
    Path::new(FOLDER).exists()
}

/// Whether pods can be given their share of the machine.
pub(super) fn has_cgroups() -> bool {
    !hierarchies().is_empty()
}

/// Folders of clusters in the hierarchies of cgroups.
pub(crate) fn cgroups(name: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|at| at.join(name)).filter(|path| path.is_dir()).collect()
}

fn values(system: &Path) -> Vec<(&'static str, String)> {
    SYSCTLS.iter().filter_map(|name| Some((*name, read(&system.join(name))?))).collect()
}

fn seats() -> PathBuf {
    Path::new(FOLDER).join("up")
}

/// Whether nobody held the lock; it is held from now on.
fn free(file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Held while seats are taken and left. The last cluster removes the folder, the lock's file with it.
fn lock() -> Result<File> {
    loop {
        fs::create_dir_all(FOLDER).with_context(|| format!("cannot create `{FOLDER}`; root is needed"))?;
        let path = Path::new(FOLDER).join("lock");
        let file = match File::create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        file.lock()?;
        if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() == now.ino())) {
            return Ok(file);
        }
    }
}

/// How the machine is before the first cluster.
fn record(system: &Path) -> Value {
    let before: Map<String, Value> =
        values(system).into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let mut missing: Vec<String> = Vec::new();
    for folder in COVERED {
        let above = Path::new(folder).ancestors().take_while(|path| !path.is_dir());
        missing.extend(above.map(|path| path.to_string_lossy().into_owned()));
    }
    json!({"folders": missing, "sysctls": before})
}

fn restore(before: &Value, system: &Path) -> Result<()> {
    for (name, value) in before["sysctls"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if SYSCTLS.contains(&name.as_str()) && read(&system.join(name)).as_deref() != Some(value) {
            fs::write(system.join(name), value).with_context(|| format!("cannot set `{name}` back"))?;
        }
    }
    for folder in before["folders"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        // Somebody else may have begun to use it.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Mount points of cgroup hierarchies: one of version 2, or many of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    cgroup_mounts(&mounts)
}

fn cgroup_mounts(mounts: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [_, at, "cgroup" | "cgroup2", ..] = fields[..]
            && at.starts_with(CGROUPS)
        {
            found.push(PathBuf::from(at));
        }
    }
    found
}

fn make_cgroups(name: &str) -> Result<()> {
    for at in hierarchies() {
        let path = at.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        // A new group of version 1 has no processors and no memory to run on until it is given some.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Some(value) = read(&at.join(file)) {
                fs::write(path.join(file), value).with_context(|| format!("cannot set `{file}`"))?;
            }
        }
        // Version 2 hands controllers down one by one; some cannot be.
        if at == Path::new(CGROUPS) {
            let controllers = read(&at.join("cgroup.controllers")).unwrap_or_default();
            for controller in controllers.split_whitespace() {
                for folder in [&at, &path] {
                    let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
        }
    }
    Ok(())
}

fn remove_cgroups(name: &str) -> Result<()> {
    for path in cgroups(name) {
        eventually(&format!("the cgroup `{}` is empty", path.display()), CGROUP_LIMIT, || {
            remove_cgroup(&path);
            Ok((!path.exists()).then_some(()))
        })?;
    }
    Ok(())
}

/// The deepest first; those that are in use stay.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests;
