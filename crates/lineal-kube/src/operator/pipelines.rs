//! What a `Pipeline` says of itself: whether it is one, and how its last run stands.
//!
//! The API server refuses most mistakes; the parser has the last word, and it is told before anybody runs the pipeline.
//! Nothing is decided by this status: a run parses what it is given.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use lineal_app::now;
use lineal_facts::Timestamp;
use serde_json::{Value, json};

use super::Operator;
use super::attempts::{api, each};
use super::status;
use crate::resource::{Pipeline, PipelineRun, RunPhase};

const READY: &str = "Ready";

/// Judges pipelines until the process ends.
pub(super) async fn follow(operator: &Operator, namespace: Option<&str>) {
    let events = watcher(api::<Pipeline>(&operator.client, namespace), watcher::Config::default());
    let followed = each(events, &operator.complain, async |event| match event {
        watcher::Event::Apply(pipeline) | watcher::Event::InitApply(pipeline) => {
            if let Some(status) = judged(&pipeline, now()) {
                patch(operator, &pipeline.namespace().unwrap_or_default(), &pipeline.name_any(), &status)
                    .await;
            }
        }
        watcher::Event::Init | watcher::Event::InitDone | watcher::Event::Delete(_) => {}
    });
    followed.await;
}

/// Tells how the run stands, which is the last one that began or ended.
pub(super) async fn last_run(operator: &Operator, run: &PipelineRun, phase: RunPhase) {
    let status = json!({"lastRun": {"name": run.name_any(), "phase": format!("{phase:?}")}});
    patch(operator, &run.namespace().unwrap_or_default(), &run.spec.pipeline, &status).await;
}

/// What has to be told of the pipeline; `None` if its status says so already.
fn judged(pipeline: &Pipeline, now: Timestamp) -> Option<Value> {
    let generation = pipeline.meta().generation;
    let (holds, reason, message, steps) = match pipeline.parse() {
        Ok(parsed) => ("True", "Valid", "it can be run".to_owned(), Some(parsed.steps().len())),
        Err(error) => ("False", "Invalid", status::text(&lineal_facts::error::chain(&error)), None),
    };
    let before = pipeline.status.as_ref();
    let told = before.and_then(|status| status.conditions.iter().find(|c| c.type_ == READY));
    let same = told.is_some_and(|c| c.status == holds && c.message == message);
    if same && before.is_some_and(|status| status.observed_generation == generation) {
        return None;
    }
    let since = told.filter(|c| c.status == holds).map(|c| c.last_transition_time.clone());
    let condition = Condition {
        type_: READY.to_owned(),
        status: holds.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| status::time(now)),
    };
    Some(json!({"observedGeneration": generation, "conditions": [condition], "steps": steps}))
}

/// It is told again with the next change, or the next start.
async fn patch(operator: &Operator, namespace: &str, name: &str, status: &Value) {
    let api: Api<Pipeline> = Api::namespaced(operator.client.clone(), namespace);
    let patch = Patch::Merge(json!({"status": status}));
    match api.patch_status(name, &PatchParams::default(), &patch).await {
        Ok(_) => {}
        // Deleted meanwhile.
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        Err(error) => (operator.complain)(&format!("the status of Pipeline {name} cannot be told: {error}")),
    }
}

#[cfg(test)]
mod tests;
