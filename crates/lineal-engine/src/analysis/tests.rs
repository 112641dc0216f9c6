use proptest::prelude::{Just, Strategy as _, any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

pub(crate) mod simulation;

fn moments(values: &[f64]) -> Moments {
    let mut moments = Moments::default();
    for value in values {
        moments.add(*value).unwrap();
    }
    moments
}

fn arm(requests: u64, errors: u64, slow: u64) -> Arm {
    Arm { requests, errors, timed: requests, slow, loss: Moments::default() }
}

fn without_loss() -> Strategy {
    Strategy { margins: Margins { loss: None, ..Margins::default() }, ..Strategy::default() }
}

/// An analysis with one stratum of 50 %, past its warm-up.
fn half_and_half(strategy: Strategy, canary: Arm, stable: Arm) -> Analysis {
    let mut analysis = Analysis::new(Strategy { warm_up_requests: 0, ..strategy }).unwrap();
    analysis.open_stratum(7, 50).unwrap();
    analysis.observe(&Observation { generation: 7, canary, stable }).unwrap();
    analysis
}

fn metric<'a>(judgement: &'a Judgement, name: &str) -> &'a MetricVerdict {
    judgement.metrics.iter().find(|m| m.metric == name).unwrap()
}

#[test]
fn a_strategy_reads_from_yaml_with_defaults() {
    let strategy: Strategy =
        serde_norway::from_str("steps: [10, 100]\nmargins: { errors: 0.01, loss: null }\n").unwrap();
    assert_eq!((strategy.steps.as_slice(), strategy.alpha), ([10, 100].as_slice(), 0.01));
    assert_eq!(strategy.margins, Margins { errors: 0.01, slow: 0.05, loss: None });
    strategy.check().unwrap();
    assert!(serde_norway::from_str::<Strategy>("minRequest: 5").is_err(), "unknown keys are refused");
    assert_eq!(serde_norway::from_str::<Strategy>("{}").unwrap(), Strategy::default());
}

#[test]
fn a_strategy_that_cannot_work_is_refused_with_a_reason() {
    let good = Strategy::default;
    let margins = |errors, loss| Margins { errors, loss, ..Margins::default() };
    for (strategy, text) in [
        (Strategy { steps: vec![], ..good() }, "steps []"),
        (Strategy { steps: vec![0, 100], ..good() }, "rising"),
        (Strategy { steps: vec![50, 25, 100], ..good() }, "rising"),
        (Strategy { steps: vec![5, 50], ..good() }, "end with 100"),
        (Strategy { steps: vec![5, 100, 200], ..good() }, "end with 100"),
        (Strategy { steps: (80..=100).collect(), ..good() }, "1 to 20"),
        (Strategy { alpha: 0.0, ..good() }, "alpha 0"),
        (Strategy { alpha: 0.5, ..good() }, "alpha 0.5"),
        (Strategy { alpha: f64::NAN, ..good() }, "alpha NaN"),
        (
            Strategy { margins: margins(0.0, None), ..good() },
            "margin of errors is 0: give a number above 0 and at most 1",
        ),
        (Strategy { margins: margins(1.5, None), ..good() }, "margin of errors is 1.5"),
        (Strategy { margins: margins(0.1, Some(f64::INFINITY)), ..good() }, "margin of loss is inf"),
        (Strategy { margins: margins(0.1, Some(f64::NAN)), ..good() }, "margin of loss is NaN"),
        (Strategy { max_step_seconds: 0, ..good() }, "maxStepSeconds 0"),
    ] {
        let error = strategy.check().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn alpha_is_divided_completely() {
    for strategy in [Strategy::default(), without_loss()] {
        let sum: f64 = strategy.metrics().iter().map(|m| m.alpha).sum();
        assert!((sum - strategy.alpha).abs() < 1e-15);
    }
}

#[test]
fn moments_are_those_of_the_textbook() {
    let found = moments(&[1.0, 2.0, 4.0, 9.0]);
    assert_eq!((found.count, found.mean, found.lowest, found.highest), (4, 4.0, 1.0, 9.0));
    assert!((found.m2 - 38.0).abs() < 1e-12);
    assert_eq!((found.graded, moments(&[0.0, 1.0]).graded), (3, 0));
    let events = Moments::of_events(10, 3);
    assert!((events.m2 - moments(&[1., 1., 1., 0., 0., 0., 0., 0., 0., 0.]).m2).abs() < 1e-12);
    assert_eq!(Moments::of_events(0, 0), Moments::default());
}

#[test]
fn what_is_no_loss_is_refused() {
    let mut found = moments(&[0.5]);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2e12] {
        assert!(matches!(found.add(bad), Err(AnalysisError::Loss(_))));
    }
    assert_eq!(found, moments(&[0.5]), "nothing was added");
}

#[test]
fn impossible_sums_are_refused_and_change_nothing() {
    let mut analysis = half_and_half(without_loss(), arm(10, 1, 1), arm(10, 0, 0));
    let before = analysis.clone();
    let loss = |loss| Arm { loss, ..arm(1, 0, 0) };
    let one = moments(&[0.5]);
    for bad in [
        arm(5, 6, 0),
        arm(5, 0, 6),
        Arm { timed: 6, ..arm(5, 0, 0) },
        loss(Moments { mean: f64::NAN, ..one }),
        loss(Moments { m2: -1.0, ..one }),
        loss(Moments { m2: f64::INFINITY, ..one }),
        loss(Moments { mean: 0.9, ..one }),
        loss(Moments { count: 0, ..one }),
        loss(Moments { graded: 2, ..one }),
    ] {
        for (canary, stable) in [(bad, arm(1, 0, 0)), (arm(1, 0, 0), bad)] {
            let error = analysis.observe(&Observation { generation: 7, canary, stable }).unwrap_err();
            assert!(matches!(error, AnalysisError::Observation { generation: 7, .. }));
        }
    }
    let early = Observation { generation: 6, ..Observation::default() };
    assert_eq!(analysis.observe(&early), Err(AnalysisError::UnknownGeneration { generation: 6 }));
    assert_eq!(analysis, before);
}

#[test]
fn no_or_one_sided_data_hold() {
    let empty = Analysis::new(Strategy::default()).unwrap().judge();
    assert_eq!(empty.verdict, Verdict::Hold);
    assert!(empty.cause.starts_with("errors: not enough evidence yet: 0 of 0 requests"), "{}", empty.cause);
    assert!(empty.evidence().iter().all(|e| e.harm_upper == "unknown"));
    for (canary, stable) in [
        (arm(0, 0, 0), arm(10_000, 5_000, 5_000)),
        (arm(10_000, 5_000, 5_000), arm(0, 0, 0)),
        (arm(19, 0, 0), arm(1_000_000, 0, 0)),
    ] {
        let judgement = half_and_half(without_loss(), canary, stable).judge();
        assert_eq!(metric(&judgement, "errors").verdict, Verdict::Hold);
        assert_eq!(metric(&judgement, "errors").estimate, None);
    }
}

#[test]
fn no_error_in_few_requests_is_no_certainty() {
    let judge = |n| half_and_half(without_loss(), arm(n, 0, 0), arm(n, 0, 0)).judge();
    let few = judge(60);
    assert_eq!(few.verdict, Verdict::Hold);
    // Even a rate of ln(1/alpha)/n could have stayed unseen.
    for n in [60, 200, 1_000, 10_000] {
        let upper = metric(&judge(n), "errors").estimate.unwrap().upper;
        assert!(upper > 100_f64.ln() / n as f64, "{n}: {upper}");
    }
    assert_eq!(judge(2_000).verdict, Verdict::Promote);
}

#[test]
fn huge_counts_give_finite_numbers() {
    let n = 1_u64 << 52;
    let same = half_and_half(without_loss(), arm(n, n / 100, 0), arm(n, n / 100, 0)).judge();
    assert_eq!(same.verdict, Verdict::Promote, "{}", same.cause);
    let worse = half_and_half(without_loss(), arm(n, n / 50, 0), arm(n, n / 100, 0)).judge();
    assert_eq!(worse.verdict, Verdict::Abort);
    assert!(metric(&worse, "errors").log_e_value.unwrap().is_finite());
    let mut full = half_and_half(without_loss(), arm(u64::MAX, 0, 0), arm(u64::MAX, 0, 0));
    full.observe(&Observation { generation: 7, canary: arm(9, 9, 9), stable: arm(1, 1, 1) }).unwrap();
    assert!(full.judge().metrics.iter().all(|m| m.estimate.is_none_or(|e| e.harm.is_finite())));
}

#[test]
fn losses_that_are_all_the_same_prove_nothing_unless_they_are_zero_or_one() {
    let judge = |loss: f64| {
        let with = |n: u64| Arm { loss: moments(&vec![loss; n as usize]), ..arm(n, 0, 0) };
        half_and_half(Strategy::default(), with(3_000), with(3_000)).judge()
    };
    assert_eq!(metric(&judge(0.25), "loss").verdict, Verdict::Hold);
    assert!(metric(&judge(0.25), "loss").summary.starts_with("every value is the same"));
    assert_eq!(metric(&judge(0.0), "loss").verdict, Verdict::Promote);
}

#[test]
fn a_hold_says_what_is_missing_and_it_is_about_right() {
    let judgement = half_and_half(without_loss(), arm(400, 4, 0), arm(400, 4, 0)).judge();
    let hold = metric(&judgement, "errors");
    let more: String =
        hold.summary.split("about ").nth(1).unwrap().chars().take_while(|c| *c != ' ').collect();
    let more: u64 = more.replace(',', "").parse().unwrap();
    let after = |extra: u64| {
        let n = 400 + extra;
        let judgement = half_and_half(without_loss(), arm(n, n / 100, 0), arm(n, n / 100, 0)).judge();
        metric(&judgement, "errors").verdict
    };
    assert_eq!(
        (after(more * 9 / 10), after(more * 11 / 10)),
        (Verdict::Hold, Verdict::Promote),
        "{}",
        hold.summary
    );
    let near = half_and_half(without_loss(), arm(400, 12, 0), arm(400, 4, 0)).judge();
    assert!(
        metric(&near, "errors").summary.contains("too near the margin"),
        "{}",
        metric(&near, "errors").summary
    );
}

#[test]
fn harm_in_the_newest_step_delays_promotion() {
    let mut analysis = half_and_half(without_loss(), arm(20_000, 0, 0), arm(20_000, 0, 0));
    analysis.open_stratum(8, 75).unwrap();
    let none = analysis.judge();
    assert_eq!(none.verdict, Verdict::Hold);
    assert!(none.cause.contains("needs 20 observations in this step"), "{}", none.cause);
    let slower = Observation { generation: 8, canary: arm(300, 0, 30), stable: arm(100, 0, 5) };
    analysis.observe(&slower).unwrap();
    let judgement = analysis.judge();
    let slow = metric(&judgement, "slow");
    assert_eq!(slow.verdict, Verdict::Hold);
    assert!(slow.summary.contains("+0.050 in this step alone"), "{}", slow.summary);
}

#[test]
fn cold_caches_do_not_count_as_slow() {
    let mut analysis = Analysis::new(Strategy::default()).unwrap();
    analysis.open_stratum(1, 5).unwrap();
    let cold = Observation { generation: 1, canary: arm(20, 1, 20), stable: arm(380, 0, 1) };
    analysis.observe(&cold).unwrap();
    assert_eq!((analysis.strata()[0].canary.slow, analysis.strata()[0].stable.timed), (0, 0));
    assert_eq!((analysis.strata()[0].canary.errors, analysis.judge().verdict), (1, Verdict::Hold));
    analysis.observe(&cold).unwrap();
    assert_eq!((analysis.strata()[0].canary.slow, analysis.strata()[0].canary.timed), (20, 20));
    assert_eq!(analysis.judge().verdict, Verdict::Abort);
}

#[test]
fn the_count_test_matches_its_formula() {
    let events = |canary, stable, canary_share| count_test::Events { canary, stable, canary_share };
    assert!(count_test::log_e_value(&[]).abs() < 1e-12, "no data, e-value 1");
    assert!(count_test::log_e_value(&[events(9, 0, 1.0)]).abs() < 1e-12, "no comparison, e-value 1");
    // One event on the canary: the mean of theta/rho over the grid.
    let (rho, ratios) = (0.2, (0..32).map(|i| 1.1 * (50.0_f64 / 1.1).powf(f64::from(i) / 31.0)));
    let mean = ratios.map(|r| r / (r * rho + 1.0 - rho)).sum::<f64>() / 32.0;
    assert!((count_test::log_e_value(&[events(1, 0, rho)]) - mean.ln()).abs() < 1e-12);
    // Expected value 1 if the next event falls on the canary with probability rho.
    let next =
        |k: u64, s: u64| count_test::log_e_value(&[events(3, 5, 0.4), events(2 + k, 7 + s, rho)]).exp();
    assert!((rho * next(1, 0) + (1.0 - rho) * next(0, 1) - next(0, 0)).abs() < 1e-12);
}

#[test]
fn stored_analyses_are_checked() {
    let analysis = half_and_half(Strategy::default(), arm(10, 1, 1), arm(10, 0, 0));
    let text = String::from_utf8(analysis.to_json().unwrap()).unwrap();
    for (from, to, reason) in [
        (r#""version":"1""#, r#""version":"2""#, "version `2`"),
        (r#""alpha":0.01"#, r#""alpha":0.9"#, "strategy is not usable"),
        (r#""errors":1,"#, r#""errors":11,"#, "more errors than requests"),
        (r#""weightPercent":50"#, r#""weightPercent":101"#, "above 100"),
        (r#""strata":["#, r#""extra":0,"strata":["#, "unknown field"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{from}");
        let error = replay(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(replay(text.as_bytes()).unwrap(), analysis.judge());
    let mut analysis = analysis;
    assert_eq!(analysis.open_stratum(7, 60), Err(AnalysisError::Stratum { generation: 7 }));
    for generation in 8..=70 {
        analysis.open_stratum(generation, 60).unwrap();
    }
    assert!(analysis.open_stratum(71, 60).is_err(), "there is a limit");
}

proptest! {
    #[test]
    fn merging_does_not_depend_on_order(
        values in prop::collection::vec(-1e3_f64..1e3, 1..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 3),
        order in Just([0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(values.len())).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let parts: Vec<Moments> = cuts.windows(2).map(|w| moments(&values[w[0]..w[1]])).collect();
        let merged = order.iter().fold(Moments::default(), |sum, i| sum.merged(&parts[*i]));
        let whole = moments(&values);
        prop_assert_eq!((merged.count, merged.graded), (whole.count, whole.graded));
        prop_assert_eq!((merged.lowest, merged.highest), (whole.lowest, whole.highest));
        prop_assert!((merged.mean - whole.mean).abs() <= 1e-9);
        prop_assert!((merged.m2 - whole.m2).abs() <= 1e-9 * (1.0 + whole.m2));
    }

    #[test]
    fn replay_gives_the_same_bits(
        sums in prop::collection::vec((1_u64..500, 0_u64..5, 0_u64..5, -1.0_f64..1.0, 0.0_f64..1.0), 1..12),
    ) {
        let mut analysis = Analysis::new(Strategy::default()).unwrap();
        for (index, (requests, errors, slow, low, spread)) in sums.into_iter().enumerate() {
            let generation = 1 + index as u64 / 3;
            if analysis.strata().last().is_none_or(|s| s.generation < generation) {
                analysis.open_stratum(generation, 10 + generation as u32).unwrap();
            }
            let loss = moments(&(0..requests).map(|i| low + spread * (i % 7) as f64).collect::<Vec<_>>());
            let canary = Arm { loss, ..arm(requests, errors.min(requests), slow.min(requests)) };
            let stable = Arm { loss, ..arm(requests, 0, 0) };
            analysis.observe(&Observation { generation, canary, stable }).unwrap();
            let stored = analysis.to_json().unwrap();
            let (now, again) = (analysis.judge(), replay(&stored).unwrap());
            prop_assert_eq!(&now, &again);
            prop_assert_eq!(now.evidence(), again.evidence());
            let read: Analysis = serde_json::from_slice(&stored).unwrap();
            prop_assert_eq!(read.to_json().unwrap(), stored);
        }
    }
}
