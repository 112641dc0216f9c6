//! The status of a `PipelineRun`, from what its driver tells.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff;
use kube::Resource;
use lineal_app::run::{RunOutcome, StepOutcome};
use lineal_app::{Code, Failure};
use lineal_facts::{Digest, RunId, StepName, Timestamp};

use crate::resource::{PipelineRun, PipelineRunStatus, RunPhase, StepStatus};

/// Longest line of the schema.
const LINE_LIMIT: usize = 256;
/// Longest text of the schema.
const TEXT_LIMIT: usize = 4096;
/// The condition that says how the run ended.
pub(super) const SUCCEEDED: &str = "Succeeded";

/// The status of a run that begins.
pub(super) fn begun(
    run: &PipelineRun,
    id: &RunId,
    pipeline: &Digest,
    steps: &[StepName],
    now: Timestamp,
) -> PipelineRunStatus {
    let waiting = |name: &StepName| StepStatus {
        name: name.to_string(),
        phase: RunPhase::Pending,
        cached: false,
        attempts: 0,
        job: None,
        message: None,
        started_at: None,
        finished_at: None,
    };
    let mut status = PipelineRunStatus {
        observed_generation: run.meta().generation,
        phase: Some(RunPhase::Running),
        run_id: Some(id.to_string()),
        pipeline_digest: Some(pipeline.to_string()),
        cached_steps: Some(0),
        started_at: Some(time(now)),
        steps: steps.iter().map(waiting).collect(),
        ..PipelineRunStatus::default()
    };
    progress(&mut status);
    condition(&mut status, "Unknown", "Running", "steps run", now);
    status
}

/// A Job was made for a step.
pub(super) fn job_made(status: &mut PipelineRunStatus, step: &str, job: &str, now: Timestamp) {
    let Some(step) = status.steps.iter_mut().find(|s| s.name == step) else { return };
    step.phase = RunPhase::Running;
    step.attempts += 1;
    step.job = Some(job.to_owned());
    step.started_at.get_or_insert_with(|| time(now));
}

/// A step has its outputs.
pub(super) fn step_done(status: &mut PipelineRunStatus, outcome: &StepOutcome, now: Timestamp) {
    if let Some(step) = status.steps.iter_mut().find(|s| s.name == outcome.step.as_str()) {
        step.phase = RunPhase::Succeeded;
        step.cached = outcome.reused;
        step.message = Some(line(&outcome.why));
        step.finished_at = Some(time(now));
    }
    progress(status);
}

/// A step will have none.
pub(super) fn step_failed(
    status: &mut PipelineRunStatus,
    name: &StepName,
    failure: &Failure,
    now: Timestamp,
) {
    let Some(step) = status.steps.iter_mut().find(|s| s.name == name.as_str()) else { return };
    step.phase = phase(failure);
    step.message = Some(line(&failure.message));
    step.finished_at = Some(time(now));
}

/// The run ended well.
pub(super) fn succeeded(status: &mut PipelineRunStatus, outcome: &RunOutcome, now: Timestamp) {
    for step in &outcome.steps {
        step_done(status, step, now);
    }
    status.phase = Some(RunPhase::Succeeded);
    status.run_id = Some(outcome.run.to_string());
    status.statement = Some(outcome.statement.to_string());
    status.finished_at = Some(time(now));
    let text = match outcome.unchanged {
        true => format!("nothing to do: {} has exactly these results", outcome.run),
        false => format!("sealed as {}", outcome.run),
    };
    let reason = if outcome.unchanged { "Unchanged" } else { "Sealed" };
    status.message = Some(text.clone());
    condition(status, "True", reason, &text, now);
}

/// The run ended, and not well.
pub(super) fn failed(status: &mut PipelineRunStatus, failure: &Failure, now: Timestamp) {
    let phase = phase(failure);
    let reason = if phase == RunPhase::Failed { "StepFailed" } else { "Error" };
    let text = text(&format!("{} [{}]", failure.message, failure.code.as_str()));
    status.phase = Some(phase);
    status.message = Some(text.clone());
    status.finished_at = Some(time(now));
    condition(status, "False", reason, &text, now);
}

/// Whether nothing more will happen.
pub(super) fn is_final(run: &PipelineRun) -> bool {
    let phase = run.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(RunPhase::Succeeded | RunPhase::Failed | RunPhase::Error))
}

/// What a step did is a failure of the run; all else is an error of its surroundings.
fn phase(failure: &Failure) -> RunPhase {
    match failure.code {
        Code::Step | Code::StepTimeout | Code::StepOutput | Code::NotReproduced => RunPhase::Failed,
        _ => RunPhase::Error,
    }
}

fn progress(status: &mut PipelineRunStatus) {
    let done = status.steps.iter().filter(|step| step.phase == RunPhase::Succeeded);
    let cached = done.clone().filter(|step| step.cached).count();
    status.cached_steps = i64::try_from(cached).ok();
    status.progress = Some(format!("{}/{}", done.count(), status.steps.len()));
}

fn condition(status: &mut PipelineRunStatus, holds: &str, reason: &str, message: &str, now: Timestamp) {
    let before = status.conditions.iter().find(|c| c.type_ == SUCCEEDED && c.status == holds);
    let last_transition_time = before.map_or_else(|| time(now), |c| c.last_transition_time.clone());
    status.conditions = vec![Condition {
        type_: SUCCEEDED.to_owned(),
        status: holds.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: status.observed_generation,
        last_transition_time,
    }];
}

pub(super) fn time(at: Timestamp) -> Time {
    Time(jiff::Timestamp::from_second(at.unix_ms() / 1000).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// What the schema allows in a sentence or some.
pub(super) fn text(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(TEXT_LIMIT).collect()
}

/// What the schema allows in a line.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_LIMIT).collect()
}

#[cfg(test)]
mod tests;
