//! What statements say: standard predicates first, our own under `https://lineal.dev/attestation/`.
//!
//! Numbers are strings, so that no reader's floating point can change what was signed.

mod model;
mod model_signature;
mod provenance;
mod record;
mod rollout;
mod test_result;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use model::{Approval, ModelVersionRecord, Promotion, ServeSpec, VerificationPolicy, Verifier};
pub use model_signature::{ModelSignature, Serialization, SignedResource};
pub use provenance::{
    BuildDefinition, Builder, Entropy, ExternalParameters, InternalParameters, RunDetails, RunMetadata,
    STEP_BUILD_TYPE, StepProvenance,
};
pub use record::{
    Artifact, ArtifactKind, DatasetSnapshot, Incident, KeyRecord, KeyRole, KeyState, RunSealed, RunStep,
};
pub use rollout::{MetricEvidence, RolloutRecord, RolloutTransition};
pub use test_result::{Outcome, ResourceDescriptor, TestResult};

use crate::json::JsonError;

macro_rules! predicates {
    ($($(#[$doc:meta])* $variant:ident($type:ident) = $uri:literal;)*) => {
        /// The closed set of predicates that this build understands.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(clippy::large_enum_variant, reason = "statements are handled one at a time")]
        pub enum Predicate {
            $($(#[$doc])* $variant($type),)*
            /// A predicate type of a later build: kept, verified, shown as unknown, never interpreted.
            Unknown {
                /// The predicate type URI.
                kind: String,
                /// The predicate as it stands.
                value: Value,
            },
        }

        impl Predicate {
            /// The predicate type URI.
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $uri,)*
                    Self::Unknown { kind, .. } => kind,
                }
            }

            /// The JSON form.
            pub(crate) fn to_value(&self) -> Result<Value, JsonError> {
                let value = match self {
                    $(Self::$variant(predicate) => serde_json::to_value(predicate),)*
                    Self::Unknown { value, .. } => Ok(value.clone()),
                };
                value.map_err(|e| JsonError::Shape(e.to_string()))
            }

            /// Reads the predicate of type `kind`.
            pub(crate) fn from_value(kind: &str, value: Value) -> Result<Self, JsonError> {
                Ok(match kind {
                    $($uri => Self::$variant(shaped(value)?),)*
                    _ => Self::Unknown { kind: kind.to_owned(), value },
                })
            }
        }
    };
}

predicates! {
    /// A key and its role, or its end.
    Key(KeyRecord) = "https://lineal.dev/attestation/key/v1";
    /// A dataset snapshot was frozen.
    Dataset(DatasetSnapshot) = "https://lineal.dev/attestation/dataset/v1";
    /// A step made its outputs.
    Provenance(StepProvenance) = "https://slsa.dev/provenance/v1";
    /// A run ended; its steps and results can no longer change.
    RunSealed(RunSealed) = "https://lineal.dev/attestation/run-sealed/v1";
    /// A gate or another test gave its verdict.
    TestResult(TestResult) = "https://in-toto.io/attestation/test-result/v0.1";
    /// A model version was registered.
    ModelVersion(ModelVersionRecord) = "https://lineal.dev/attestation/model-version/v1";
    /// The files of a model were signed (OpenSSF Model Signing).
    ModelSignature(ModelSignature) = "https://model_signing/signature/v1.0";
    /// A person approved.
    Approval(Approval) = "https://lineal.dev/attestation/approval/v1";
    /// A policy admitted a version to an environment (SLSA verification summary).
    Promotion(Promotion) = "https://slsa.dev/verification_summary/v1";
    /// A rollout moved traffic.
    Rollout(RolloutRecord) = "https://lineal.dev/attestation/rollout-step/v1";
    /// A recorded contradiction.
    Incident(Incident) = "https://lineal.dev/attestation/incident/v1";
}

impl Predicate {
    /// A short noun for tables: `dataset`, `provenance`, `approval`...
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Dataset(_) => "dataset",
            Self::Provenance(_) => "provenance",
            Self::RunSealed(_) => "run-sealed",
            Self::TestResult(_) => "test-result",
            Self::ModelVersion(_) => "model-version",
            Self::ModelSignature(_) => "model-signature",
            Self::Approval(_) => "approval",
            Self::Promotion(_) => "promotion",
            Self::Rollout(_) => "rollout-step",
            Self::Incident(_) => "incident",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The role of the keys whose signature makes the statement count; `None` where this build cannot say.
    pub const fn signed_by(&self) -> Option<KeyRole> {
        match self {
            Self::Key(_)
            | Self::Dataset(_)
            | Self::Provenance(_)
            | Self::RunSealed(_)
            | Self::TestResult(_)
            | Self::ModelVersion(_)
            | Self::ModelSignature(_)
            | Self::Promotion(_)
            | Self::Rollout(_)
            | Self::Incident(_) => Some(KeyRole::Builder),
            Self::Approval(_) => Some(KeyRole::Approver),
            Self::Unknown { .. } => None,
        }
    }
}

fn shaped<T: DeserializeOwned>(value: Value) -> Result<T, JsonError> {
    serde_json::from_value(value).map_err(|e| JsonError::Shape(e.to_string()))
}
