//! What came of an order.

use std::collections::BTreeMap;

use lineal_facts::Digest;
use lineal_facts::predicate::Artifact;
use lineal_sandbox::Report;
use serde::{Deserialize, Serialize};

use crate::order::PORT_LIMIT;
use crate::wire::{Message, WireError, check_name, check_text};

/// Largest result, as JSON.
pub const RESULT_LIMIT_BYTES: usize = 4 << 20;
/// Largest answer that says why something was refused, as JSON.
pub const REFUSAL_LIMIT_BYTES: usize = 64 << 10;
/// Longest message of a refusal.
pub const MESSAGE_LIMIT_BYTES: usize = 16 << 10;

/// What came of an order. It is a claim of the pod: the operator attests what it accepts of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepResult {
    /// Format version, `1`.
    pub version: String,
    /// The attempt of the order.
    pub attempt: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Where it ran.
    pub machine: Machine,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// The program ran and ended, well or not.
    Finished(Box<Finished>),
    /// There is no result: an input is damaged, an output cannot be kept, or the program cannot be started.
    Refused(Refusal),
}

/// A program that ran and ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finished {
    /// What the launcher saw.
    pub report: Report,
    /// The declared outputs by name; none unless the program ended with code 0.
    pub outputs: BTreeMap<String, Artifact>,
    /// Blob with standard output and error.
    pub log: Option<Digest>,
}

/// Why there is no result; also what the exchange answers with another status than 200 and 204.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// A stable word; a pod uses those of Lineal's table of failures: `tampered` and `not-verified` (an input),
    /// `data-unreadable`, `step-output`, `sandbox`, `file`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Where a step ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// What computes: the class that the cache key names.
    pub cpu_class: String,
    /// The kernel's release.
    pub kernel: String,
}

impl Message for StepResult {
    const WHAT: &'static str = "a result";
    const LIMIT_BYTES: usize = RESULT_LIMIT_BYTES;

    fn version(&self) -> &str {
        &self.version
    }

    fn check(&self) -> Result<(), WireError> {
        check_text(Self::WHAT, "attempt", &self.attempt)?;
        check_text(Self::WHAT, "machine.cpuClass", &self.machine.cpu_class)?;
        check_text(Self::WHAT, "machine.kernel", &self.machine.kernel)?;
        match &self.outcome {
            Outcome::Finished(finished) => finished.check(),
            Outcome::Refused(refusal) => refusal.check(),
        }
    }
}

impl Finished {
    fn check(&self) -> Result<(), WireError> {
        if self.outputs.len() > PORT_LIMIT {
            return wrong("outputs", "are more than 1000");
        }
        if !self.report.exit.is_success() && !self.outputs.is_empty() {
            return wrong("outputs", "are there, although the program did not end with code 0");
        }
        for (name, artifact) in &self.outputs {
            check_name(StepResult::WHAT, "outputs", name)?;
            let size: Option<u64> = artifact.size_bytes.parse().ok();
            if size.is_none_or(|size| size.to_string() != artifact.size_bytes) {
                return wrong(&format!("outputs[{name:?}].sizeBytes"), "is no decimal number");
            }
        }
        Ok(())
    }
}

impl Refusal {
    /// A refusal whose texts are cut to what may be sent.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_LIMIT_BYTES {
            message.truncate(message.floor_char_boundary(MESSAGE_LIMIT_BYTES));
        }
        Self { code: code.into(), message }
    }

    fn check(&self) -> Result<(), WireError> {
        check_text(StepResult::WHAT, "refused.code", &self.code)?;
        if self.message.len() > MESSAGE_LIMIT_BYTES {
            return wrong("refused.message", "is longer than 16384 bytes");
        }
        Ok(())
    }
}

fn wrong(field: &str, reason: &'static str) -> Result<(), WireError> {
    Err(WireError::Field { what: StepResult::WHAT, field: field.to_owned(), reason })
}

#[cfg(test)]
mod tests;
