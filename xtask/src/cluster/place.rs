//! Where a cluster's files are, and whether it runs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Longest wait for a killed cluster to be gone.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Longest name: it is part of names of cgroups and folders.
const NAME_LIMIT: usize = 40;
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Tells clusters apart that run at the same time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > NAME_LIMIT || !text.bytes().all(plain) || text.starts_with('-') {
            return Err(format!("a name has 1 to {NAME_LIMIT} of a to z, 0 to 9 and `-`, and no `-` first"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The cluster's name.
    pub(crate) name: Name,
    /// Everything that it keeps.
    pub(crate) state: PathBuf,
}

impl Place {
    /// `LINEAL_CLUSTER_DIR`, or `lineal-cluster` in the user's cache folder: never in the checkout, where tools would
    /// walk through the data.
    pub(crate) fn of(name: &Name) -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache =
            || variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        let root = variable("LINEAL_CLUSTER_DIR")
            .or_else(|| cache().map(|cache| cache.join("lineal-cluster")))
            .unwrap_or_else(|| PathBuf::from("/var/tmp/lineal-cluster"));
        let state = std::path::absolute(root.join(&name.0)).context("no working directory")?;
        Ok(Self { name: name.clone(), state })
    }

    /// A file of the cluster.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// For programs outside of the cluster's network: it names a port of the machine's loopback.
    pub(crate) fn machine_kubeconfig(&self) -> PathBuf {
        self.at("conf/machine.kubeconfig")
    }

    /// For programs inside.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.at("conf/admin.kubeconfig")
    }

    /// The cgroup above all pods.
    pub(crate) fn cgroup(&self) -> String {
        format!("lineal-cluster-{}", self.name)
    }

    /// The cluster's first process, if it runs.
    pub(crate) fn init(&self) -> Option<Process> {
        Process::read(&fs::read_to_string(self.at("init")).ok()?).filter(Process::runs)
    }

    /// The first process of a cluster that is up.
    pub(crate) fn running(&self) -> Result<Process> {
        match self.init() {
            Some(init) if self.at("ready").exists() => Ok(init),
            _ => {
                bail!("the cluster `{0}` is not up; `cargo xtask cluster up --name {0}` starts it", self.name)
            }
        }
    }

    /// The last lines of a log.
    pub(crate) fn log_tail(&self, part: &str) -> String {
        let text = fs::read(self.at("log").join(format!("{part}.log"))).unwrap_or_default();
        crate::shell::tail(&String::from_utf8_lossy(&text))
    }
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    /// Its number on the machine.
    pub(crate) pid: i32,
    /// When it began, in clock ticks since the machine did.
    began: u64,
}

impl Process {
    /// `PID BEGAN`, as the process itself writes it.
    fn read(text: &str) -> Option<Self> {
        let (pid, began) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, began: began.parse().ok()? })
    }

    /// The process that has this number now. One that has ended keeps its number until its parent asks for it; it does
    /// not count.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ended = ["Z", "X"].contains(&stat_field(&stat, 3)?);
        Some(Self { pid, began: stat_field(&stat, 22)?.parse().ok()? }).filter(|_| !ended)
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Kills it and waits until the kernel has ended everything below it.
    pub(crate) fn kill(&self) -> Result<()> {
        let Some(handle) = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return Ok(());
        };
        // The handle may be of a later process with the same number.
        if !self.runs() {
            return Ok(());
        }
        // It may end by itself right now.
        let _ = pidfd_send_signal(&handle, Signal::KILL);
        let limit = Timespec { tv_sec: END_LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
        if poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))? == 0 {
            bail!("process {} does not end: one below it is stuck in the kernel", self.pid);
        }
        Ok(())
    }
}

/// A field of `/proc/PID/stat`, counted from 1; the second, in brackets, may hold anything.
pub(crate) fn stat_field(stat: &str, number: usize) -> Option<&str> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(number.checked_sub(3)?)
}

/// Looks at a condition until it holds.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > limit {
            bail!("not within {} s: {what}", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// A file of the machine, if it can be read.
pub(crate) fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests;
