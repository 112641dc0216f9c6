//! The key document: everything that determines a step's result, and nothing else.
//!
//! Not in it, because they do not change the result: the step's name (its seed is), timeouts, probes, gates, and the
//! names of pipeline, data, environments, images and files that were resolved to digests.

use std::collections::BTreeMap;

use lineal_facts::Digest;
use lineal_facts::json::{self, JsonError};
use lineal_facts::predicate::ArtifactKind;
use serde::{Deserialize, Serialize};

use super::{Resolved, StepPlan};
use crate::pipeline::{Determinism, InputName, Output, OutputKind, OutputName, ParamName};

/// Format version of [`KeyDocument`].
pub const KEY_VERSION: &str = "1";

/// The base system of a step in an image: none of the machine that it runs on.
pub const IMAGE_BASE: &str = "image";

/// Everything that determines a step's result. The cache key is the digest of its canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyDocument {
    /// Format version, `1`.
    pub version: String,
    /// Program and arguments.
    pub run: Vec<String>,
    /// Manifest digest of the code tree.
    pub code: Digest,
    /// Inputs by name.
    pub inputs: BTreeMap<InputName, KeyInput>,
    /// Canonical JSON text by name.
    pub parameters: BTreeMap<ParamName, String>,
    /// Digest of the environment, of an image that of its manifest; absent on the base system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Digest>,
    /// The base system; [`IMAGE_BASE`] in an image.
    pub base: String,
    /// What computes.
    pub cpu: Cpu,
    /// `off`, `observe` or `strict`.
    pub determinism: Determinism,
    /// The step's own seed.
    pub seed: String,
    /// Declared outputs by name.
    pub outputs: BTreeMap<OutputName, KeyOutput>,
}

/// What computes; both change floating-point results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cpu {
    /// The instruction set that libraries choose code by, for instance `x86_64-v3`.
    pub class: String,
    /// Threads that libraries may use, as a decimal string.
    pub threads: String,
}

impl Cpu {
    /// A class with this many threads.
    pub fn new(class: impl Into<String>, threads: u32) -> Self {
        Self { class: class.into(), threads: threads.to_string() }
    }
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, threads {}", self.class, self.threads)
    }
}

/// The content of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyInput {
    /// File or directory.
    pub kind: ArtifactKind,
    /// Identity of the content.
    pub digest: Digest,
}

/// A declared output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyOutput {
    /// Where the step writes it.
    pub path: String,
    /// How it is read.
    #[serde(rename = "as")]
    pub kind: OutputKind,
}

impl From<&Output> for KeyOutput {
    fn from(output: &Output) -> Self {
        Self { path: output.path.clone(), kind: output.kind }
    }
}

/// Why bytes are not a key document.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not the fields of a key document.
    #[error("not a key document: {0}")]
    Format(#[from] JsonError),
    /// Another version.
    #[error("key document version `{0}` is not understood; this build reads version {KEY_VERSION}")]
    Version(String),
    /// The same document in another spelling, whose digest is not the cache key.
    #[error("the key document is not in canonical form")]
    NotCanonical,
}

impl KeyDocument {
    pub(super) fn new(step: &StepPlan, resolved: &Resolved, inputs: BTreeMap<InputName, KeyInput>) -> Self {
        Self {
            version: KEY_VERSION.to_owned(),
            run: step.run.clone(),
            code: resolved.code,
            inputs,
            parameters: step.params.clone(),
            environment: step.environment.as_ref().map(|environment| environment.digest),
            base: step.image().map_or_else(|| resolved.base.clone(), |_| IMAGE_BASE.to_owned()),
            cpu: resolved.cpu.clone(),
            determinism: step.determinism,
            seed: step.seed.to_string(),
            outputs: step.outputs.iter().map(|(name, output)| (name.clone(), output.into())).collect(),
        }
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }

    /// Reads the canonical bytes back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let document: Self = json::parse(bytes)?;
        if document.version != KEY_VERSION {
            return Err(KeyError::Version(document.version.chars().take(80).collect()));
        }
        if document.to_bytes()? != bytes {
            return Err(KeyError::NotCanonical);
        }
        Ok(document)
    }

    /// The cache key: digest of [`KeyDocument::to_bytes`].
    pub fn cache_key(&self) -> Result<Digest, JsonError> {
        Ok(Digest::of(&self.to_bytes()?))
    }
}
