use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

use super::{abort, at, observe, promote, records, start_with, weights};
use crate::analysis::Strategy;
use crate::rollout::*;

fn command() -> impl Generator<Value = Command> {
    prop_oneof![
        3 => Just(Command::CanaryReady),
        1 => Just(Command::CanaryNotReady { reason: "x".to_owned() }),
        1 => Just(Command::CanaryDied { reason: "x".to_owned() }),
        1 => Just(Command::StableDied),
        12 => (40_u64..48, 0_u64..400, 0_u64..3, 0_u64..4_000).prop_map(|(generation, canary, errors, stable)| {
            observe(generation, (canary, errors.min(canary)), (stable, errors.min(stable)))
        }),
        1 => (40_u64..60).prop_map(|generation| Command::RouteRepublished { generation }),
        2 => Just(Command::Tick),
        1 => Just(Command::Pause { by: "x".to_owned(), reason: "y".to_owned() }),
        2 => Just(Command::Resume),
        1 => any::<bool>().prop_map(promote),
        1 => Just(abort()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rules_hold_for_any_commands(
        commands in proptest::collection::vec((command(), 0_i64..600_000), 1..40),
        has_stable in any::<bool>(),
    ) {
        let stable = has_stable.then_some("flights-delay/1");
        let (mut rollout, mut all) =
            Rollout::start(start_with(stable, Strategy::default()), at(0)).unwrap();
        let mut now = 0;
        for (command, passed) in commands {
            now += passed;
            let before = rollout.clone();
            let is_ready = before.progress().ready || matches!(command, Command::CanaryReady);
            let is_abort = matches!(command, Command::Abort { .. });
            let Ok((next, effects)) = rollout.step(command, at(now)) else {
                prop_assert!(!is_abort || before.phase() == "Healthy");
                rollout = before;
                continue;
            };
            let (old, new) = (before.progress(), next.progress());
            prop_assert!(!before.is_final() || (next == before && effects.is_empty()));
            prop_assert!(new.weight_percent <= old.weight_percent || is_ready);
            prop_assert!(new.weight_percent == 0 || old.analysis.strategy().steps.contains(&new.weight_percent));
            if is_abort && !before.is_final() {
                prop_assert_eq!((next.phase(), new.weight_percent), ("Degraded", 0));
                prop_assert!(!has_stable || weights(&effects) == [(0, new.generation)]);
            }
            if new.weight_percent != old.weight_percent {
                prop_assert_eq!(weights(&effects), [(new.weight_percent, new.generation)]);
            }
            for (percent, generation) in weights(&effects) {
                prop_assert!(generation > old.generation && generation == new.generation);
                prop_assert_eq!(percent, new.weight_percent);
            }
            let text = serde_json::to_string(&next).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Rollout>(&text).unwrap(), &next);
            for effect in &effects {
                if let Effect::Record { record, analysis } = effect {
                    let replayed = crate::analysis::replay(&analysis.to_json().unwrap()).unwrap();
                    prop_assert_eq!(&replayed.evidence(), &record.evidence);
                }
            }
            all.extend(effects);
            rollout = next;
        }
        let last = |r: &&RolloutRecord| match r.transition {
            RolloutTransition::Started => !has_stable,
            RolloutTransition::Advanced => false,
            RolloutTransition::Promoted
            | RolloutTransition::RolledBack
            | RolloutTransition::Aborted
            | RolloutTransition::Expired => true,
        };
        let finals = records(&all).into_iter().filter(last).count();
        prop_assert_eq!(finals, usize::from(rollout.is_final()));
    }
}
