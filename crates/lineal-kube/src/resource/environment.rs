//! `Environment`: what a model version needs before it may serve there, and how traffic moves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What must hold before a version may serve here, who may approve, and how traffic moves.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "Environment",
    namespaced,
    doc = "A place where models serve, such as production: its policy, its approvers and the gates that must pass.",
    status = "EnvironmentStatus",
    shortname = "lenv",
    category = "lineal",
    printcolumn(name = "Approvals", type_ = "integer", json_path = ".spec.requiredApprovals"),
    printcolumn(name = "Gates", type_ = "string", json_path = ".spec.gates"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!has(self.requiredApprovals) || self.requiredApprovals == 0 || (has(self.approvers) && self.approvers.size() >= self.requiredApprovals)")
        .message("requiredApprovals is more than there are approvers; add approvers, or require fewer approvals"),
]))]
pub struct EnvironmentSpec {
    /// The rules that must hold.
    pub policy: Policy,
    /// The gates whose latest verdict must be `passed`, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<schema::Name>", length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub gates: Vec<String>,
    /// Who may approve. Without any, whoever holds an approver's key of the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub approvers: Vec<Approver>,
    /// How many of them must; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub required_approvals: Option<i64>,
    /// How traffic moves to a promoted version; what is absent has the default of policy files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStrategy>,
}

/// The rules of an environment, as in a `Policy` file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// All of them must hold. To admit everything, write the rule `true`.
    #[schemars(
        length(min = 1, max = 100),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rules: Vec<PolicyRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Its name.
    #[schemars(with = "schema::Name")]
    pub name: String,
    /// A CEL expression over `model`, `gates`, `approvals`, `provenance`, `run` and others (docs/formats.md).
    #[schemars(with = "schema::Expression")]
    pub expr: String,
    /// What is required and what to do; `{{subject}}` and `{{environment}}` are filled in.
    #[schemars(with = "schema::RuleMessage")]
    pub message: String,
}

/// A person who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approver {
    /// The holder of the key, as approvals name it.
    #[schemars(with = "schema::Line")]
    pub name: String,
    /// The digest of the public key (SubjectPublicKeyInfo, DER). Without it, the ledger's keyring decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Digest>")]
    pub key_digest: Option<String>,
}

/// How traffic moves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStrategy {
    /// The canary's share of traffic, step by step, in percent; rises and ends with 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "Option<Vec<schema::Percent>>",
        length(min = 1, max = 20),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = step_rules())
    )]
    pub steps: Option<Vec<i64>>,
    /// Requests that the canary must answer in each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub min_requests: Option<i64>,
    /// Requests that the canary answers before slow ones count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000_000_i64))]
    pub warm_up_requests: Option<i64>,
    /// Bound on the probability of a false abort, and on that of a false promotion, over the whole rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 0.2))]
    pub alpha: Option<f64>,
    /// How much worse the canary may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margins: Option<RolloutMargins>,
    /// A step without a verdict for this long ends the rollout as expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_step_seconds: Option<i64>,
    /// Requests that take longer count as slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub slow_after_ms: Option<i64>,
}

/// The harm that is tolerated, metric by metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutMargins {
    /// Rise of the share of failed requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub errors: Option<f64>,
    /// Rise of the share of slow requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub slow: Option<f64>,
    /// Rise of the mean loss of requests with a known outcome, in the loss's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub loss: Option<f64>,
}

/// What the cluster last saw of an environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvironmentStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Ready`: whether every rule can be compiled; if not, the message says which one and why.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// The digest of the policy that is in force.
    #[schemars(with = "Option<schema::Digest>")]
    pub policy_digest: Option<String>,
}

fn step_rules() -> Vec<Rule> {
    vec![
        Rule::new(
            "self[self.size() - 1] == 100 && self.isSorted() && self.all(a, self.exists_one(b, b == a))",
        )
        .message("give rising percentages from 1 that end with 100, such as [5, 25, 50, 100]"),
    ]
}
