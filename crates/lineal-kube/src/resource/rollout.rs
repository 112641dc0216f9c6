//! `Rollout`: traffic of one model in one environment, and its way to another version.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which version is to have all traffic of a model in an environment.
///
/// Changing `version` starts a rollout by the strategy of the environment; the version must be promoted there. What a
/// person wants of a rollout that is under way is a `RolloutAction`.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    doc = "Traffic of one model in one environment, moved to another version by evidence.",
    status = "RolloutStatus",
    shortname = "lro",
    category = "lineal",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weight"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Stable", type_ = "integer", json_path = ".status.stableVersion"),
    printcolumn(name = "Canary", type_ = "integer", json_path = ".status.canaryVersion"),
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model", priority = 1),
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self.model == oldSelf.model")
        .message("the model of a Rollout cannot be changed; create another Rollout"),
    Rule::new("self.environment == oldSelf.environment")
        .message("the environment of a Rollout cannot be changed; create another Rollout"),
]))]
pub struct RolloutSpec {
    /// The model.
    #[schemars(with = "schema::Name")]
    pub model: String,
    /// The environment, by the name of its object in the same namespace. Its policy says how traffic moves.
    #[schemars(with = "schema::Name")]
    pub environment: String,
    /// The version that is to have all traffic.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub version: i64,
}

/// Where a rollout stands. True of the spec only if `observedGeneration` is the object's generation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Available`, `Progressing`, `Paused`, `Completed`, `Healthy` and `InvalidSpec`, as of Argo Rollouts.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// How it stands, in one word.
    pub phase: Option<RolloutPhase>,
    /// Why, in a sentence.
    #[schemars(with = "Option<schema::Text>")]
    pub message: Option<String>,
    /// The id of the rollout in the ledger.
    #[schemars(with = "Option<schema::RolloutId>")]
    pub rollout_id: Option<String>,
    /// The current step and all steps: `2/4`.
    #[schemars(with = "Option<schema::Progress>")]
    pub step: Option<String>,
    /// The position of the current step, from 0.
    #[schemars(range(min = 0, max = 20))]
    pub current_step_index: Option<i64>,
    /// The canary's share of traffic, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<i64>,
    /// What the evidence says: `promote`, `hold` or `abort`, and how strong it is.
    #[schemars(with = "Option<schema::Line>")]
    pub verdict: Option<String>,
    /// The version that served before.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub stable_version: Option<i64>,
    /// The version that is rolled out.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub canary_version: Option<i64>,
    /// How the latest rollout ended.
    pub outcome: Option<RolloutOutcome>,
    /// When it started.
    #[schemars(with = "Option<schema::Time>")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[schemars(with = "Option<schema::Time>")]
    pub finished_at: Option<Time>,
    /// What each metric says.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub metrics: Vec<MetricStatus>,
    /// The digest of the latest statement about it.
    #[schemars(with = "Option<schema::Digest>")]
    pub statement: Option<String>,
}

/// The words of Argo Rollouts, which health checks know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// The version has all traffic.
    Healthy,
    /// Waiting for the canary to be ready, or for evidence.
    Progressing,
    /// The weight stands until a person says otherwise.
    Paused,
    /// The canary has no traffic; aborted, harmful, dead or expired.
    Degraded,
}

/// How a rollout ended, in the words of Argo Rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutOutcome {
    /// By evidence, step by step.
    Promoted,
    /// By a person, without waiting for evidence.
    FastPromoted,
    /// By a person.
    Aborted,
    /// Another version took its place.
    Superseded,
    /// By evidence of harm, or for want of a verdict in time.
    RolledBack,
    /// To a version that had all traffic before, at once.
    FastRolledBack,
}

/// What one metric says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// `errors`, `slow` or `loss`.
    #[schemars(with = "schema::Name")]
    pub name: String,
    /// `promote`, `hold` or `abort`.
    #[schemars(with = "schema::Line")]
    pub verdict: String,
    /// What was observed, in a sentence.
    #[schemars(with = "schema::Line")]
    pub summary: String,
    /// Estimated harm of the canary, in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Decimal>")]
    pub harm: Option<String>,
}
