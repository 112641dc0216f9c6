//! What a pod shall do, and what it asks with.

use std::collections::BTreeMap;

use lineal_facts::manifest::check_path;
use lineal_facts::predicate::ArtifactKind;
use lineal_facts::{Digest, StepName};
use lineal_sandbox::{Determinism, Limits};
use serde::{Deserialize, Serialize};

use crate::wire::{Message, WireError, check_name, check_text};

/// Largest order, as JSON.
pub const ORDER_LIMIT_BYTES: usize = 4 << 20;
/// Largest request for work, as JSON.
pub const REQUEST_LIMIT_BYTES: usize = 4 << 10;
/// Most inputs of a step, and most outputs.
pub const PORT_LIMIT: usize = 1000;

/// One step to run. It names everything that determines the result, so that the pod decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepOrder {
    /// Format version, `1`.
    pub version: String,
    /// Which try this is. The result repeats it.
    pub attempt: String,
    /// The step, for messages.
    pub step: StepName,
    /// Program and arguments.
    pub run: Vec<String>,
    /// Environment variables; they go over those of the image.
    pub env: BTreeMap<String, String>,
    /// Manifest digest of the code tree.
    pub code: Digest,
    /// Inputs by name: `/lineal/in/NAME`.
    pub inputs: BTreeMap<String, Input>,
    /// The text of `params.json`.
    pub parameters: String,
    /// Declared outputs: name, and path below `/lineal/out`.
    pub outputs: BTreeMap<String, String>,
    /// How far sources of difference are observed or removed.
    pub determinism: Determinism,
    /// Sizes and times.
    pub limits: Limits,
}

/// The content of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// File or directory.
    pub kind: ArtifactKind,
    /// Identity of the content.
    pub digest: Digest,
}

/// What a pod asks for work with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkRequest {
    /// Format version, `1`.
    pub version: String,
    /// What computes here: the class that the cache key names.
    pub cpu_class: String,
    /// The kernel's release.
    pub kernel: String,
    /// Reserved: the attempt that this pod did before. A pod that has just started did none.
    pub previous: Option<String>,
}

impl Message for StepOrder {
    const WHAT: &'static str = "an order";
    const LIMIT_BYTES: usize = ORDER_LIMIT_BYTES;

    fn version(&self) -> &str {
        &self.version
    }

    fn check(&self) -> Result<(), WireError> {
        check_text(Self::WHAT, "attempt", &self.attempt)?;
        if self.run.first().is_none_or(String::is_empty) {
            return wrong("run", "has no program");
        }
        if self.run.iter().any(|argument| argument.contains('\0')) {
            return wrong("run", "has a NUL character, which no program can receive");
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return wrong(&format!("env[{name:?}]"), "is no environment variable");
            }
        }
        if self.inputs.len() > PORT_LIMIT || self.outputs.len() > PORT_LIMIT {
            return wrong("inputs or outputs", "are more than 1000");
        }
        for name in self.inputs.keys() {
            check_name(Self::WHAT, "inputs", name)?;
        }
        for (name, path) in &self.outputs {
            check_name(Self::WHAT, "outputs", name)?;
            if check_path(path).is_err() {
                return wrong(&format!("outputs[{name:?}]"), "is no relative path that stays inside");
            }
        }
        Ok(())
    }
}

impl Message for WorkRequest {
    const WHAT: &'static str = "a request for work";
    const LIMIT_BYTES: usize = REQUEST_LIMIT_BYTES;

    fn version(&self) -> &str {
        &self.version
    }

    fn check(&self) -> Result<(), WireError> {
        check_text(Self::WHAT, "cpuClass", &self.cpu_class)?;
        check_text(Self::WHAT, "kernel", &self.kernel)?;
        self.previous.iter().try_for_each(|previous| check_text(Self::WHAT, "previous", previous))
    }
}

fn wrong(field: &str, reason: &'static str) -> Result<(), WireError> {
    Err(WireError::Field { what: StepOrder::WHAT, field: field.to_owned(), reason })
}

#[cfg(test)]
mod tests;
