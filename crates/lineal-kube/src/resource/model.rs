//! `Model`: a registered name and its versions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which versions a model has, and which names point to them. A version that is listed stays, and stays what it is.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "Model",
    namespaced,
    doc = "A registered model: a name, its immutable versions, and aliases that move.",
    status = "ModelStatus",
    shortname = "mdl",
    category = "lineal",
    printcolumn(name = "Latest", type_ = "integer", json_path = ".status.latestVersion"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.latestDigest", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!has(oldSelf.versions) || has(self.versions) && oldSelf.versions.all(o, self.versions.exists(v, v.version == o.version))")
        .message("a version cannot be removed; put it back, and move the aliases to another version instead"),
    Rule::new("!has(self.aliases) || self.aliases.all(a, has(self.versions) && self.versions.exists(v, v.version == a.version))")
        .message("an alias points to a version that is not listed; add it under `versions`, or use one from there"),
]))]
pub struct ModelSpec {
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Text>")]
    pub description: Option<String>,
    /// The versions by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["version"])
    )]
    pub versions: Vec<ModelVersionSpec>,
    /// Names that point to a version, as `champion`; they may move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["alias"]))]
    pub aliases: Vec<ModelAlias>,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self.digest == oldSelf.digest")
        .message("the digest of a version cannot be changed; add another version"),
    Rule::new("!has(oldSelf.run) || has(self.run) && self.run == oldSelf.run")
        .message("the run of a version cannot be changed; add another version"),
]))]
pub struct ModelVersionSpec {
    /// The version, from 1.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub version: i64,
    /// The digest of its bytes.
    #[schemars(with = "schema::Digest")]
    pub digest: String,
    /// The run that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::RunId>")]
    pub run: Option<String>,
}

/// A name for a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelAlias {
    /// The name.
    #[schemars(with = "schema::Name")]
    pub alias: String,
    /// The version that it points to.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub version: i64,
}

/// What the ledger has of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Ready`: whether every version is in the ledger and its bytes in the store.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// The highest version.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub latest_version: Option<i64>,
    /// Its digest.
    #[schemars(with = "Option<schema::Digest>")]
    pub latest_digest: Option<String>,
}
