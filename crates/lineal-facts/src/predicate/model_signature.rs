//! OpenSSF Model Signing 1.0: every file of a model with its digest, and how the files were enumerated.
//!
//! Format: <https://github.com/ossf/model-signing-spec/blob/main/spec/v1.0.md>, section 5. Others write it too, so that
//! fields are kept as they stand; `lineal_proof::model_signature` checks what they mean.

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The predicate. Subject: the model's name and the digest of all resource digests in list order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSignature {
    /// Files, or parts of files. The format lets verifiers ignore fields that they do not know.
    pub resources: Vec<SignedResource>,
    /// How they were found and hashed.
    pub serialization: Serialization,
}

/// One file, or one part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedResource {
    /// Path within the model; for a part followed by `:START:END` in bytes.
    pub name: String,
    /// The hash algorithm.
    pub algorithm: String,
    /// Lower-case hex.
    pub digest: String,
}

/// How the resources were found and hashed. Unknown fields are refused: they could change what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serialization {
    /// `files` or `shards`.
    pub method: String,
    /// The hash algorithm of all resources.
    pub hash_type: String,
    /// Size of a part, with `shards` only. Some tools write it as `10.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_size: Option<Number>,
    /// Whether symbolic links were followed.
    pub allow_symlinks: bool,
    /// Paths that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_paths: Vec<String>,
}
