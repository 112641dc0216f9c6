//! `PipelineRun`: one execution of a pipeline.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Determinism;
use crate::schema;

/// Which pipeline is run, and with what. It cannot be changed: a run that is started has one plan.
///
/// Deleting the object cancels a run that is not finished. What was recorded stays in the ledger.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "lineal.dev",
    version = "v1alpha1",
    kind = "PipelineRun",
    namespaced,
    doc = "One execution of a pipeline.",
    status = "PipelineRunStatus",
    shortname = "plr",
    category = "lineal",
    printcolumn(name = "Pipeline", type_ = "string", json_path = ".spec.pipeline"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Steps", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Cached", type_ = "integer", json_path = ".status.cachedSteps"),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.runId"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new("self == oldSelf").message(
    "the spec of a PipelineRun cannot be changed; create another PipelineRun"
)]))]
pub struct PipelineRunSpec {
    /// The name of the `Pipeline` in the same namespace. The run keeps to what it says when the run starts.
    #[schemars(with = "schema::Name")]
    pub pipeline: String,
    /// The tree with the code and the contracts that the pipeline names, as `lineal source import` prints it. Needed if
    /// the pipeline names any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Digest>")]
    pub source: Option<String>,
    /// Parameters in place of those of the pipeline, as `lineal run --set` takes them: `trees=200`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<schema::Override>", length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub set: Vec<String>,
    /// The Kueue queue that the Jobs of its steps wait in: they are made suspended, with its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Name>")]
    pub queue: Option<String>,
    /// The root seed in place of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seed: Option<i64>,
    /// The mode in place of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub determinism: Option<Determinism>,
}

/// How a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineRunStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Succeeded`: unknown while it runs, then true or false for good. `Ready` is not used for runs.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// How it stands, in one word.
    pub phase: Option<RunPhase>,
    /// Why, in a sentence.
    #[schemars(with = "Option<schema::Text>")]
    pub message: Option<String>,
    /// The id of the run in the ledger.
    #[schemars(with = "Option<schema::RunId>")]
    pub run_id: Option<String>,
    /// The digest of the pipeline as it was when the run started.
    #[schemars(with = "Option<schema::Digest>")]
    pub pipeline_digest: Option<String>,
    /// Finished steps and all steps: `3/5`.
    #[schemars(with = "Option<schema::Progress>")]
    pub progress: Option<String>,
    /// Steps whose outputs were there already.
    #[schemars(range(min = 0))]
    pub cached_steps: Option<i64>,
    /// When the first step began.
    #[schemars(with = "Option<schema::Time>")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[schemars(with = "Option<schema::Time>")]
    pub finished_at: Option<Time>,
    /// The digest of the statement that seals the run.
    #[schemars(with = "Option<schema::Digest>")]
    pub statement: Option<String>,
    /// Every step.
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepStatus>,
}

/// The words of Argo Workflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunPhase {
    /// Nothing was started yet.
    Pending,
    /// Steps run.
    Running,
    /// Every step has its outputs.
    Succeeded,
    /// A step failed.
    Failed,
    /// The run could not be made, for a reason that is not a step's.
    Error,
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The step.
    #[schemars(with = "schema::Name")]
    pub name: String,
    /// How it stands, in one word.
    pub phase: RunPhase,
    /// Whether its outputs were there already.
    #[serde(default)]
    pub cached: bool,
    /// How often it was started.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attempts: i64,
    /// The Job that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::ObjectName>")]
    pub job: Option<String>,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Line>")]
    pub message: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub finished_at: Option<Time>,
}
