//! Verdicts of gates over JSON reports.
//!
//! An expectation is a path and bounds. `slices.carrier.*.auc` means every key below `carrier`. What is missing, is
//! not a number or matches nothing fails: an absent metric is never a pass.

mod expectation;

use lineal_facts::predicate::Outcome;
use serde_json::Value;

pub use expectation::{Bound, Expectations, MetricPath, PathError, SEGMENT_LIMIT};

/// Most values that one path may match.
pub const MATCH_LIMIT: usize = 10_000;

/// What a gate found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateVerdict {
    /// `Failed` if anything failed or nothing was tested, else `Passed`. Skipping was asked for by `min_rows`, so it
    /// is listed but does not warn.
    pub outcome: Outcome,
    /// Checks that held, as `slices.carrier.UA.auc = 0.671 (min 0.55)`.
    pub passed: Vec<String>,
    /// Checks that did not hold, with the reason.
    pub failed: Vec<String>,
    /// Slices that were too small to be tested, with their size.
    pub skipped: Vec<String>,
}

/// Tests `report` against `expect`.
pub fn evaluate(expect: &Expectations, report: &Value) -> GateVerdict {
    let mut verdict =
        GateVerdict { outcome: Outcome::Failed, passed: Vec::new(), failed: Vec::new(), skipped: Vec::new() };
    for (path, bound) in expect.iter() {
        check(path, bound, report, &mut verdict);
    }
    if verdict.failed.is_empty() && !verdict.passed.is_empty() {
        verdict.outcome = Outcome::Passed;
    }
    verdict
}

/// One place in the report that a path names.
struct Match<'a> {
    path: String,
    /// What is there, if anything.
    value: Option<&'a Value>,
    /// The object that holds it.
    parent: Option<&'a Value>,
}

fn check(path: &MetricPath, bound: &Bound, report: &Value, verdict: &mut GateVerdict) {
    let mut matches = Vec::new();
    find(path.segments(), report, None, String::new(), &mut matches);
    if matches.len() > MATCH_LIMIT {
        verdict.failed.push(format!("{path} matches more than {MATCH_LIMIT} values; name fewer slices"));
        return;
    }
    if matches.is_empty() {
        verdict.failed.push(format!("{path} matches nothing in the report ({bound})"));
        return;
    }
    let before = verdict.passed.len() + verdict.failed.len();
    for found in &matches {
        check_match(found, bound, verdict);
    }
    if verdict.passed.len() + verdict.failed.len() == before {
        verdict.failed.push(format!("{path}: every slice was skipped, so nothing was tested ({bound})"));
    }
}

fn check_match(found: &Match<'_>, bound: &Bound, verdict: &mut GateVerdict) {
    let path = &found.path;
    if let Some(min_rows) = bound.min_rows() {
        let rows = found.parent.and_then(|parent| parent.get("rows")).and_then(Value::as_f64);
        match rows {
            #[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^53")]
            Some(rows) if rows < min_rows as f64 => {
                verdict.skipped.push(format!("{path}: {rows} rows (min_rows {min_rows})"));
                return;
            }
            Some(_) => {}
            None => {
                verdict.failed.push(format!("{path}: no number `rows` beside it (min_rows {min_rows})"));
                return;
            }
        }
    }
    let Some(value) = found.value else {
        verdict.failed.push(format!("{path} is missing ({bound})"));
        return;
    };
    match value.as_f64().filter(|number| number.is_finite()) {
        None => verdict.failed.push(format!("{path} is {}, not a number ({bound})", describe(value))),
        Some(number) if bound.holds(number) => verdict.passed.push(format!("{path} = {value} ({bound})")),
        Some(_) => verdict.failed.push(format!("{path} = {value} ({bound})")),
    }
}

/// Below a `*`, a key without the rest of the path is a missing metric; without one, the path matches nothing.
fn find<'a>(
    segments: &[String],
    value: &'a Value,
    parent: Option<&'a Value>,
    at: String,
    matches: &mut Vec<Match<'a>>,
) {
    let Some((segment, rest)) = segments.split_first() else {
        matches.push(Match { path: at, value: Some(value), parent });
        return;
    };
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    if segment != "*" {
        if let Some(inner) = value.get(segment) {
            find(rest, inner, Some(value), below(segment), matches);
        }
        return;
    }
    let Some(fields) = value.as_object() else { return };
    for (key, inner) in fields {
        let before = matches.len();
        if before > MATCH_LIMIT {
            return;
        }
        find(rest, inner, Some(value), below(key), matches);
        if matches.len() == before {
            let path = std::iter::once(below(key)).chain(rest.iter().cloned()).collect::<Vec<_>>().join(".");
            let parent = holder(inner, rest);
            matches.push(Match { path, value: None, parent });
        }
    }
}

/// The object in which the last of `segments` would be.
fn holder<'a>(value: &'a Value, segments: &[String]) -> Option<&'a Value> {
    let above = segments.len().saturating_sub(1);
    segments.iter().take(above).try_fold(value, |value, segment| value.get(segment))
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

#[cfg(test)]
mod tests;
