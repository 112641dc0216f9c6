//! What parent and launcher say to each other over the launcher's stdin and stdout.
//!
//! Parent to launcher: one line with the [`Spec`] as JSON, then at any time a [`Command`] line. Closing the pipe
//! means: kill everything. Launcher to parent: one [`Answer`] line (`started` or `failed`); after `started`, a
//! second one (`report`).

use crate::{MAX_SPEC_SIZE_BYTES, Report, SandboxError, Spec};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

/// The longest answer line. A report has at most 64 merged entries and fits in a pipe's 64 KiB.
pub(crate) const MAX_ANSWER_SIZE_BYTES: u64 = 256 << 10;

/// A line from the launcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Started { pid: u32 },
    Failed(SandboxError),
    Report(Report),
}

/// A line to the launcher after the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// SIGTERM to all processes of the step, then SIGKILL after this time.
    Stop {
        grace_ms: u64,
    },
    Kill,
}

impl Command {
    pub(crate) fn stop(grace: Duration) -> Self {
        Self::Stop { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// The spec as the line to send.
pub(crate) fn spec_line(spec: &Spec) -> Result<Vec<u8>, SandboxError> {
    let mut line =
        serde_json::to_vec(spec).map_err(|error| SandboxError::bad_spec("spec", error.to_string()))?;
    let size_bytes = line.len() as u64;
    if size_bytes >= MAX_SPEC_SIZE_BYTES {
        return Err(SandboxError::SpecTooLarge { size_bytes, limit_bytes: MAX_SPEC_SIZE_BYTES });
    }
    line.push(b'\n');
    Ok(line)
}

/// Reads one answer; `None` when the launcher ended before it.
pub(crate) fn read_answer(from: &mut impl BufRead) -> Result<Option<Answer>, SandboxError> {
    let broken = |reason: String| SandboxError::LauncherBroken { reason };
    let mut line = Vec::new();
    from.take(MAX_ANSWER_SIZE_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(|error| broken(format!("reading failed: {error}")))?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| broken(format!("not an answer: {error}")))
}

/// Writes one answer to stdout. When the parent is gone there is nobody to tell, so a failure is dropped.
pub(crate) fn answer(answer: &Answer) {
    let Ok(mut line) = serde_json::to_vec(answer) else { return };
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}
