//! The beginning and the end of a cluster.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::machine::{self, Seat};
use super::place::{Place, Process};
use super::processes;
use crate::setup::{self, Containerd, Programs};
use crate::shell;
use crate::workspace::Workspace;

/// Which containerd a cluster has, for `up --kept`.
const CONTAINERD: &str = "containerd";
const DEBIAN: &str = "debian\n";
const MODULES: &str = "modules\n";

/// The first process: with it the cluster would end.
const FIRST: &str = "node";

/// How a cluster is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// With what `down --keep` left: a node's reboot.
    pub(crate) kept: bool,
    /// Which containerd.
    pub(crate) containerd: Containerd,
    /// For everything to be ready.
    pub(crate) limit_seconds: u64,
}

/// Starts a cluster and waits until a pod can run. One that is up already is left alone.
pub(crate) fn up(workspace: &Workspace, place: &Place, start: Start) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("root is needed: a cluster has its own namespaces, mounts and cgroups");
    }
    if let Some(init) = place.init() {
        if place.at("ready").exists() {
            eprintln!("cluster {} is up already (process {})", place.name, init.pid);
            return Ok(());
        }
        bail!("cluster {0} is starting or stuck; `cargo xtask cluster down --name {0}` ends it", place.name);
    }
    let containerd = if start.kept { kept_containerd(place)? } else { start.containerd };
    let programs = setup::cluster(workspace, containerd)?;
    let seat = Seat::take(place)?;
    let begun = Instant::now();
    eprintln!("starting cluster {}", place.name);
    let prepared = prepare(place, &programs, Start { containerd, ..start });
    if let Err(error) = prepared.and_then(|()| run(place, start, seat)) {
        // Its folder stays, for the logs.
        stop(place)?;
        return Err(error
            .context(format!("the cluster did not start; its logs are in `{}`", place.at("log").display())));
    }
    fs::write(place.at("ready"), "")?;
    eprintln!("cluster {} is up in {:.1} s", place.name, begun.elapsed().as_secs_f64());
    Ok(())
}

/// Ends a cluster and everything in it; `keep` leaves its data for `up --kept`.
pub(crate) fn down(place: &Place, keep: bool) -> Result<()> {
    let begun = Instant::now();
    let was_up = stop(place)?;
    let kept = place.state.exists();
    if !keep && kept {
        fs::remove_dir_all(&place.state)
            .with_context(|| format!("cannot remove `{}`", place.state.display()))?;
        // The folder of all clusters, if this was the last.
        let _ = place.state.parent().map(fs::remove_dir);
    }
    let what = match (was_up, keep, kept) {
        (true, true, _) => "is down, its data is kept",
        (true, false, _) => "is down",
        (false, false, true) => "was down; its data is removed",
        (false, ..) => "was down",
    };
    eprintln!("cluster {} {what} ({:.1} s)", place.name, begun.elapsed().as_secs_f64());
    Ok(())
}

/// Kills a part; the first process starts it again.
pub(crate) fn kill(place: &Place, part: &str) -> Result<()> {
    let found = processes::named(&processes::below(place.running()?), part);
    if found.is_empty() || part == FIRST {
        bail!("no part `{part}` runs; `cargo xtask cluster status` names them");
    }
    found.iter().try_for_each(Process::kill)
}

/// Kills the first process, and with it all others; clears up on the machine.
fn stop(place: &Place) -> Result<bool> {
    let init = place.init();
    if let Some(init) = init {
        init.kill()?;
    }
    forget(place)?;
    machine::leave(place)?;
    Ok(init.is_some())
}

/// Removes what said that it runs.
fn forget(place: &Place) -> Result<()> {
    for name in ["ready", "init"] {
        let file = place.at(name);
        if file.exists() {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// The containerd that wrote the data: another version may not read it.
fn kept_containerd(place: &Place) -> Result<Containerd> {
    let kept = place.at("keys/complete").exists().then(|| fs::read_to_string(place.at(CONTAINERD)));
    match kept.and_then(Result::ok).as_deref() {
        Some(DEBIAN) => Ok(Containerd::Debian),
        Some(MODULES) => Ok(Containerd::Modules),
        _ => bail!("nothing is kept of cluster {}; start it without `--kept`", place.name),
    }
}

/// The cluster's folder, with all programs.
fn prepare(place: &Place, programs: &Programs, start: Start) -> Result<()> {
    if !start.kept && place.state.exists() {
        fs::remove_dir_all(&place.state)?;
    }
    forget(place)?;
    let bin = place.at("bin");
    if bin.exists() {
        fs::remove_dir_all(&bin)?;
    }
    for folder in [&bin, &place.at("log"), &place.at("data")] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    fs::write(place.at(CONTAINERD), if start.containerd == Containerd::Modules { MODULES } else { DEBIAN })?;
    for folder in &programs.folders {
        for entry in fs::read_dir(folder).with_context(|| format!("no `{}`", folder.display()))? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                hold(&entry.path(), &bin.join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

/// Gives the cluster a program of its own, so that it lives on when an edit of the sources builds another one.
fn hold(from: &Path, to: &Path) -> Result<()> {
    let held = if from.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else {
        // Another disk cannot have a link to it.
        fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
    };
    held.with_context(|| format!("cannot put `{}` into the cluster's folder", from.display()))
}

/// Starts the first process in namespaces of its own and listens to it until all is ready.
fn run(place: &Place, start: Start, seat: Seat) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    let log = File::options().create(true).append(true).open(place.at("log/node.log"))?;
    let mut command = first_process(place, start, [inherited(&listener)?, inherited(seat.file())?]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).current_dir("/");
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shell::line(&command)))?;
    drop((listener, seat));
    let output = BufReader::new(child.stdout.take().context("the cluster has no output")?);
    for line in output.lines() {
        let line = line.context("cannot read what the cluster says")?;
        if line == "ready" {
            return Ok(());
        }
        if let Some(reason) = line.strip_prefix("failed: ") {
            let part = reason.split(':').next().unwrap_or_default();
            bail!("{reason}\n--- {part}\n{}", place.log_tail(part));
        }
        eprintln!("{line}");
    }
    bail!("its first process ended\n--- node\n{}", place.log_tail("node"))
}

/// The first process, in namespaces of its own; it gets the descriptors of the relay's listener and of the seat.
fn first_process(place: &Place, start: Start, [relay, seat]: [String; 2]) -> Command {
    // An interrupt from the keyboard is not for the cluster.
    let mut command = Command::new("setsid");
    command.args(["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]);
    command.arg(place.at("bin").join(FIRST)).arg("up").arg("--state").arg(&place.state);
    command.args(["--cgroup", &place.cgroup(), "--relay", &relay, "--seat", &seat]);
    command.args(["--limit", &format!("{}s", start.limit_seconds)]);
    command
}

/// The number of a descriptor that the next program keeps.
fn inherited(file: &impl AsFd) -> Result<String> {
    let file = file.as_fd();
    rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?;
    Ok(file.as_raw_fd().to_string())
}

#[cfg(test)]
mod tests;
