//! All processes below the launcher. In a pod there is no pid namespace whose end takes them along.

use crate::sys::process;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

/// Sends a signal to every process below this one. One that is being made meanwhile may be missed.
pub(super) fn signal_all(signal: i32) {
    for pid in below(std::process::id().cast_signed(), &parents()) {
        process::kill(pid, signal);
    }
}

/// Kills and reaps until no process is left below this one. `ended` is told the wait status of each that ends, and of
/// each that stops as a tracee.
///
/// Orphans become children of this process, so every end below leads to an end that is waited for here, and after
/// each the rest is looked at again: a process that was made meanwhile is found then.
pub(super) fn kill_all(mut changed: impl FnMut(process::Change)) -> io::Result<()> {
    loop {
        signal_all(libc::SIGKILL);
        match process::wait_any(true) {
            Ok(Some(change)) => changed(change),
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The children of a process.
pub(super) fn children_of(process: i32) -> BTreeSet<i32> {
    parents().into_iter().filter(|(_, parent)| *parent == process).map(|(pid, _)| pid).collect()
}

/// Every process's parent, as far as processes are visible.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pid = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let parent = |pid: i32| Some((pid, parent_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?));
    entries.filter_map(pid).filter_map(parent).collect()
}

/// The parent in a line of `/proc/PID/stat`: two fields after the name, which may hold anything.
fn parent_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn below(root: i32, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut left = vec![root];
    while let Some(parent) = left.pop() {
        let children = parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid);
        left.extend(children.filter(|pid| found.insert(*pid)));
    }
    found
}

#[cfg(test)]
mod tests;
