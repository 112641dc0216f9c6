//! Whole rollouts over simulated traffic: how long the healthy one takes and how fast the harmful one ends.

use super::*;
use crate::analysis::Margins;
use crate::analysis::tests::simulation::{Behaviour, HEALTHY, Random, World};

/// 300 requests a second, reported every second, outcomes joined at once.
const REQUESTS_PER_SECOND: f64 = 300.0;

struct Finished {
    rollout: Rollout,
    seconds: usize,
    canary_requests: u64,
}

fn run(canary: Behaviour, seed: u64) -> Finished {
    let margins = Margins { loss: Some(0.03), ..Margins::default() };
    let strategy = Strategy { margins, ..Strategy::default() };
    let start = start_with(Some("flights-delay/1"), strategy);
    let mut rollout = Rollout::start(start, at(0)).unwrap().0.step(Command::CanaryReady, at(0)).unwrap().0;
    let world = World { per_look: REQUESTS_PER_SECOND, ..World::new(canary) };
    let mut random = Random(seed);
    for seconds in 1..3_600 {
        let progress = rollout.progress();
        let key = (progress.generation, f64::from(progress.weight_percent) / 100.0);
        let observation = world.observe(&mut random, seconds, key);
        rollout = rollout.step(Command::Observe(vec![observation]), at(seconds as i64 * 1_000)).unwrap().0;
        if rollout.is_final() {
            let canary_requests =
                rollout.progress().analysis.strata().iter().map(|s| s.canary.requests).sum();
            return Finished { rollout, seconds, canary_requests };
        }
    }
    panic!("no end: {}", rollout.message());
}

/// Shares of healthy ends, and seconds and canary requests at the median and the 95th percentile.
fn table(name: &str, canary: Behaviour, runs: u64) -> (f64, [usize; 2]) {
    let mut ends: Vec<Finished> = (0..runs).map(|seed| run(canary, seed)).collect();
    ends.sort_by_key(|end| end.seconds);
    let at = |share: f64| &ends[((ends.len() - 1) as f64 * share) as usize];
    let healthy = ends.iter().filter(|e| e.rollout.phase() == "Healthy").count() as f64 / runs as f64;
    let (median, late) = (at(0.5), at(0.95));
    println!(
        "{name}: promoted {healthy}, median {} s and {} canary requests, 95 % within {} s and {}; {}",
        median.seconds,
        median.canary_requests,
        late.seconds,
        late.canary_requests,
        median.rollout.message().chars().take(110).collect::<String>(),
    );
    (healthy, [median.seconds, late.seconds])
}

#[test]
fn rollouts_end_in_time() {
    let runs = 100;
    let (healthy, [median, late]) = table("healthy", HEALTHY, runs);
    assert!(healthy >= 0.97 && median <= 60 && late <= 120);
    let mut ends = Vec::new();
    for (name, canary, slowest) in [
        ("Brier +0.08, sd 0.2", Behaviour { shift: 0.08, ..HEALTHY }, 20),
        ("Brier +0.05, sd 0.2", Behaviour { shift: 0.05, ..HEALTHY }, 60),
        ("Brier +0.08, noisy, sd 0.3", Behaviour { harm: 0.08, ..HEALTHY }, 30),
        ("errors 7 %", Behaviour { errors: 0.07, ..HEALTHY }, 15),
        ("errors 2 %", Behaviour { errors: 0.02, ..HEALTHY }, 120),
        ("slow 20 %", Behaviour { slow: 0.2, ..HEALTHY }, 15),
        ("dead", Behaviour { errors: 1.0, ..HEALTHY }, 2),
    ] {
        let (promoted, [_, late]) = table(name, canary, runs);
        ends.push((name, promoted <= 0.04 && late <= slowest));
    }
    assert!(ends.iter().all(|(_, in_time)| *in_time), "{ends:?}");
}
