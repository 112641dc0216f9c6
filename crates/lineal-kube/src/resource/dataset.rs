//! `Dataset`: a name and its snapshots.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which snapshots a dataset has. One that is listed stays, and stays what it is.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "Dataset",
    namespaced,
    doc = "A dataset: a name and its immutable snapshots.",
    status = "DatasetStatus",
    shortname = "dset",
    category = "lineal",
    printcolumn(name = "Latest", type_ = "string", json_path = ".status.latestTag"),
    printcolumn(name = "Snapshots", type_ = "integer", json_path = ".status.snapshotCount"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.latestDigest", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
    "!has(oldSelf.snapshots) || has(self.snapshots) && oldSelf.snapshots.all(o, self.snapshots.exists(s, s.tag == o.tag))"
).message("a snapshot cannot be removed, because its tag never moves; put it back and add others beside it")]))]
pub struct DatasetSpec {
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Text>")]
    pub description: Option<String>,
    /// The data contract that every new snapshot must keep, as the YAML text of a `Contract`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub contract: Option<String>,
    /// The snapshots by tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["tag"]))]
    pub snapshots: Vec<DatasetSnapshot>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!has(oldSelf.digest) || has(self.digest) && self.digest == oldSelf.digest")
        .message("the digest of a snapshot cannot be changed; give the other bytes another tag"),
    Rule::new("!has(oldSelf.storageUri) || has(self.storageUri) && self.storageUri == oldSelf.storageUri")
        .message("the storageUri of a snapshot cannot be changed; give the other bytes another tag"),
    Rule::new("has(self.digest) || has(self.storageUri)")
        .message("a snapshot needs `digest` (bytes that the store has) or `storageUri` (where to read them)"),
]))]
pub struct DatasetSnapshot {
    /// Its name; `dataset://NAME@TAG` in pipelines.
    #[schemars(with = "schema::Tag")]
    pub tag: String,
    /// The digest of its manifest. If it is given, bytes that differ are refused. It can be set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Digest>")]
    pub digest: Option<String>,
    /// Where the bytes are read from, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::StorageUri>")]
    pub storage_uri: Option<String>,
}

/// What the ledger has of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatasetStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Ready`: whether every snapshot is in the ledger and its bytes in the store.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// The tag that was recorded last.
    #[schemars(with = "Option<schema::Tag>")]
    pub latest_tag: Option<String>,
    /// Its digest.
    #[schemars(with = "Option<schema::Digest>")]
    pub latest_digest: Option<String>,
    /// The number of snapshots that are recorded.
    #[schemars(range(min = 0))]
    pub snapshot_count: Option<i64>,
    /// The snapshots that are recorded.
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["tag"]))]
    pub snapshots: Vec<SnapshotStatus>,
}

/// A snapshot that is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// Its tag.
    #[schemars(with = "schema::Tag")]
    pub tag: String,
    /// The digest of its manifest.
    #[schemars(with = "schema::Digest")]
    pub digest: String,
    /// The number of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub files: Option<i64>,
    /// Their size together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_bytes: Option<i64>,
    /// The digest of the statement that records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Digest>")]
    pub statement: Option<String>,
    /// When it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub recorded_at: Option<Time>,
}
