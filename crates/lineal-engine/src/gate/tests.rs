use serde_json::json;

use super::*;

fn expect(value: Value) -> Expectations {
    serde_json::from_value(value).unwrap()
}

/// The report of the table below.
fn report() -> Value {
    json!({
        "auc": 0.71,
        "rows": 4000,
        "nothing": null,
        "text": "0.9",
        "flag": true,
        "slices": {
            "carrier": {
                "UA": {"auc": 0.671, "rows": 900},
                "HA": {"auc": 0.41, "rows": 12},
                "AA": {"auc": 0.5, "rows": 700},
            },
            "empty": {},
            "partial": {"A": {"auc": 0.6, "rows": 500}, "B": {"rows": 500}, "C": {"auc": null, "rows": 500}},
            "unsized": {"A": {"auc": 0.6}},
            "small": {"A": {"auc": 0.6, "rows": 5}, "B": {"auc": 0.7, "rows": 6}},
        },
    })
}

/// Expectations, then what passes, fails and is skipped.
type Row = (Value, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

#[test]
fn every_kind_of_verdict() {
    let table: &[Row] = &[
        (json!({"auc": {"min": 0.65}}), &["auc = 0.71 (min 0.65)"], &[], &[]),
        (json!({"auc": {"min": 0.71, "max": 0.71}}), &["auc = 0.71 (min 0.71, max 0.71)"], &[], &[]),
        (json!({"auc": {"max": 0.5}}), &[], &["auc = 0.71 (max 0.5)"], &[]),
        (json!({"rows": {"max": 4000}}), &["rows = 4000 (max 4000)"], &[], &[]),
        (json!({"f1": {"min": 0}}), &[], &["f1 matches nothing in the report (min 0)"], &[]),
        (json!({"auc.deeper": {"min": 0}}), &[], &["auc.deeper matches nothing in the report (min 0)"], &[]),
        (json!({"nothing": {"min": 0}}), &[], &["nothing is null, not a number (min 0)"], &[]),
        (json!({"text": {"min": 0}}), &[], &["text is the text `0.9`, not a number (min 0)"], &[]),
        (json!({"flag": {"min": 0}}), &[], &["flag is true, not a number (min 0)"], &[]),
        (json!({"slices": {"min": 0}}), &[], &["slices is a map, not a number (min 0)"], &[]),
        (
            json!({"slices.empty.*.auc": {"min": 0}}),
            &[],
            &["slices.empty.*.auc matches nothing in the report (min 0)"],
            &[],
        ),
        (
            json!({"slices.carrier.*.auc": {"min": 0.55, "min_rows": 300}}),
            &["slices.carrier.UA.auc = 0.671 (min 0.55)"],
            &["slices.carrier.AA.auc = 0.5 (min 0.55)"],
            &["slices.carrier.HA.auc: 12 rows (min_rows 300)"],
        ),
        (
            json!({"slices.partial.*.auc": {"min": 0.5}}),
            &["slices.partial.A.auc = 0.6 (min 0.5)"],
            &[
                "slices.partial.B.auc is missing (min 0.5)",
                "slices.partial.C.auc is null, not a number (min 0.5)",
            ],
            &[],
        ),
        (
            json!({"slices.unsized.*.auc": {"min": 0.5, "min_rows": 1}}),
            &[],
            &["slices.unsized.A.auc: no number `rows` beside it (min_rows 1)"],
            &[],
        ),
        (
            json!({"slices.small.*.auc": {"min": 0.5, "min_rows": 6}}),
            &["slices.small.B.auc = 0.7 (min 0.5)"],
            &[],
            &["slices.small.A.auc: 5 rows (min_rows 6)"],
        ),
        (
            json!({"slices.small.*.auc": {"min": 0.5, "min_rows": 300}}),
            &[],
            &["slices.small.*.auc: every slice was skipped, so nothing was tested (min 0.5)"],
            &["slices.small.A.auc: 5 rows (min_rows 300)", "slices.small.B.auc: 6 rows (min_rows 300)"],
        ),
        (json!({}), &[], &[], &[]),
    ];
    for (expectations, passed, failed, skipped) in table {
        let verdict = evaluate(&expect(expectations.clone()), &report());
        assert_eq!(verdict.passed, *passed, "{expectations}");
        assert_eq!(verdict.failed, *failed, "{expectations}");
        assert_eq!(verdict.skipped, *skipped, "{expectations}");
        let good = failed.is_empty() && !passed.is_empty();
        assert_eq!(verdict.outcome == Outcome::Passed, good, "{expectations}");
    }
}

#[test]
fn one_failure_fails_the_gate() {
    let verdict = evaluate(&expect(json!({"auc": {"min": 0.6}, "rows": {"min": 5000}})), &report());
    assert_eq!(verdict.outcome, Outcome::Failed);
    assert_eq!(verdict.passed.len(), 1);
}

#[test]
fn several_stars_and_other_reports() {
    let verdict = evaluate(&expect(json!({"slices.*.*.rows": {"min": 5}})), &report());
    assert_eq!(verdict.passed.len(), 8);
    assert_eq!(
        verdict.failed,
        ["slices.empty.*.rows is missing (min 5)", "slices.unsized.A.rows is missing (min 5)",]
    );
    for other in [json!(null), json!([]), json!(1), json!("x")] {
        assert_eq!(evaluate(&expect(json!({"auc": {"min": 0}})), &other).outcome, Outcome::Failed);
        assert_eq!(evaluate(&expect(json!({"*": {"min": 0}})), &other).outcome, Outcome::Failed);
    }
}

#[test]
fn matches_are_bounded() {
    let many: serde_json::Map<String, Value> =
        (0..20_000).map(|n| (n.to_string(), json!({"a": 1}))).collect();
    let verdict = evaluate(&expect(json!({"*.a": {"min": 0}})), &Value::Object(many));
    assert_eq!(verdict.failed, ["*.a matches more than 10000 values; name fewer slices"]);
}

#[test]
fn bad_expectations_are_refused() {
    for (bad, expected) in [
        (json!({"auc": {}}), "needs `min` or `max`"),
        (json!({"auc": {"min_rows": 3}}), "needs `min` or `max`"),
        (json!({"auc": {"min": 2, "max": 1}}), "nothing can pass"),
        (json!({"auc": {"minimum": 2}}), "unknown field `minimum`"),
        (json!({"auc": {"min": "2"}}), "expected f64"),
        (json!({"a..b": {"min": 2}}), "not a metric path"),
        (json!({"": {"min": 2}}), "not a metric path"),
        (json!({"a.b*.c": {"min": 2}}), "not a metric path"),
        (json!({"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a": {"min": 2}}), "at most 16"),
    ] {
        let error = serde_json::from_value::<Expectations>(bad.clone()).unwrap_err().to_string();
        assert!(error.contains(expected), "{bad}: {error}");
    }
}
