use super::*;

fn of(range: std::ops::Range<u64>) -> DistinctValues {
    let mut values = DistinctValues::default();
    range.for_each(|i| values.add(&format!("v{i}")));
    values
}

#[test]
fn exact_up_to_the_limits() {
    let limit = DISTINCT_LIMIT as u64;
    assert_eq!(of(0..limit).distinct(), Distinct { count: limit, exact: true });
    assert!(!of(0..limit + 1).distinct().exact);
    let mut values = of(0..1);
    values.add(&"x".repeat(DISTINCT_LIMIT_BYTES));
    assert!(!values.distinct().exact);
    assert!(values.counts().is_empty());
}

#[test]
fn estimates_are_within_five_percent() {
    for count in [1_001, 4_043, 12_000, 100_000, 300_000] {
        let estimate = of(0..count).distinct().count as f64;
        assert!((estimate / count as f64 - 1.0).abs() < 0.05, "{count}: {estimate}");
    }
}

#[test]
fn the_estimate_is_pinned() {
    // Changing the hash changes stored profiles; that needs a new version of the document.
    assert_eq!(of(0..5_000).distinct().count, 4_971);
}

#[test]
fn merging_is_one_pass() {
    for (a, b, end) in [(0, 500, 900), (0, 800, 2_000), (0, 2_000, 2_100), (0, 2_000, 9_000)] {
        let whole = of(a..end).distinct();
        let (mut left, right) = (of(a..b), of(b..end));
        let mut mirrored = right.clone();
        mirrored.merge(left.clone());
        left.merge(right);
        assert_eq!((left.distinct(), mirrored.distinct()), (whole, whole));
    }
}
