//! What happened in a step.

use serde::{Deserialize, Serialize};

/// The launcher's account of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How the step's first process ended. Its other processes are killed then.
    pub exit: Exit,
    /// Time from the start of the program to the end of the whole process tree.
    pub wall_ms: u64,
    /// User and system time of all processes inside, and of building the file tree (about 2 ms).
    pub cpu_ms: u64,
    /// The largest resident size of one process inside. Never below the launcher's own (a few MB).
    pub max_rss_bytes: u64,
    /// Whether output was dropped because of [`crate::Limits::log_size_bytes`] or a full disk.
    pub log_cut: bool,
    /// Random bytes the step asked for. Empty with [`crate::Determinism::Off`].
    pub entropy: EntropyReport,
    /// Reads of the real-time clock; counted with [`crate::Determinism::Strict`] only.
    pub clock_reads: u64,
    /// What was under control, for instance `aslr` or `network`.
    pub controlled: Vec<String>,
    /// What was not, and why. An item of `Strict` that this machine forbids is listed here.
    pub uncontrolled: Vec<Uncontrolled>,
}

impl Report {
    /// A report for a launcher that died without one (killed, or out of memory): only the exit says something.
    pub(crate) fn launcher_stopped() -> Self {
        Self {
            exit: Exit::LauncherStopped,
            wall_ms: 0,
            cpu_ms: 0,
            max_rss_bytes: 0,
            log_cut: false,
            entropy: EntropyReport::default(),
            clock_reads: 0,
            controlled: Vec::new(),
            uncontrolled: vec![Uncontrolled::new("report", "the launcher ended without one")],
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The program returned this code.
    Code(i32),
    /// This signal ended the program; 9 also when the caller killed it.
    Signal(i32),
    /// It ran longer than [`crate::Limits::timeout_ms`] and was killed.
    TimedOut,
    /// The launcher or init was killed from outside; how the program ended is not known.
    LauncherStopped,
}

impl Exit {
    /// Whether the program ended with code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// Random bytes the step asked for.
///
/// A call is not proof of use: `import random` seeds itself. And one call can stand for many: glibc 2.41 and later
/// fetch a key once and then make random bytes inside the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntropyReport {
    /// Calls of getrandom(2), plus one for each random device that was read.
    pub reads: u64,
    /// Bytes asked for through getrandom(2) and bytes taken from the devices.
    pub bytes: u64,
    /// Who asked for what, merged; at most 64 entries, the totals above count all.
    pub askers: Vec<EntropyUse>,
    /// Whether CPython seeded its hash from the system: 24 bytes, not blocking (`PYTHONHASHSEED` unset).
    pub hash_seed_read: bool,
}

/// Flag of getrandom(2): do not wait for the pool.
const GRND_NONBLOCK: u32 = 1;

impl EntropyReport {
    /// Whether something was asked for beyond what glibc's allocator (8 bytes, not blocking, once a process) and
    /// CPython's hash (24 bytes, not blocking) ask for at start.
    #[must_use]
    pub fn beyond_start_up(&self) -> bool {
        let at_start = |entry: &&EntropyUse| {
            entry.source == EntropySource::Getrandom
                && entry.flags == GRND_NONBLOCK
                && matches!(entry.size_bytes, 8 | 24)
        };
        let start_up_reads: u64 = self.askers.iter().filter(at_start).map(|entry| entry.count).sum();
        self.reads > start_up_reads
    }
}

/// One kind of request for random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntropyUse {
    /// Where it asked.
    pub source: EntropySource,
    /// Size of one request; for a device, all bytes read from it.
    pub size_bytes: u64,
    /// Flags of getrandom(2); 0 for a device.
    pub flags: u32,
    /// Name of the asking thread; `None` for a device, which does not tell its readers.
    pub process: Option<String>,
    /// How many such requests.
    pub count: u64,
}

/// Where random bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntropySource {
    /// The system call getrandom(2).
    Getrandom,
    /// The file `/dev/urandom`.
    DevUrandom,
    /// The file `/dev/random`.
    DevRandom,
}

/// Something that can make two runs differ and that was not under control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncontrolled {
    /// The source, for instance `file times`.
    pub what: String,
    /// Why it is not controlled.
    pub why: String,
}

impl Uncontrolled {
    pub(crate) fn new(what: &str, why: impl Into<String>) -> Self {
        Self { what: what.to_owned(), why: why.into() }
    }
}
