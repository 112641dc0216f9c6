//! What to run: the launcher reads it as one line of JSON.

use crate::SandboxError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The largest spec, as JSON. The kernel's own limit for arguments and environment is of the same size.
pub const MAX_SPEC_SIZE_BYTES: u64 = 1 << 20;
/// The largest number of mounts in a spec.
const MAX_MOUNTS: usize = 1000;

/// One step: what to run and what it may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Program and arguments. A program without `/` is looked up in `PATH` of `env`, inside the sandbox.
    pub argv: Vec<String>,
    /// The complete environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// The working directory, inside. It must exist there.
    pub cwd: PathBuf,
    /// What keeps the step apart.
    #[serde(default)]
    pub isolation: Isolation,
    /// The base: an unpacked image on the host. Programs, their libraries and loader come from it; nothing is written
    /// to it, and its `/dev`, `/proc`, `/sys` and `/tmp` are not shown. `None`: the host's base system (`/usr`,
    /// `/lib*`, `/bin`, `/sbin`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// What is visible besides the base; later ones cover earlier ones.
    pub mounts: Vec<Mount>,
    /// Host file that standard output is appended to; created when missing.
    pub stdout: PathBuf,
    /// Host file that standard error is appended to; may be the same as `stdout`.
    pub stderr: PathBuf,
    /// Whether both streams go to the launcher's standard error as well, which is its parent's. In a pod this is what
    /// `kubectl logs` shows. The step waits for a reader that is slow.
    #[serde(default)]
    pub tee: bool,
    /// What the step can reach.
    pub network: Network,
    /// How far sources of difference are observed or removed.
    pub determinism: Determinism,
    /// Sizes and times.
    pub limits: Limits,
}

/// What keeps a step apart from its surroundings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces of its own.
    #[default]
    Namespaces,
    /// Those of the container in which the launcher runs, as restricted pods of Kubernetes allow nothing else. The
    /// caller lays all files out at their real paths: a spec with mounts or a root is refused. When the launcher is
    /// killed, the step's first process ends with it, its others with the container.
    Pod,
}

/// One host file or directory made visible inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute host path of a file or directory, with what is mounted below it.
    pub source: PathBuf,
    /// Absolute path inside. It is created when missing; below a `ReadWrite` mount this creates it on the host.
    pub target: PathBuf,
    /// Whether the step may write there.
    pub access: Access,
}

/// Whether a step may write to a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Writes fail with `EROFS`.
    ReadOnly,
    /// Writes go to the host path, with the rights of the caller's user id.
    ReadWrite,
}

/// What a step can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// An empty network namespace; even its loopback device is down.
    None,
    /// The network of the host, with its resolver configuration and certificates.
    Host,
}

/// How far sources of difference between two runs are observed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Determinism {
    /// Namespaces only. For servers.
    Off,
    /// Address layout fixed, requests for random bytes counted and answered by the kernel.
    Observe,
    /// Random bytes from a keyed stream, and a fixed real-time clock. Not for steps that hold or make secrets.
    Strict {
        /// Key of the streams.
        key: EntropyKey,
        /// Seconds since 1970 at the first reading; each reading is 1 µs later.
        epoch_s: i64,
    },
}

impl Determinism {
    pub(crate) fn is_off(&self) -> bool {
        *self == Self::Off
    }

    pub(crate) fn is_strict(&self) -> bool {
        matches!(self, Self::Strict { .. })
    }
}

/// Key of the streams that replace random bytes. 64 hexadecimal digits as text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntropyKey([u8; 32]);

impl EntropyKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EntropyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntropyKey(..)")
    }
}

impl From<EntropyKey> for String {
    fn from(key: EntropyKey) -> Self {
        hex::encode(key.0)
    }
}

impl TryFrom<String> for EntropyKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "an entropy key has 64 hexadecimal digits")?;
        Ok(Self(bytes))
    }
}

/// Sizes and times a step may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Size of `/tmp`, and again of `/dev/shm`. Both live in memory. In a pod its volumes' sizes count instead.
    pub tmp_size_bytes: u64,
    /// The largest file the step may write; beyond it the writer gets `SIGXFSZ`.
    pub file_size_bytes: u64,
    /// Standard output and standard error together; the rest is dropped and the place is marked.
    pub log_size_bytes: u64,
    /// Processes and threads at a time. The kernel does not apply it to root. In a pod the container's own limit
    /// counts instead: the kernel would count what other pods run with the same user id.
    pub processes: u64,
    /// Time from the start of the program after which the whole tree is killed.
    pub timeout_ms: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tmp_size_bytes: 1 << 30,
            file_size_bytes: 64 << 30,
            log_size_bytes: 16 << 20,
            processes: 4096,
            timeout_ms: None,
        }
    }
}

impl Spec {
    /// Checks everything that needs no look at the machine.
    ///
    /// # Errors
    /// [`SandboxError::BadSpec`] names the first field that is wrong.
    pub fn check(&self) -> Result<(), SandboxError> {
        match self.argv.first() {
            None => return Err(SandboxError::bad_spec("argv", "is empty")),
            Some(program) if program.is_empty() => {
                return Err(SandboxError::bad_spec("argv[0]", "is empty"));
            }
            Some(_) => {}
        }
        for (index, argument) in self.argv.iter().enumerate() {
            check_text(&format!("argv[{index}]"), argument)?;
        }
        for (name, value) in &self.env {
            let field = format!("env[{name:?}]");
            if name.is_empty() || name.contains('=') {
                return Err(SandboxError::bad_spec(field, "is no name of a variable: empty, or with `=`"));
            }
            check_text(&field, name)?;
            check_text(&field, value)?;
        }
        self.check_paths()?;
        self.limits.check()
    }

    fn check_paths(&self) -> Result<(), SandboxError> {
        check_path("cwd", &self.cwd)?;
        if let Some(root) = &self.root {
            check_path("root", root)?;
        }
        check_path("stdout", &self.stdout)?;
        check_path("stderr", &self.stderr)?;
        if self.isolation == Isolation::Pod {
            if self.root.is_some() {
                return Err(SandboxError::bad_spec("root", "cannot be another one in a pod"));
            }
            if !self.mounts.is_empty() {
                return Err(SandboxError::bad_spec("mounts", "cannot be made in a pod"));
            }
        }
        if self.mounts.len() > MAX_MOUNTS {
            return Err(SandboxError::bad_spec("mounts", format!("has more than {MAX_MOUNTS} entries")));
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            check_path(&format!("mounts[{index}].source"), &mount.source)?;
            let field = format!("mounts[{index}].target");
            check_path(&field, &mount.target)?;
            if mount.target == Path::new("/") {
                return Err(SandboxError::bad_spec(field, "is the root of the sandbox"));
            }
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Result<(), SandboxError> {
        if self.tmp_size_bytes == 0 {
            return Err(SandboxError::bad_spec(
                "limits.tmp_size_bytes",
                "is 0, which tmpfs reads as unlimited",
            ));
        }
        if self.processes == 0 {
            return Err(SandboxError::bad_spec("limits.processes", "is 0: the step itself is one"));
        }
        Ok(())
    }
}

fn check_text(field: &str, text: &str) -> Result<(), SandboxError> {
    if text.contains('\0') {
        return Err(SandboxError::bad_spec(field, "contains a NUL byte"));
    }
    Ok(())
}

fn check_path(field: &str, path: &Path) -> Result<(), SandboxError> {
    let Some(text) = path.to_str() else {
        return Err(SandboxError::bad_spec(field, "is not UTF-8"));
    };
    check_text(field, text)?;
    if !path.is_absolute() {
        return Err(SandboxError::bad_spec(field, format!("must be an absolute path, not {text:?}")));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(SandboxError::bad_spec(field, format!("must not contain `..`: {text:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
