//! Names and ids: parsed once, then trusted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, shorten};
use crate::time::Timestamp;

/// Longest name in bytes; also the limit of a DNS label, so that a name can become a Kubernetes object.
pub const NAME_LIMIT_BYTES: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}; {rule}")]
pub struct NameError {
    text: String,
    kind: &'static str,
    rule: &'static str,
}

const LABEL_RULE: &str =
    "use lower-case letters, digits and `-`, start and end with a letter or digit, at most 63";
const TAG_RULE: &str = "use letters, digits, `.`, `_` and `-`, start with a letter or digit, at most 63";

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=NAME_LIMIT_BYTES).contains(&text.len())
        && text.bytes().all(|b| inner(b) || b == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

fn is_tag(text: &str) -> bool {
    (1..=NAME_LIMIT_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

macro_rules! names {
    ($($(#[$doc:meta])* $type:ident, $kind:literal, $check:ident, $rule:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { text: shorten(text), kind: $kind, rule: $rule })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// A dataset's name.
    DatasetName, "dataset name", is_label, LABEL_RULE;
    /// A registered model's name.
    ModelName, "model name", is_label, LABEL_RULE;
    /// A pipeline's name.
    PipelineName, "pipeline name", is_label, LABEL_RULE;
    /// A step's name within its pipeline.
    StepName, "step name", is_label, LABEL_RULE;
    /// A gate's name within its pipeline.
    GateName, "gate name", is_label, LABEL_RULE;
    /// An environment: development, staging, production.
    EnvironmentName, "environment name", is_label, LABEL_RULE;
    /// A name for one snapshot of a dataset; once given it never moves.
    Tag, "tag", is_tag, TAG_RULE;
    /// One execution of a pipeline: `run-` and 12 hex digits.
    RunId, "run id", is_run_id, RUN_RULE;
    /// One rollout: `rollout-` and 12 hex digits.
    RolloutId, "rollout id", is_rollout_id, ROLLOUT_RULE;
}

const RUN_RULE: &str = "expected `run-` and 12 hex digits";
const ROLLOUT_RULE: &str = "expected `rollout-` and 12 hex digits";

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_run_id(text: &str) -> bool {
    is_id(text, "run-")
}

fn is_rollout_id(text: &str) -> bool {
    is_id(text, "rollout-")
}

impl RunId {
    /// The id of the run of `plan` that was started at `started_at` with this `nonce`.
    pub fn derive(plan: &Digest, started_at: Timestamp, nonce: u64) -> Self {
        Self(derive_id("run-", plan, started_at, nonce))
    }
}

impl RolloutId {
    /// The id of the rollout of the model bytes `model` that was started at `started_at` with this `nonce`.
    pub fn derive(model: &Digest, started_at: Timestamp, nonce: u64) -> Self {
        Self(derive_id("rollout-", model, started_at, nonce))
    }
}

fn derive_id(prefix: &str, of: &Digest, at: Timestamp, nonce: u64) -> String {
    format!("{prefix}{}", Digest::of(format!("{prefix}\n{of}\n{}\n{nonce}", at.unix_ms()).as_bytes()).short())
}

/// One immutable version of a model: `flights-delay/2`. Versions count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelVersion {
    /// The registered name.
    pub model: ModelName,
    /// The version, from 1.
    pub version: u32,
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.version)
    }
}

impl FromStr for ModelVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError {
            text: shorten(text),
            kind: "model version",
            rule: "expected `<model>/<number>`, for example flights-delay/2",
        };
        let (model, version) = text.split_once('/').ok_or_else(error)?;
        let canonical = !version.starts_with(['0', '+']);
        let version = version.parse().ok().filter(|_| canonical).ok_or_else(error)?;
        Ok(Self { model: model.parse()?, version })
    }
}

/// A snapshot by name: `flights@2013-01` (by tag) or `flights@sha256:<hex>` (by identity).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotRef {
    /// The dataset.
    pub dataset: DatasetName,
    /// Which of its snapshots.
    pub at: SnapshotAt,
}

/// What picks the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotAt {
    /// A tag, which never moves.
    Tag(Tag),
    /// The identity itself.
    Digest(Digest),
}

impl fmt::Display for SnapshotRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            SnapshotAt::Tag(tag) => write!(f, "{}@{tag}", self.dataset),
            SnapshotAt::Digest(digest) => write!(f, "{}@{digest}", self.dataset),
        }
    }
}

impl FromStr for SnapshotRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (dataset, at) = text.split_once('@').ok_or_else(|| NameError {
            text: shorten(text),
            kind: "snapshot",
            rule: "expected `<dataset>@<tag>` or `<dataset>@sha256:<hex>`",
        })?;
        let at = match at.parse() {
            Ok(digest) => SnapshotAt::Digest(digest),
            Err(_) => SnapshotAt::Tag(at.parse()?),
        };
        Ok(Self { dataset: dataset.parse()?, at })
    }
}

macro_rules! text_serde {
    ($($type:ident)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text_serde!(ModelVersion SnapshotRef);

#[cfg(test)]
mod tests;
