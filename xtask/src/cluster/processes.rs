//! The processes of a cluster as the machine sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::place::{Process, read, stat_field};

/// What one program takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// How many processes.
    pub(crate) count: u64,
    /// Their memory; what is shared counts in parts (PSS).
    pub(crate) kib: u64,
}

/// All processes below one, itself too.
pub(crate) fn below(init: Process) -> Vec<Process> {
    let mut parents = BTreeMap::new();
    for pid in pids() {
        let stat = read(Path::new(&format!("/proc/{pid}/stat")));
        if let Some(parent) = stat.as_deref().and_then(|s| stat_field(s, 4)).and_then(|p| p.parse().ok()) {
            parents.insert(pid, parent);
        }
    }
    descendants(&parents, init.pid).into_iter().filter_map(Process::of).collect()
}

/// Memory by program, the largest first.
pub(crate) fn memory(processes: &[Process]) -> Vec<(String, Usage)> {
    let mut programs: BTreeMap<String, Usage> = BTreeMap::new();
    for process in processes {
        let file = |name: &str| read(Path::new(&format!("/proc/{}/{name}", process.pid)));
        // A process may end while it is looked at.
        let (Some(rollup), Some(line)) = (file("smaps_rollup"), file("cmdline")) else { continue };
        let usage = programs.entry(program(&line)).or_default();
        usage.count += 1;
        usage.kib += pss_kib(&rollup).unwrap_or_default();
    }
    let mut programs: Vec<_> = programs.into_iter().collect();
    programs.sort_by_key(|(_, usage)| std::cmp::Reverse(usage.kib));
    programs
}

/// Those that run a program, or a part of our large one.
pub(crate) fn named(processes: &[Process], name: &str) -> Vec<Process> {
    let runs = |process: &&Process| {
        let line = read(Path::new(&format!("/proc/{}/cmdline", process.pid)));
        line.is_some_and(|line| program(&line) == name)
    };
    processes.iter().filter(runs).copied().collect()
}

/// Processes whose command line names a folder.
pub(crate) fn naming(folder: &Path) -> BTreeSet<i32> {
    let text = folder.to_string_lossy();
    let own = std::process::id().cast_signed();
    let names = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*text)
    };
    pids().filter(|pid| *pid != own).filter(names).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok())
}

/// From each process's parent.
fn descendants(parents: &BTreeMap<i32, i32>, root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// The name of a program; our large one is named by its part.
fn program(line: &str) -> String {
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut arguments = line.split('\0');
    let first = base(arguments.next().unwrap_or_default());
    match arguments.next() {
        Some(part) if first == "cluster" => base(part),
        _ => first,
    }
}

fn pss_kib(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests;
