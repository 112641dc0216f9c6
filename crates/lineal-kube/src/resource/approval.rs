//! `Approval`: a person's signed decision.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What a person approved. It cannot be changed.
///
/// What counts is the signed statement; the other fields are what it says, for people and for columns. An object whose
/// fields and statement differ does not count.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "Approval",
    namespaced,
    doc = "A person's signed decision that a model version may go to an environment.",
    status = "ApprovalStatus",
    shortname = "appr",
    category = "lineal",
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".spec.version"),
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment"),
    printcolumn(name = "Approver", type_ = "string", json_path = ".spec.approver"),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Verified\")].status"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new("self == oldSelf").message(
    "the spec of an Approval cannot be changed, because it is signed; create another Approval"
)]))]
pub struct ApprovalSpec {
    /// The model.
    #[schemars(with = "schema::Name")]
    pub model: String,
    /// Its version.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub version: i64,
    /// The digest that the approver saw.
    #[schemars(with = "schema::Digest")]
    pub digest: String,
    /// Where it may go; nowhere else.
    #[schemars(with = "schema::Name")]
    pub environment: String,
    /// Who says to have decided; must be the holder of the signing key.
    #[schemars(with = "schema::Line")]
    pub approver: String,
    /// Why it is approved.
    #[schemars(with = "schema::Text")]
    pub reason: String,
    /// The signed statement, a Sigstore bundle as JSON text. Without a signature there is no approval.
    #[schemars(with = "schema::Bundle")]
    pub bundle: String,
}

/// Whether an approval counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApprovalStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Verified`: whether the signature is good, its key is an approver's, and the fields say what was signed.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// The digest of the statement in the ledger.
    #[schemars(with = "Option<schema::Digest>")]
    pub statement: Option<String>,
}
