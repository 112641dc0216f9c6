//! `Promotion`: the wish that a version may serve in an environment, and the answer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which version is to be admitted, and where. It cannot be changed.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "Promotion",
    namespaced,
    doc = "A model version that is to be admitted to an environment, and the decision of its policy.",
    status = "PromotionStatus",
    shortname = "promo",
    category = "lineal",
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".spec.version"),
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new("self == oldSelf").message(
    "the spec of a Promotion cannot be changed; create another Promotion"
)]))]
pub struct PromotionSpec {
    /// The model.
    #[schemars(with = "schema::Name")]
    pub model: String,
    /// Its version.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub version: i64,
    /// The digest that the version must have. Without it, the one that the ledger has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Digest>")]
    pub digest: Option<String>,
    /// The environment, by the name of its object in the same namespace.
    #[schemars(with = "schema::Name")]
    pub environment: String,
}

/// What the policy said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PromotionStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Admitted`: whether every rule holds.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// How it stands, in one word.
    pub phase: Option<PromotionPhase>,
    /// What is missing, in a sentence.
    #[schemars(with = "Option<schema::Text>")]
    pub message: Option<String>,
    /// What each rule says.
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rules: Vec<RuleStatus>,
    /// The digest of the statement that records the decision.
    #[schemars(with = "Option<schema::Digest>")]
    pub statement: Option<String>,
    /// When it was decided.
    #[schemars(with = "Option<schema::Time>")]
    pub decided_at: Option<Time>,
}

/// How a promotion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PromotionPhase {
    /// A rule does not hold yet, for want of something that can come, such as an approval.
    Pending,
    /// Every rule holds, and it is recorded.
    Admitted,
    /// It can never be admitted: another digest, no such version.
    Refused,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// The rule.
    #[schemars(with = "schema::Name")]
    pub name: String,
    /// Whether it holds.
    pub held: bool,
    /// What is required and what to do.
    #[schemars(with = "schema::Text")]
    pub message: String,
}
