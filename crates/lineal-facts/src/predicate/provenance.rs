//! SLSA provenance v1 for one execution of a step.
//!
//! Format: <https://slsa.dev/spec/v1.2/build-provenance>. Parameters a person chose are external; what the system
//! derived is internal; every input is a resolved dependency with its digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Artifact;
use super::test_result::ResourceDescriptor;
use crate::digest::Digest;
use crate::name::{PipelineName, RunId, StepName};
use crate::sequence::Sequence;
use crate::time::Timestamp;

/// The build type of a step.
pub const STEP_BUILD_TYPE: &str = "https://lineal.dev/step/v1";

/// How the subjects were made. Subjects: the step's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepProvenance {
    /// What was asked for, and with what.
    pub build_definition: BuildDefinition,
    /// Who did it, when.
    pub run_details: RunDetails,
}

/// What was asked for, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildDefinition {
    /// Always [`STEP_BUILD_TYPE`].
    pub build_type: String,
    /// What a person chose.
    pub external_parameters: ExternalParameters,
    /// What the system derived.
    pub internal_parameters: InternalParameters,
    /// Code, environment and inputs, by digest.
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// What a person chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalParameters {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The step.
    pub step: StepName,
    /// The command.
    pub run: Vec<String>,
    /// The step's parameters, each as canonical JSON text.
    pub parameters: BTreeMap<String, String>,
    /// The root seed.
    pub seed: String,
    /// `off`, `observe` or `strict`.
    pub determinism: String,
}

/// What the system derived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternalParameters {
    /// Digest of everything that determines the result.
    pub cache_key: Digest,
    /// Blob with the document that the cache key is the digest of.
    pub key_document: Digest,
    /// The seed handed to the step.
    pub step_seed: String,
    /// CPU class and threads, which change floating-point results.
    pub cpu: String,
    /// What the step read of the system's randomness.
    pub entropy: Entropy,
    /// What could not be controlled on this machine, as `what: why`.
    pub uncontrolled: Vec<String>,
    /// Outputs by name: kind, digest and size.
    pub outputs: BTreeMap<String, Artifact>,
    /// Where it ran, as the builder knows it and not as the step says: `node`, `pod`, `image`. Empty for this machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub location: BTreeMap<String, String>,
    /// The place in the run: steps in the order in which they ended.
    pub sequence: Sequence,
}

/// What the step read of the system's randomness.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entropy {
    /// Number of reads.
    pub reads: String,
    /// Bytes read.
    pub bytes: String,
    /// Who read, as `<source> <size> bytes by <process> x<count>`.
    pub askers: Vec<String>,
    /// `not-observed`, `not-read`, `read`, `controlled` (answered from a keyed stream), `insensitive` or `sensitive` (by probe).
    pub state: String,
}

/// Who did it, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunDetails {
    /// The builder.
    pub builder: Builder,
    /// Invocation and times.
    pub metadata: RunMetadata,
    /// Logs and other results that are not outputs.
    pub byproducts: Vec<ResourceDescriptor>,
}

/// The builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Builder {
    /// URI of the kind of builder, for instance `https://lineal.dev/builders/local-sandbox/v1`.
    pub id: String,
    /// Versions by component.
    pub version: BTreeMap<String, String>,
}

/// Invocation and times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunMetadata {
    /// The run that executed the step.
    pub invocation_id: RunId,
    /// When the step started.
    pub started_on: Timestamp,
    /// When it ended.
    pub finished_on: Timestamp,
}
