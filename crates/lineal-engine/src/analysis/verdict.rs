//! From numbers to a verdict and a sentence.

use super::count_test::{self, Events};
use super::mean_test::{ARM_MINIMUM, Comparison, Estimate, Gap, Levels, Pair, STRATUM_MINIMUM};
use super::{Judgement, Metric, MetricKind, MetricVerdict, Moments, Strategy, Stratum, Verdict};

/// Probability that the check of the traffic split raises a false alarm in one step. It can only hold, never abort.
const SHARE_ALPHA: f64 = 0.001;

/// All metrics and the step's minimum of requests.
pub(super) fn judge(strategy: &Strategy, strata: &[Stratum]) -> Judgement {
    let mut metrics: Vec<MetricVerdict> =
        strategy.metrics().iter().map(|metric| judge_metric(metric, strategy.alpha, strata)).collect();
    metrics.push(judge_share(strata));
    let first = |verdict| metrics.iter().find(|m: &&MetricVerdict| m.verdict == verdict);
    let sentence = |metric: &MetricVerdict| format!("{}: {}", metric.metric, metric.summary);
    let requests = strata.last().map_or(0, |s| s.canary.requests);
    let (verdict, cause) = if let Some(metric) = first(Verdict::Abort) {
        (Verdict::Abort, sentence(metric))
    } else if let Some(metric) = first(Verdict::Hold) {
        (Verdict::Hold, sentence(metric))
    } else if requests < strategy.min_requests {
        let (have, need) = (grouped(requests), grouped(strategy.min_requests));
        (
            Verdict::Hold,
            format!("requests: the canary answered {have} of at least {need} requests in this step"),
        )
    } else {
        (Verdict::Promote, metrics.iter().map(sentence).collect::<Vec<_>>().join("; "))
    };
    Judgement { verdict, cause, metrics }
}

/// What one metric knows.
struct Reading {
    levels: Levels,
    comparison: Result<Comparison, Gap>,
    stable: Moments,
    canary: Moments,
    newest: Option<Pair>,
    /// The count test: its e-value and the value at which it aborts, as logarithms.
    count_test: Option<(f64, f64)>,
}

fn judge_metric(metric: &Metric, alpha: f64, strata: &[Stratum]) -> MetricVerdict {
    let reading = read(metric, alpha, strata);
    let estimate = reading.comparison.as_ref().ok().map(|c| c.estimate(&reading.levels));
    let (verdict, summary) = decide(metric, &reading, estimate);
    MetricVerdict {
        metric: metric.name.to_owned(),
        verdict,
        summary,
        stable_count: reading.stable.count,
        canary_count: reading.canary.count,
        estimate,
        log_e_value: reading.count_test.map(|(log_e, _)| log_e),
    }
}

fn read(metric: &Metric, alpha: f64, strata: &[Stratum]) -> Reading {
    let pair = |s: &Stratum| {
        let of = |arm: &super::Arm| match metric.kind {
            MetricKind::Errors => Moments::of_events(arm.requests, arm.errors),
            MetricKind::Slow => Moments::of_events(arm.timed, arm.slow),
            MetricKind::Loss => arm.loss,
        };
        Pair { canary: of(&s.canary), stable: of(&s.stable) }
    };
    let pairs: Vec<Pair> = strata.iter().map(pair).collect();
    let events = |s: &Stratum| {
        let (canary, stable, canary_requests, stable_requests) = match metric.kind {
            MetricKind::Errors => (s.canary.errors, s.stable.errors, s.canary.requests, s.stable.requests),
            MetricKind::Slow => (s.canary.slow, s.stable.slow, s.canary.timed, s.stable.timed),
            MetricKind::Loss => return None,
        };
        let requests = canary_requests as f64 + stable_requests as f64;
        (requests > 0.0).then(|| Events { canary, stable, canary_share: canary_requests as f64 / requests })
    };
    let (lower_alpha, count_test) = match metric.kind {
        MetricKind::Errors | MetricKind::Slow => {
            let events: Vec<Events> = strata.iter().filter_map(events).collect();
            let half = metric.alpha / 2.0;
            (half, Some((count_test::log_e_value(&events), (1.0 / half).ln())))
        }
        MetricKind::Loss => (metric.alpha, None),
    };
    Reading {
        levels: Levels { lower_alpha, upper_alpha: alpha, margin: metric.margin },
        comparison: Comparison::of(&pairs),
        stable: pairs.iter().fold(Moments::default(), |sum, p| sum.merged(&p.stable)),
        canary: pairs.iter().fold(Moments::default(), |sum, p| sum.merged(&p.canary)),
        newest: pairs.last().copied(),
        count_test,
    }
}

fn decide(metric: &Metric, reading: &Reading, estimate: Option<Estimate>) -> (Verdict, String) {
    let counts = observations(metric, reading);
    if let Some((log_e, limit)) = reading.count_test.filter(|(log_e, limit)| log_e >= limit) {
        let (canary, stable) = (reading.canary.mean * 100.0, reading.stable.mean * 100.0);
        let (e, limit) = (log_e.min(300.0).exp(), limit.exp());
        let text = format!(
            "canary {canary:.2} %, stable {stable:.2} % (e-value {} of {} needed), {counts}",
            grouped(e as u64),
            grouped(limit.round() as u64),
        );
        return (Verdict::Abort, text);
    }
    let (comparison, estimate) = match (&reading.comparison, estimate) {
        (Ok(comparison), Some(estimate)) => (comparison, estimate),
        (Err(Gap::NoSpread), _) => return (Verdict::Hold, format!("every value is the same, {counts}")),
        (Ok(_) | Err(Gap::TooFew), _) => {
            return (
                Verdict::Hold,
                format!("not enough evidence yet: {counts}; each side needs {ARM_MINIMUM}"),
            );
        }
    };
    let margin = metric.margin;
    let between = format!("between {:+.3} and {:+.3}, margin {margin}", estimate.lower, estimate.upper);
    let level = percent(1.0 - reading.levels.upper_alpha);
    if estimate.upper < margin {
        return match reading.newest.filter(Pair::counts).map(|pair| pair.harm()) {
            Some(harm) if harm < margin => {
                (Verdict::Promote, format!("harm {between} (each bound at {level} %), {counts}"))
            }
            Some(harm) => {
                (Verdict::Hold, format!("harm {between}, but {harm:+.3} in this step alone, {counts}"))
            }
            None => (
                Verdict::Hold,
                format!(
                    "harm {between}, but each side needs {STRATUM_MINIMUM} observations in this step, {counts}"
                ),
            ),
        };
    }
    if estimate.lower > 0.0 {
        let Estimate { harm, lower, upper } = estimate;
        let text = format!(
            "canary is worse by {harm:.3} (confidence sequence {lower:.3} to {upper:.3} at {level} %), {counts}"
        );
        return (Verdict::Abort, text);
    }
    (
        Verdict::Hold,
        format!("not enough evidence yet: harm {between}; {}", outlook(metric, reading, comparison)),
    )
}

/// How much more it takes, if things stay as they are.
fn outlook(metric: &Metric, reading: &Reading, comparison: &Comparison) -> String {
    let noun = noun(metric.kind);
    match comparison.growth_until(&reading.levels) {
        Some(growth) => {
            let more = ((growth - 1.0) * reading.canary.count as f64).ceil() as u64;
            format!("about {} more {noun} of the canary", grouped(more))
        }
        None => format!("the estimate is too near the margin to say how many more {noun} it takes"),
    }
}

fn noun(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Errors => "requests",
        MetricKind::Slow => "timed requests",
        MetricKind::Loss => "joined outcomes",
    }
}

fn observations(metric: &Metric, reading: &Reading) -> String {
    let all = reading.canary.count.saturating_add(reading.stable.count);
    format!("{} of {} {} on the canary", grouped(reading.canary.count), grouped(all), noun(metric.kind))
}

/// Does the gateway split traffic as configured? Looks at the newest stratum only: a gateway that was put right is
/// forgiven at the next step.
fn judge_share(strata: &[Stratum]) -> MetricVerdict {
    let newest = strata.last().filter(|s| (1..100).contains(&s.weight_percent));
    let (canary, stable) = newest.map_or((0, 0), |s| (s.canary.requests, s.stable.requests));
    let weight = newest.map_or(0.0, |s| f64::from(s.weight_percent) / 100.0);
    let log_e = count_test::share_log_e_value(canary, stable, weight);
    let total = canary.saturating_add(stable);
    let share = if total == 0 { 0.0 } else { 100.0 * canary as f64 / total as f64 };
    let split = format!(
        "{} of {} requests ({share:.1} %) on the canary, configured {:.0} %",
        grouped(canary),
        grouped(total),
        weight * 100.0
    );
    let alarm = log_e >= (1.0 / SHARE_ALPHA).ln();
    MetricVerdict {
        metric: "share".to_owned(),
        verdict: if alarm { Verdict::Hold } else { Verdict::Promote },
        summary: if alarm { format!("traffic is not split as configured: {split}") } else { split },
        stable_count: stable,
        canary_count: canary,
        estimate: None,
        log_e_value: Some(log_e),
    }
}

/// `99`, `99.5`: without trailing zeros.
fn percent(probability: f64) -> String {
    let text = format!("{:.4}", probability * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `9,800`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
