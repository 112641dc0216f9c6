//! Our own predicates about keys, data and runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::{DatasetName, PipelineName, RunId, StepName, Tag};
use crate::sequence::Sequence;
use crate::time::Timestamp;

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRole {
    /// Statements of the system itself: provenance, gates, promotions, rollout steps.
    Builder,
    /// Approvals by a person.
    Approver,
    /// Route tables for gateways.
    Router,
    /// Checkpoints of the log itself. The key is Ed25519, and not one of the keyring.
    Log,
}

impl KeyRole {
    /// The word that statements, file names and commands use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Approver => "approver",
            Self::Router => "router",
            Self::Log => "log",
        }
    }
}

impl std::fmt::Display for KeyRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a key counts from this ledger position on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Statements signed with it count.
    Active,
    /// Statements later in the ledger do not count.
    Revoked,
}

/// A signing key, its holder and role. Subject: the key's id, which is the digest of its DER form; of a log key, what a
/// bundle calls the log id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRecord {
    /// Who holds it, for instance `ana` or `lineal`.
    pub holder: String,
    /// What it may sign.
    pub role: KeyRole,
    /// Whether it counts.
    pub state: KeyState,
    /// The public key: PEM (SPKI, ECDSA P-256), or the verifier key's line of a log key.
    pub public_key: String,
    /// Of an active key: the id of the key of the same holder and role that it takes over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Digest>,
    /// Of a revoked key: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When this was stated.
    pub stated_at: Timestamp,
}

/// A snapshot of a dataset. Subject: the manifest's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetSnapshot {
    /// The dataset.
    pub dataset: DatasetName,
    /// The name of this snapshot, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// Number of files.
    pub files: String,
    /// Total size in bytes.
    pub size_bytes: String,
    /// Rows of all tables that could be read.
    pub rows: String,
    /// Blob with the schema of every table.
    pub schema: Digest,
    /// Blob with the profile of every table.
    pub profile: Digest,
    /// When it was frozen.
    pub created_at: Timestamp,
}

/// Whether an artefact is one file or a directory (then its digest is its manifest's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// One file; the digest is that of its bytes.
    File,
    /// A directory; the digest is that of its manifest.
    Directory,
}

/// A step's output, a code tree or a snapshot: bytes by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artifact {
    /// File or directory.
    pub kind: ArtifactKind,
    /// Identity.
    pub digest: Digest,
    /// Total size in bytes.
    pub size_bytes: String,
}

/// One step of a sealed run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunStep {
    /// The step.
    pub step: StepName,
    /// Digest of everything that determines its result.
    pub cache_key: Digest,
    /// Whether an earlier, verified result was used.
    pub cached: bool,
    /// The provenance statement that made the outputs.
    pub provenance: Digest,
    /// Outputs by name.
    pub outputs: BTreeMap<String, Artifact>,
}

/// A finished run. Subjects: the outputs of its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunSealed {
    /// The run.
    pub run: RunId,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// Blob with the plan: every step with its resolved inputs and cache key.
    pub plan: Digest,
    /// Steps in execution order.
    pub steps: Vec<RunStep>,
    /// The last place in the run.
    pub sequence: Sequence,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// A contradiction that must not be overwritten silently. Subjects: the digests that disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Incident {
    /// A stable code, for instance `nondeterministic-step`.
    pub code: String,
    /// What happened, in a sentence.
    pub message: String,
    /// When it was found.
    pub found_at: Timestamp,
}
