//! in-toto test-result v0.1: gates and other tests with verdicts.
//!
//! Format: <https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::statement::DigestSet;

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Everything held.
    Passed,
    /// Held with warnings.
    Warned,
    /// Something did not hold.
    Failed,
}

/// An in-toto resource descriptor: what a digest is called and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceDescriptor {
    /// What people call it.
    pub name: String,
    /// Its identity.
    pub digest: DigestSet,
    /// Further facts, as strings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The verdict of one gate. Subjects: what was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestResult {
    /// The verdict.
    pub result: Outcome,
    /// What was tested with what: the gate's definition, contract, report. The first one is named `gate/<name>`.
    pub configuration: Vec<ResourceDescriptor>,
    /// Checks that held, as `<check>: <value>`.
    pub passed_tests: Vec<String>,
    /// Checks that held with a warning.
    pub warned_tests: Vec<String>,
    /// Checks that did not hold.
    pub failed_tests: Vec<String>,
}
