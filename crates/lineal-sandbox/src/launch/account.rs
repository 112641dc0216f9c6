//! What of a run was under control, and what was not.

use crate::inside::HOST_NAME;
use crate::{Determinism, Isolation, Network, Spec, Uncontrolled};

/// Controlled in every run: without these a step does not start.
const ALWAYS: [&str; 1] = ["environment"];
/// Controlled by namespaces.
const BY_NAMESPACES: [&str; 3] = ["host name", "mounts", "process ids"];

/// What the lists depend on besides the spec.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// Whether the step runs as user 0.
    pub(super) is_root: bool,
    /// Of the container, in a pod.
    pub(super) host_name: String,
}

/// The two lists of a report.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) controlled: Vec<String>,
    pub(super) uncontrolled: Vec<Uncontrolled>,
}

impl Account {
    /// Notes something that was expected to be controlled and is not. Said once.
    pub(super) fn miss(&mut self, what: &str, why: impl Into<String>) {
        if !self.uncontrolled.iter().any(|entry| entry.what == what) {
            self.uncontrolled.push(Uncontrolled::new(what, why));
        }
    }

    /// Fills both lists. What was missed before does not count as controlled.
    pub(super) fn complete(&mut self, spec: &Spec, surroundings: &Surroundings) {
        let mut controlled: Vec<&str> = ALWAYS.to_vec();
        match spec.isolation {
            Isolation::Namespaces => controlled.extend(BY_NAMESPACES),
            Isolation::Pod => {
                controlled.push("host name");
                self.complete_pod(spec, surroundings);
            }
        }
        match spec.network {
            // Missed before in a pod.
            Network::None => controlled.push("network"),
            Network::Host => self.miss("network", "the step uses the host's network"),
        }
        match spec.determinism {
            Determinism::Off => self.complete_off(),
            Determinism::Observe => {
                controlled.push("aslr");
                self.complete_observe();
            }
            Determinism::Strict { .. } => {
                controlled.extend(["aslr", "entropy", "wall clock"]);
                self.complete_strict();
            }
        }
        if surroundings.is_root && spec.isolation == Isolation::Namespaces {
            self.miss("process count", "the kernel does not apply RLIMIT_NPROC to root");
        }
        self.miss("file times", "new files carry the real time");
        self.miss(
            "cpu instructions",
            "rdrand, rdseed and rdtsc cannot be intercepted, and cpuid shows the CPU",
        );
        self.miss("scheduling", "the order in which threads and processes run is the kernel's");
        let missed = |what: &&str| !self.uncontrolled.iter().any(|entry| entry.what == **what);
        self.controlled =
            controlled.iter().filter(|what| missed(what)).map(|&what| what.to_owned()).collect();
    }

    fn complete_pod(&mut self, spec: &Spec, surroundings: &Surroundings) {
        self.miss("network", "it is the pod's; only the cluster's network policies restrict it");
        if surroundings.host_name != HOST_NAME {
            self.miss(
                "host name",
                format!("it is the pod's; `hostname: {HOST_NAME}` in its specification fixes it"),
            );
        }
        self.miss("mounts", "the step sees all files of its container, not only what is declared");
        self.miss("process ids", "they depend on what ran in the container before");
        self.miss("process count", "only the container's own limit applies");
        self.miss("size of /tmp", "only the limit of the pod's volume applies");
        if !spec.determinism.is_off() {
            let why = "only opens of /dev/urandom and /dev/random by names that end in `random` are seen";
            self.miss("random devices under other names", why);
        }
    }

    /// Strict without ptrace(2).
    pub(super) fn followed(&mut self) {
        let why = "ptrace(2) is forbidden here, so a program is patched when it sets up thread-local storage; one that \
                   does without may read the real clock and AT_RANDOM";
        self.miss("programs without thread-local storage", why);
    }

    fn complete_off(&mut self) {
        for what in ["aslr", "entropy", "wall clock"] {
            self.miss(what, "determinism is off for this step");
        }
    }

    fn complete_observe(&mut self) {
        self.miss("entropy", "random bytes are counted but real");
        self.miss("wall clock", "the clock is real; only strict replaces it");
        self.miss(
            "entropy count",
            "glibc 2.41 and later makes random bytes inside the process after a first call; AT_RANDOM, rdrand and \
             /proc/sys/kernel/random/uuid are not counted",
        );
    }

    fn complete_strict(&mut self) {
        self.miss("monotonic clock", "left real, so that time limits work");
        self.miss(
            "waits until a time of day",
            "they compare with the real clock, so a fixed time in the past ends them at once",
        );
        self.miss("proc", "/proc/uptime, /proc/stat and /proc/sys/kernel/random show the machine");
    }
}

#[cfg(test)]
mod tests;
