//! What this machine allows, for `lineal doctor`.

use crate::{
    Determinism, EntropyKey, Isolation, Launcher, Limits, Network, Report, SandboxError, Spec, Uncontrolled,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Time limit of the trial step.
const TRIAL_LIMIT_MS: u64 = 10_000;

/// What the sandbox can do on this machine.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Facts about the kernel's settings. They explain; they do not decide.
    pub facts: Vec<Capability>,
    /// What a strict trial step could not control, or why none could be started.
    pub strict: Result<Vec<Uncontrolled>, SandboxError>,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// Name, for instance `user namespaces`.
    pub name: String,
    /// What the kernel says.
    pub detail: String,
}

/// Runs `true` in strict mode and looks at what came of it: the only sure way to know. `scratch_dir` takes two
/// small log files.
#[must_use]
pub fn probe(launcher: &Launcher, scratch_dir: &Path) -> Capabilities {
    let spec = Spec {
        argv: vec!["true".to_owned()],
        env: BTreeMap::new(),
        cwd: "/tmp".into(),
        isolation: Isolation::Namespaces,
        root: None,
        mounts: Vec::new(),
        stdout: scratch_dir.join("probe.stdout"),
        stderr: scratch_dir.join("probe.stderr"),
        tee: false,
        network: Network::None,
        determinism: Determinism::Strict { key: EntropyKey::new([0; 32]), epoch_s: 0 },
        limits: Limits { timeout_ms: Some(TRIAL_LIMIT_MS), ..Limits::default() },
    };
    let strict = launcher.run(&spec).and_then(|report: Report| match report.exit.is_success() {
        true => Ok(report.uncontrolled),
        false => Err(SandboxError::Unsupported {
            what: "a trial step".to_owned(),
            reason: format!("`true` ended with {:?}", report.exit),
        }),
    });
    Capabilities { facts: facts(), strict }
}

fn facts() -> Vec<Capability> {
    const FILES: [(&str, &str); 6] = [
        ("kernel", "/proc/sys/kernel/osrelease"),
        ("user namespaces", "/proc/sys/user/max_user_namespaces"),
        ("seccomp actions", "/proc/sys/kernel/seccomp/actions_avail"),
        ("ptrace restriction", "/proc/sys/kernel/yama/ptrace_scope"),
        ("apparmor restriction", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ("security modules", "/sys/kernel/security/lsm"),
    ];
    let read = |(name, path): (&str, &str)| Capability {
        name: name.to_owned(),
        detail: match fs::read_to_string(path) {
            Ok(text) => text.trim().to_owned(),
            Err(_) => format!("not set ({path} is not there)"),
        },
    };
    FILES.into_iter().map(read).collect()
}
