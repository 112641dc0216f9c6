//! Steps of a rollout, each with the evidence that justified it.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::{EnvironmentName, ModelVersion, RolloutId};
use crate::sequence::Sequence;
use crate::time::Timestamp;

/// What a rollout step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutTransition {
    /// The rollout began, or the first version went live at once.
    Started,
    /// The canary's weight rose.
    Advanced,
    /// All traffic goes to the new version.
    Promoted,
    /// All traffic went back to the stable version, by evidence.
    RolledBack,
    /// All traffic went back to the stable version, by a person.
    Aborted,
    /// No verdict within the time given; traffic went back to the stable version.
    Expired,
}

/// What one metric said at the moment of the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricEvidence {
    /// The metric.
    pub metric: String,
    /// `promote`, `hold` or `abort`.
    pub verdict: String,
    /// What was observed, in a sentence.
    pub summary: String,
    /// Observations of the stable version.
    pub stable_count: String,
    /// Observations of the canary.
    pub canary_count: String,
    /// Estimated harm of the canary, in the metric's unit.
    pub harm: String,
    /// Lower end of the confidence sequence of the harm.
    pub harm_lower: String,
    /// Upper end of the confidence sequence of the harm.
    pub harm_upper: String,
}

/// One step of a rollout. Subject: the new version's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutRecord {
    /// The rollout.
    pub rollout: RolloutId,
    /// Where.
    pub environment: EnvironmentName,
    /// The version that served before, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<ModelVersion>,
    /// The version that is rolled out.
    pub canary: ModelVersion,
    /// What this step did.
    pub transition: RolloutTransition,
    /// The canary's share of traffic from now on, in percent.
    pub canary_weight_percent: String,
    /// Generation of the route table that carries this out.
    pub generation: String,
    /// The cause, in a sentence: which metric, how much, how sure.
    pub cause: String,
    /// What each metric said.
    pub evidence: Vec<MetricEvidence>,
    /// Blob with the strategy and the sufficient statistics: replaying them gives the same verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Digest>,
    /// The place in the rollout.
    pub sequence: Sequence,
    /// When.
    pub decided_at: Timestamp,
}
