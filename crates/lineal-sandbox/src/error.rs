//! Why a step did not start, or why its report is missing.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A step that could not be started. It crosses the pipe from the launcher, so reasons are text.
///
/// A step that started and failed is no error: see [`crate::Exit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxError {
    /// A field of the [`crate::Spec`] is wrong; correct it.
    #[error("sandbox spec: `{field}` {reason}")]
    BadSpec {
        /// The field, as in `mounts[2].target`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The spec as JSON is longer than [`crate::MAX_SPEC_SIZE_BYTES`]; pass large values as mounted files.
    #[error("sandbox spec: {size_bytes} bytes, at most {limit_bytes}; pass large values as mounted files")]
    SpecTooLarge {
        /// Size as JSON.
        size_bytes: u64,
        /// [`crate::MAX_SPEC_SIZE_BYTES`].
        limit_bytes: u64,
    },
    /// The launcher program could not be started.
    #[error("cannot start the launcher {program}: {reason}")]
    LauncherNotStarted {
        /// Program of the [`crate::Launcher`].
        program: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The launcher ended, or said something else than expected, before the step started.
    #[error("the launcher gave no answer: {reason}")]
    LauncherBroken {
        /// What came instead.
        reason: String,
    },
    /// This machine forbids something the sandbox cannot do without; `lineal doctor` shows what.
    #[error("this machine does not allow {what}: {reason}")]
    Unsupported {
        /// The missing ability.
        what: String,
        /// The system's reason.
        reason: String,
    },
    /// A mount's host path is not there, or may not be read.
    #[error("cannot mount {source_path}: {reason}")]
    MountSource {
        /// The host path.
        source_path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A mount's place inside the sandbox could not be made.
    #[error("cannot mount at {target}: {reason}")]
    MountTarget {
        /// The path inside.
        target: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A log file on the host could not be opened for appending.
    #[error("cannot write the log {path}: {reason}")]
    LogFile {
        /// The host path.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Another step of the set-up failed.
    #[error("sandbox set-up failed at {what}: {reason}")]
    Setup {
        /// What was being done.
        what: String,
        /// The system's reason.
        reason: String,
    },
    /// The working directory is not there inside the sandbox; mount it.
    #[error("cannot enter the working directory {path} inside the sandbox: {reason}")]
    WorkingDirectory {
        /// The path inside.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The program is not there inside the sandbox; mount it, or correct `PATH`.
    #[error("program `{program}` not found inside the sandbox (looked in {searched})")]
    ProgramNotFound {
        /// `argv[0]`.
        program: String,
        /// The `PATH` that was searched, or "its own path".
        searched: String,
    },
    /// The program is there but cannot be run.
    #[error("program `{program}` cannot be run: {reason}")]
    ProgramNotExecutable {
        /// The path inside that was tried.
        program: String,
        /// The system's reason.
        reason: String,
    },
}

impl SandboxError {
    #[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(dead_code))]
    pub(crate) fn setup(what: &str, reason: impl ToString) -> Self {
        Self::Setup { what: what.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn bad_spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadSpec { field: field.into(), reason: reason.into() }
    }
}
