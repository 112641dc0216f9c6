//! `lineal serve` and `lineal gateway` in the background; stopped whatever happens. The one place that waits.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::shell::tail;

/// How long a role may take to listen or to stop.
const LIMIT: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The processes that run.
pub(crate) struct Roles {
    folder: PathBuf,
    binary: PathBuf,
    running: Vec<(&'static str, Child)>,
}

impl Roles {
    pub(crate) fn new(folder: &Path, binary: &Path) -> Self {
        Self { folder: folder.to_owned(), binary: binary.to_owned(), running: Vec::new() }
    }

    /// Starts a role, waits until it says where it listens, and does; yields the address.
    pub(crate) fn start(&mut self, role: &'static str) -> Result<String> {
        let log = self.folder.join(format!("{role}.log"));
        let output = File::create(&log).with_context(|| format!("cannot create `{}`", log.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg(role).current_dir(&self.folder).stdin(Stdio::null());
        let child =
            command.stdout(output.try_clone()?).stderr(output).spawn().context("cannot start lineal")?;
        let pid = child.id();
        self.running.push((role, child));
        let file = role_file(&self.folder, role);
        let Some((_, child)) = self.running.last_mut() else { bail!("nothing was started") };
        let mut address = String::new();
        wait_until(&format!("`lineal {role}` listens"), || {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "`lineal {role}` ended with {status}\n{}",
                    tail(&fs::read_to_string(&log).unwrap_or_default())
                );
            }
            let Some(said) = read(&file) else { return Ok(false) };
            let url = said["url"].as_str().and_then(|url| url.strip_prefix("http://"));
            address = url.or(said["listen"].as_str()).unwrap_or_default().to_owned();
            Ok(said["pid"] == pid && TcpStream::connect(&address).is_ok())
        })?;
        Ok(address)
    }

    /// Asks all to end and waits until they did, the last started first.
    pub(crate) fn stop(&mut self) -> Result<()> {
        while let Some((role, mut child)) = self.running.pop() {
            terminate(Pid::from_child(&child));
            let ended = wait_until(&format!("`lineal {role}` ends"), || Ok(child.try_wait()?.is_some()));
            if ended.is_err() {
                child.kill()?;
                child.wait()?;
            }
            ended?;
        }
        Ok(())
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Ends processes of `lineal` that an interrupted task left behind in `folder`.
pub(crate) fn stop_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        // Processes end while we look.
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        let ours = || {
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
                && fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim() == "lineal")
        };
        if ours() {
            terminate(pid);
            wait_until("an earlier `lineal` in this folder ends", || Ok(!ours()))?;
        }
    }
    Ok(())
}

/// Looks at a condition until it holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !holds()? {
        if started.elapsed() > LIMIT {
            bail!("waited {} s in vain until {what}", LIMIT.as_secs());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn terminate(pid: Pid) {
    // It may have ended on its own.
    let _ = kill_process(pid, Signal::TERM);
}

fn role_file(folder: &Path, role: &str) -> PathBuf {
    folder.join(".lineal").join(format!("{role}.json"))
}

fn read(file: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}
