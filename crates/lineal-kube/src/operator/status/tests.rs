use std::collections::BTreeMap;

use super::*;
use crate::resource::PipelineRunSpec;

const NOW: i64 = 1_790_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(NOW + seconds * 1000)
}

fn object() -> PipelineRun {
    let spec = PipelineRunSpec {
        queue: None,
        pipeline: "flights".to_owned(),
        source: None,
        set: Vec::new(),
        seed: None,
        determinism: None,
    };
    let mut object = PipelineRun::new("nightly", spec);
    object.metadata.generation = Some(3);
    object
}

fn outcome(step: &str, reused: bool) -> StepOutcome {
    StepOutcome {
        step: step.parse().unwrap(),
        reused,
        why: "first line\nsecond".to_owned(),
        cache_key: Digest::of(b"key"),
        wall_ms: 5,
        entropy: String::new(),
        entropy_askers: Vec::new(),
        uncontrolled: Vec::new(),
        outputs: BTreeMap::new(),
    }
}

fn begun_with(steps: &[&str]) -> PipelineRunStatus {
    let steps: Vec<StepName> = steps.iter().map(|name| name.parse().unwrap()).collect();
    let run = RunId::derive(&Digest::of(b"plan"), at(0), 1);
    begun(&object(), &run, &Digest::of(b"pipeline"), &steps, at(0))
}

#[test]
fn a_run_goes_from_its_first_step_to_its_seal() {
    let mut status = begun_with(&["prepare", "train"]);
    assert_eq!((status.progress.as_deref(), status.observed_generation), (Some("0/2"), Some(3)));
    step_done(&mut status, &outcome("prepare", true), at(1));
    job_made(&mut status, "train", "nightly-train-1", at(1));
    assert_eq!((status.progress.as_deref(), status.cached_steps), (Some("1/2"), Some(1)));
    assert_eq!(status.steps[0].message.as_deref(), Some("first line second"));
    assert_eq!((status.steps[1].phase, status.steps[1].attempts), (RunPhase::Running, 1));
    let (run, statement) = (RunId::derive(&Digest::of(b"plan"), at(0), 1), Digest::of(b"seal"));
    let outcome = RunOutcome {
        run,
        pipeline: "flights".parse().unwrap(),
        unchanged: false,
        statement,
        steps: vec![outcome("prepare", true), outcome("train", false)],
        warnings: Vec::new(),
    };
    succeeded(&mut status, &outcome, at(2));
    assert_eq!((status.phase, status.progress.as_deref()), (Some(RunPhase::Succeeded), Some("2/2")));
    assert_eq!(status.statement.as_deref(), Some(statement.to_string().as_str()));
    let condition = &status.conditions[0];
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), (SUCCEEDED, "True"));
    assert_eq!(condition.last_transition_time, time(at(2)));
}

#[test]
fn what_a_step_did_is_a_failure_and_all_else_an_error() {
    for (code, phase, reason) in
        [(Code::Step, RunPhase::Failed, "StepFailed"), (Code::Storage, RunPhase::Error, "Error")]
    {
        let mut status = begun_with(&["train"]);
        let failure = Failure::new(code, "it printed:\n | no\0 more");
        step_failed(&mut status, &"train".parse().unwrap(), &failure, at(1));
        failed(&mut status, &failure, at(1));
        assert_eq!((status.phase, status.steps[0].phase), (Some(phase), phase));
        assert_eq!(status.steps[0].message.as_deref(), Some("it printed:  | no  more"));
        assert_eq!(status.conditions[0].reason, reason);
        let text = status.message.unwrap();
        assert!(
            text.contains('\n') && !text.contains('\0') && text.ends_with(&format!("[{}]", code.as_str()))
        );
    }
}

#[test]
fn a_condition_keeps_its_time_while_it_does_not_change() {
    let mut status = begun_with(&["train"]);
    condition(&mut status, "Unknown", "Running", "still", at(60));
    assert_eq!(status.conditions[0].last_transition_time, time(at(0)));
    condition(&mut status, "False", "Error", "now", at(61));
    assert_eq!(status.conditions[0].last_transition_time, time(at(61)));
}

#[test]
fn only_an_end_is_final() {
    let mut object = object();
    assert!(!is_final(&object));
    for (phase, expected) in [
        (RunPhase::Pending, false),
        (RunPhase::Running, false),
        (RunPhase::Succeeded, true),
        (RunPhase::Failed, true),
        (RunPhase::Error, true),
    ] {
        object.status = Some(PipelineRunStatus { phase: Some(phase), ..PipelineRunStatus::default() });
        assert_eq!(is_final(&object), expected, "{phase:?}");
    }
}
