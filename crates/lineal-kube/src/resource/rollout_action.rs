//! `RolloutAction`: what a person wants of a rollout that is under way.
//!
//! Argo Rollouts keeps such wishes in the status, where a rebuilt status loses them and a later patch overwrites an
//! abort. Here each is an object of its own that cannot be changed, and an abort wins over every other one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What is to be done to which rollout, by whom and why. It cannot be changed.
///
/// `Abort` wins over every other action of the same rollout, whichever came first. It needs no signature, and neither
/// do `Pause` and `Resume`: nothing may stand in the way of taking traffic back.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "RolloutAction",
    namespaced,
    doc = "What a person wants of a rollout that is under way: promote, pause, resume or abort.",
    status = "RolloutActionStatus",
    shortname = "roa",
    category = "lineal",
    printcolumn(name = "Rollout", type_ = "string", json_path = ".spec.rollout"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self == oldSelf")
        .message("the spec of a RolloutAction cannot be changed; create another RolloutAction"),
    Rule::new("!(self.action in ['Promote', 'PromoteFull']) || has(self.bundle)")
        .message("going on without evidence must be signed; add `bundle`, or wait for the evidence"),
]))]
pub struct RolloutActionSpec {
    /// The name of the `Rollout` in the same namespace.
    #[schemars(with = "schema::ObjectName")]
    pub rollout: String,
    /// The one rollout that is meant, by `status.rolloutId`; an action about another one is not carried out.
    /// Without it, the rollout that is under way when the action is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::RolloutId>")]
    pub rollout_id: Option<String>,
    /// What to do.
    pub action: Action,
    /// Who wants it, as they say. The holder of the key if it is signed.
    #[schemars(with = "schema::Line")]
    pub by: String,
    /// Why it is wanted.
    #[schemars(with = "schema::Text")]
    pub reason: String,
    /// The signed statement, a Sigstore bundle as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Bundle>")]
    pub bundle: Option<String>,
}

/// The verbs of Argo Rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Go on by one step without waiting for evidence.
    Promote,
    /// Go all the way without waiting for evidence.
    PromoteFull,
    /// Let the weight stand. Evidence of harm still ends the rollout.
    Pause,
    /// End a pause.
    Resume,
    /// Send all traffic back.
    Abort,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutActionStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Applied`: whether it was carried out.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// How it stands, in one word.
    pub phase: Option<ActionPhase>,
    /// Why, in a sentence.
    #[schemars(with = "Option<schema::Text>")]
    pub message: Option<String>,
    /// When it was carried out.
    #[schemars(with = "Option<schema::Time>")]
    pub applied_at: Option<Time>,
}

/// How an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActionPhase {
    /// Not seen to the end yet.
    Pending,
    /// Carried out.
    Applied,
    /// An abort won, or the rollout had ended.
    Superseded,
    /// Not carried out: no such rollout, or the signature does not hold.
    Refused,
}
