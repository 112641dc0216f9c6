//! What a cluster may leave behind on the machine, looked at before and after.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::cluster::machine;
use crate::cluster::place::{Place, Process};
use crate::cluster::processes;

/// The machine at one moment.
pub(super) struct Machine {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    sysctls: Vec<(&'static str, String)>,
    folders: BTreeSet<&'static str>,
}

impl Machine {
    /// As it is now.
    pub(super) fn look() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("no list of mounts")?;
        let links = fs::read_dir("/sys/class/net").context("no list of network devices")?;
        Ok(Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            links: links.flatten().map(|link| link.file_name().to_string_lossy().into_owned()).collect(),
            sysctls: machine::sysctls(),
            folders: machine::covered_folders(),
        })
    }

    /// Names everything of a cluster that is still there, and every change since this look.
    pub(super) fn compare(&self, place: &Place, processes: &[Process]) -> Result<String> {
        let now = Self::look()?;
        let mut left = Vec::new();
        left.extend(processes.iter().filter(|p| p.runs()).map(|p| format!("process {}", p.pid)));
        left.extend(processes::naming(&place.state).iter().map(|pid| format!("process {pid}")));
        left.extend(now.mounts.difference(&self.mounts).map(|mount| format!("mount {mount}")));
        left.extend(now.links.difference(&self.links).map(|link| format!("network device {link}")));
        left.extend(
            machine::cgroups(&place.cgroup()).iter().map(|path| format!("cgroup {}", path.display())),
        );
        left.extend(place.state.exists().then(|| format!("folder {}", place.state.display())));
        let others = machine::is_used();
        if !others {
            let changed = now.sysctls.iter().filter(|pair| !self.sysctls.contains(pair));
            left.extend(changed.map(|(name, value)| format!("sysctl {name} = {}", value.trim())));
            left.extend(now.folders.difference(&self.folders).map(|path| format!("folder {path}")));
        }
        if !left.is_empty() {
            bail!("left behind: {}", left.join(", "));
        }
        // Sysctls belong to all clusters; the last one sets them back.
        let shared =
            if others { "(another cluster runs: sysctls not looked at)" } else { "sysctls, folders" };
        Ok(format!("{} processes ended; as before: mounts, devices, cgroups, {shared}", processes.len()))
    }
}
