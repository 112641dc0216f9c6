//! Whether a step runs.

use std::collections::BTreeMap;
use std::fmt;

use lineal_facts::Digest;
use lineal_facts::predicate::Artifact;

use super::explain::{Difference, explain};
use super::key::KeyDocument;
use crate::pipeline::OutputName;

/// A verified result that was recorded earlier: that of the same key, or else the step's latest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResult {
    /// What determined it.
    pub key: KeyDocument,
    /// The statement that says how it was made.
    pub provenance: Digest,
    /// What was made.
    pub outputs: BTreeMap<OutputName, Artifact>,
}

/// What to do with a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The earlier result stands.
    Reuse(&'a CachedResult),
    /// The step must run.
    Execute(Reason),
}

/// Why a step must run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No result is recorded.
    NeverRan,
    /// These fields differ from the latest result. Never empty.
    KeyChanged(Vec<Difference>),
    /// The result is recorded, but some of its bytes are gone or damaged.
    BlobMissing,
}

/// Decides. `blobs_present` says that every blob of `cached` is there and hashes to its name.
pub fn decide<'a>(key: &KeyDocument, cached: Option<&'a CachedResult>, blobs_present: bool) -> Decision<'a> {
    let Some(cached) = cached else { return Decision::Execute(Reason::NeverRan) };
    let differences = explain(&cached.key, key);
    if !differences.is_empty() {
        return Decision::Execute(Reason::KeyChanged(differences));
    }
    let declared = cached.outputs.keys().eq(key.outputs.keys());
    if blobs_present && declared { Decision::Reuse(cached) } else { Decision::Execute(Reason::BlobMissing) }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRan => f.write_str("it never ran"),
            Self::KeyChanged(differences) => {
                let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Self::BlobMissing => f.write_str("its result is recorded, but bytes of it are missing"),
        }
    }
}
