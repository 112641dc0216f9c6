use super::*;
use crate::analysis::{Arm, Moments};

mod properties;
mod traffic;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + ms)
}

fn start_with(stable: Option<&str>, strategy: Strategy) -> Start {
    Start {
        id: "rollout-0123456789ab".parse().unwrap(),
        environment: "production".parse().unwrap(),
        stable: stable.map(|s| s.parse().unwrap()),
        canary: "flights-delay/2".parse().unwrap(),
        strategy,
        generation: 41,
    }
}

fn started() -> Rollout {
    Rollout::start(start_with(Some("flights-delay/1"), Strategy::default()), at(0)).unwrap().0
}

fn ready() -> Rollout {
    started().step(Command::CanaryReady, at(10)).unwrap().0
}

fn abort() -> Command {
    Command::Abort { by: "ada".to_owned(), reason: "looks wrong".to_owned() }
}

fn promote(full: bool) -> Command {
    Command::Promote { full, by: "ada".to_owned(), reason: "hotfix".to_owned() }
}

fn arm(requests: u64, errors: u64) -> Arm {
    let mut loss = Moments::default();
    for i in 0..requests {
        loss.add((i % 5) as f64 / 10.0).unwrap();
    }
    Arm { requests, errors, timed: requests, slow: 0, loss }
}

fn observe(generation: u64, canary: (u64, u64), stable: (u64, u64)) -> Command {
    let (canary, stable) = (arm(canary.0, canary.1), arm(stable.0, stable.1));
    Command::Observe(vec![Observation { generation, stable, canary }])
}

fn records(effects: &[Effect]) -> Vec<&RolloutRecord> {
    fn record(effect: &Effect) -> Option<&RolloutRecord> {
        match effect {
            Effect::Record { record, .. } => Some(record),
            Effect::SetWeight { .. } | Effect::StopCanary | Effect::KeepStableWarm => None,
        }
    }
    effects.iter().filter_map(record).collect()
}

fn weights(effects: &[Effect]) -> Vec<(u32, u64)> {
    let weight = |effect: &Effect| match *effect {
        Effect::SetWeight { percent, generation } => Some((percent, generation)),
        Effect::Record { .. } | Effect::StopCanary | Effect::KeepStableWarm => None,
    };
    effects.iter().filter_map(weight).collect()
}

#[test]
fn the_first_version_goes_live_at_once_when_ready() {
    let (rollout, effects) = Rollout::start(start_with(None, Strategy::default()), at(0)).unwrap();
    assert!(effects.is_empty());
    let (rollout, effects) = rollout.step(Command::CanaryReady, at(5)).unwrap();
    assert_eq!((rollout.phase(), rollout.progress().weight_percent), ("Healthy", 100));
    assert_eq!(weights(&effects), [(100, 42)]);
    let records = records(&effects);
    assert_eq!((records.len(), records[0].transition), (1, RolloutTransition::Started));
    assert_eq!(records[0].canary_weight_percent, "100");
}

#[test]
fn a_start_that_makes_no_sense_is_refused() {
    let same = Rollout::start(start_with(Some("flights-delay/2"), Strategy::default()), at(0));
    assert!(matches!(same, Err(RolloutError::SameVersion(_))));
    let other = Rollout::start(start_with(Some("weather/2"), Strategy::default()), at(0));
    assert!(matches!(other, Err(RolloutError::OtherModel { .. })));
    let strategy = Strategy { steps: vec![5, 50], ..Strategy::default() };
    let error = Rollout::start(start_with(None, strategy), at(0)).unwrap_err();
    assert!(matches!(error, RolloutError::Analysis(_)));
}

#[test]
fn weight_waits_for_the_canary() {
    let rollout = started();
    let not_ready = Command::CanaryNotReady { reason: "loading".to_owned() };
    let (rollout, effects) = rollout.step(not_ready, at(1)).unwrap();
    assert!(effects.is_empty() && rollout.message().contains("loading"));
    assert_eq!(rollout.clone().step(promote(true), at(2)).unwrap_err(), RolloutError::NotReady);
    let (rollout, effects) = rollout.step(Command::CanaryReady, at(3)).unwrap();
    assert_eq!(weights(&effects), [(5, 42)]);
    assert_eq!(records(&effects)[0].transition, RolloutTransition::Advanced);
    assert_eq!(rollout.phase(), "Progressing");
}

#[test]
fn good_evidence_raises_step_by_step_and_keeps_counting() {
    let mut rollout = ready();
    let mut seen = Vec::new();
    for look in 0..100 {
        let Progress { generation, weight_percent, .. } = *rollout.progress();
        let canary = u64::from(weight_percent) * 10;
        let observation = observe(generation, (canary, 0), (1_000 - canary, 2));
        let (next, effects) = rollout.step(observation, at(look * 1_000)).unwrap();
        rollout = next;
        seen.extend(weights(&effects).into_iter().map(|weight| (weight, look)));
        if rollout.is_final() {
            assert_eq!(records(&effects)[0].transition, RolloutTransition::Promoted);
            assert_eq!(effects.last(), Some(&Effect::KeepStableWarm));
            break;
        }
    }
    let [(first, proved), (second, next), (third, last)] = seen[..] else { panic!("{seen:?}") };
    assert_eq!([first, second, third], [(25, 43), (50, 44), (100, 45)]);
    assert!(
        proved > 5 && next == proved + 1 && last == next + 1,
        "one look a step once it is proved: {seen:?}"
    );
}

#[test]
fn a_gateway_that_splits_wrongly_holds_the_rollout() {
    let mut rollout = ready();
    for _ in 0..100 {
        rollout = rollout.step(observe(42, (250, 0), (750, 2)), at(100)).unwrap().0;
    }
    assert_eq!(rollout.phase(), "Progressing");
    assert_eq!(
        rollout.message(),
        "share: traffic is not split as configured: 25,000 of 100,000 requests (25.0 %) on the canary, configured 5 %"
    );
}

#[test]
fn a_dead_canary_is_caught_within_tens_of_requests() {
    for (weight, steps, limit) in [(5, 0, 8), (25, 1, 12), (50, 2, 30)] {
        let mut rollout = ready();
        for _ in 0..steps {
            rollout = rollout.step(promote(false), at(20)).unwrap().0;
        }
        assert_eq!(rollout.progress().weight_percent, weight);
        let generation = rollout.progress().generation;
        let stable = u64::from((100 - weight) / weight);
        let mut failed = 0;
        while !rollout.is_final() {
            rollout = rollout.step(observe(generation, (1, 1), (stable, 0)), at(30)).unwrap().0;
            failed += 1;
        }
        println!("weight {weight} %: aborted after {failed} failed requests; {}", rollout.message());
        assert!(failed <= limit);
        assert!(rollout.message().starts_with("errors: canary 100.00 %"));
    }
}

#[test]
fn harm_ends_the_rollout_even_while_paused() {
    let pause = Command::Pause { by: "ada".to_owned(), reason: "lunch".to_owned() };
    let (rollout, effects) = ready().step(pause, at(20)).unwrap();
    assert_eq!((rollout.phase(), effects.len()), ("Paused", 0));
    let (rollout, effects) = rollout.step(observe(42, (40, 40), (760, 0)), at(30)).unwrap();
    let Rollout::Degraded(state) = &rollout else { panic!("{}", rollout.phase()) };
    assert_eq!(state.reason, DegradedReason::AnalysisFailed);
    assert_eq!(weights(&effects), [(0, 43)]);
    assert!(matches!(effects[0], Effect::SetWeight { percent: 0, .. }), "traffic first, paper after");
    let record = records(&effects)[0];
    assert_eq!(record.transition, RolloutTransition::RolledBack);
    assert_eq!(
        record.evidence.iter().map(|e| e.metric.as_str()).collect::<Vec<_>>(),
        ["errors", "slow", "loss", "share"]
    );
    assert_eq!(record.evidence[0].verdict, "abort");
}

#[test]
fn generations_are_checked() {
    let rollout = ready();
    for unknown in [41, 43] {
        let error = rollout.clone().step(observe(unknown, (1, 0), (9, 0)), at(20)).unwrap_err();
        assert!(matches!(error, RolloutError::Analysis(AnalysisError::UnknownGeneration { .. })));
    }
    // Another model's route changed: the table has generation 50, this rollout's weight is the same.
    let (rollout, _) = rollout.step(Command::RouteRepublished { generation: 50 }, at(20)).unwrap();
    let (rollout, _) = rollout.step(observe(47, (5, 0), (95, 0)), at(30)).unwrap();
    let (rollout, effects) = rollout.step(promote(false), at(40)).unwrap();
    assert_eq!(weights(&effects), [(25, 51)]);
    // A late observation counts under the weight that routed it.
    let (rollout, _) = rollout.step(observe(50, (5, 0), (95, 0)), at(50)).unwrap();
    let strata = rollout.progress().analysis.strata();
    assert_eq!((strata[0].canary.requests, strata[1].canary.requests), (10, 0));
}

#[test]
fn a_bad_observation_leaves_nothing_behind() {
    let rollout = ready();
    let Command::Observe(mut both) = observe(42, (5, 0), (95, 0)) else { panic!() };
    let mut bad = both[0];
    bad.canary.errors = 6;
    both.push(bad);
    let error = rollout.clone().step(Command::Observe(both), at(20)).unwrap_err();
    assert!(matches!(error, RolloutError::Analysis(AnalysisError::Observation { .. })));
    assert_eq!(rollout.progress().analysis.strata()[0].canary.requests, 0);
}

#[test]
fn a_step_expires_but_a_pause_does_not_count() {
    let hour = 3_600_000;
    let (expired, effects) = ready().step(Command::Tick, at(10 + hour)).unwrap();
    assert_eq!(expired.phase(), "Degraded");
    assert_eq!(records(&effects)[0].transition, RolloutTransition::Expired);
    assert!(expired.message().contains("no verdict within 3600 seconds"), "{}", expired.message());

    let pause = Command::Pause { by: "ada".to_owned(), reason: "night".to_owned() };
    let (paused, _) = ready().step(pause, at(1_000)).unwrap();
    let (paused, _) = paused.step(Command::Tick, at(9 * hour)).unwrap();
    let (resumed, _) = paused.step(Command::Resume, at(9 * hour)).unwrap();
    assert_eq!(resumed.phase(), "Progressing");
    let (resumed, _) = resumed.step(Command::Tick, at(10 * hour - 2_000)).unwrap();
    assert_eq!(resumed.phase(), "Progressing");
    assert_eq!(resumed.step(Command::Tick, at(10 * hour)).unwrap().0.phase(), "Degraded");
    // Also while the canary never becomes ready.
    assert_eq!(started().step(Command::Tick, at(hour)).unwrap().0.phase(), "Degraded");
}

#[test]
fn nothing_counts_while_the_stable_version_is_down() {
    let (down, effects) = ready().step(Command::StableDied, at(20)).unwrap();
    assert_eq!((down.phase(), effects.as_slice()), ("Paused", [Effect::KeepStableWarm].as_slice()));
    let (down, _) = down.step(observe(42, (50, 0), (950, 950)), at(30)).unwrap();
    assert_eq!(down.progress().analysis.strata()[0].stable.requests, 0);
    assert_eq!(down.clone().step(promote(false), at(40)).unwrap_err(), RolloutError::StableDown);
    assert_eq!(down.clone().step(promote(true), at(40)).unwrap().0.phase(), "Healthy");
    assert_eq!(down.clone().step(abort(), at(40)).unwrap().0.progress().weight_percent, 0);
    assert_eq!(down.step(Command::Resume, at(40)).unwrap().0.phase(), "Progressing");
}

#[test]
fn people_end_rollouts_and_ends_are_final() {
    let (healthy, effects) = ready().step(promote(true), at(20)).unwrap();
    assert_eq!(weights(&effects), [(100, 43)]);
    assert_eq!(records(&effects)[0].cause, "promoted by ada: hotfix");
    assert_eq!(healthy.clone().step(abort(), at(30)).unwrap_err(), RolloutError::Ended("Healthy"));
    assert_eq!(healthy.clone().step(Command::Tick, at(30)).unwrap(), (healthy, Vec::new()));

    let (degraded, effects) = ready().step(abort(), at(20)).unwrap();
    assert_eq!(records(&effects)[0].transition, RolloutTransition::Aborted);
    assert_eq!(effects.last(), Some(&Effect::StopCanary));
    assert_eq!(degraded.clone().step(abort(), at(30)).unwrap(), (degraded.clone(), Vec::new()));
    assert_eq!(degraded.step(promote(true), at(30)).unwrap_err(), RolloutError::Ended("Degraded"));

    let died = Command::CanaryDied { reason: "signal 9".to_owned() };
    let (degraded, effects) = ready().step(died, at(20)).unwrap();
    assert_eq!(records(&effects)[0].transition, RolloutTransition::RolledBack);
    assert_eq!(degraded.message(), "the canary's server died: signal 9");
}

#[test]
fn another_version_of_the_state_is_refused() {
    let text = serde_json::to_string(&ready()).unwrap();
    assert!(text.starts_with(r#"{"phase":"Progressing","progress":{"version":"1""#), "{text}");
    let newer = text.replacen(r#""version":"1""#, r#""version":"2""#, 1);
    assert!(serde_json::from_str::<Rollout>(&newer).unwrap_err().to_string().contains("expected `1`"));
}
