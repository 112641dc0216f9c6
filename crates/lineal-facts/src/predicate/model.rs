//! Registration, approval and promotion of model versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::test_result::ResourceDescriptor;
use crate::digest::Digest;
use crate::name::{EnvironmentName, ModelVersion, RunId, StepName};
use crate::statement::DigestSet;
use crate::time::Timestamp;

/// How the model is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServeSpec {
    /// The command; its working directory is the model's directory.
    pub run: Vec<String>,
    /// Digest of the environment it runs in.
    pub environment: Digest,
    /// Where the environment was found: a folder relative to the project, or an image by name and digest.
    pub environment_path: String,
    /// The output tensor that is the prediction.
    pub output: String,
    /// How long it may take to become ready.
    pub ready_timeout_ms: String,
}

/// A registered version. Subject: the model's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelVersionRecord {
    /// Name and number.
    pub version: ModelVersion,
    /// The run that made it.
    pub run: RunId,
    /// The step that made it.
    pub step: StepName,
    /// The step's output.
    pub output: String,
    /// The provenance statement of that step.
    pub provenance: Digest,
    /// How it is started.
    pub serve: ServeSpec,
    /// When it was registered.
    pub registered_at: Timestamp,
}

/// A person's decision. Subject: the model's digest. Who decided is the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// What the approver saw.
    pub version: ModelVersion,
    /// Where it may go; nowhere else.
    pub environment: EnvironmentName,
    /// Why.
    pub reason: String,
    /// Who says to have decided; it must be the holder of the signing key.
    pub approver: String,
    /// When.
    pub approved_at: Timestamp,
}

/// Who evaluated the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verifier {
    /// URI.
    pub id: String,
    /// Versions by component.
    pub version: BTreeMap<String, String>,
}

/// The policy that was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerificationPolicy {
    /// The policy file's name.
    pub uri: String,
    /// Blob with its exact bytes.
    pub digest: DigestSet,
}

/// SLSA verification summary: a version was admitted to an environment. Subject: the model's digest.
///
/// Format: <https://slsa.dev/spec/v1.2/verification_summary>.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Promotion {
    /// Who evaluated.
    pub verifier: Verifier,
    /// When.
    pub time_verified: Timestamp,
    /// `lineal://<environment>/<model>/<version>`.
    pub resource_uri: String,
    /// Which policy.
    pub policy: VerificationPolicy,
    /// The statements that the policy accepted.
    pub input_attestations: Vec<ResourceDescriptor>,
    /// `PASSED`; a refusal is not recorded as a promotion.
    pub verification_result: String,
    /// Names of the rules that held.
    pub verified_levels: Vec<String>,
}

impl Promotion {
    /// The resource that `version` is in `environment`.
    pub fn resource_uri(environment: &EnvironmentName, version: &ModelVersion) -> String {
        format!("lineal://{environment}/{version}")
    }

    /// Environment and version of [`Promotion::resource_uri`], if it is one.
    pub fn resource(&self) -> Option<(EnvironmentName, ModelVersion)> {
        let (environment, version) = self.resource_uri.strip_prefix("lineal://")?.split_once('/')?;
        Some((environment.parse().ok()?, version.parse().ok()?))
    }
}
