use proptest::prelude::*;

use super::*;

fn type_of(text: &str) -> ColumnType {
    Scalar::of(text).column_type()
}

#[test]
fn cells() {
    use ColumnType::{Boolean, Integer, Number, String, Timestamp};
    let cases: &[(&[&str], ColumnType)] = &[
        (&["true", "False", "TRUE"], Boolean),
        (&["0", "-0", "+5", "-12", "9223372036854775807", "-9223372036854775808"], Integer),
        (
            &["0.5", ".5", "5.", "-1e3", "1E+05", "0e0", "9223372036854775808", "1.7976931348623157e308"],
            Number,
        ),
        (
            &["007", "00.5", "1_000", "1,000", "0x10", " 1", "1 ", "+", "-", ".", "e5", "1e", "1e+", "--1"],
            String,
        ),
        (&["NaN", "inf", "-inf", "1e999", "tRUE", "yes", "", "1.2.3", "é"], String),
        (&["2013-01-01", "2012-02-29", "2013-01-01T05:00", "2013-01-01 05:00:59.123456789"], Timestamp),
        (&["2013-01-01T10:00:00Z", "2013-01-01t10:00:60z", "2013-01-01T10:00:00-05:30"], Timestamp),
        (&["2013-02-29", "2013-13-01", "2013-1-1", "2013-01-01T", "2013-01-01T24:00", "2013-01-01Z"], String),
        (
            &["2013-01-01T10:00:00.Z", "2013-01-01T10:00+0500", "2013-01-01T10:00:00+05:00x", "1900-02-29"],
            String,
        ),
        (&["20é3-01-01", "2013-01-0é", "2013-01-01T10:00:00.1234567890"], String),
    ];
    for (texts, expected) in cases {
        for text in *texts {
            assert_eq!(type_of(text), *expected, "{text:?}");
        }
    }
}

#[test]
fn instants_are_ordered_by_time() {
    let sorted = [
        "0000-01-01",
        "1969-12-31T23:59:59.9",
        "1970-01-01",
        "2013-01-01T12:00:00+05:00",
        "2013-01-01T07:00:00.000000001",
        "2013-01-01T02:00-05:30",
        "2013-03-01",
    ];
    let instants: Vec<_> = sorted.iter().map(|text| Instant::parse(text).unwrap()).collect();
    assert!(instants.is_sorted_by(|a, b| a < b), "{instants:?}");
    assert_eq!(Instant::parse("2013-01-01T00:00Z"), Instant::parse("2013-01-01"));
}

#[test]
fn numerics_compare_exactly_and_read_back() {
    let (odd, even) = (Numeric::Integer((1 << 53) + 1), Numeric::Number(9_007_199_254_740_992.0));
    assert_eq!(odd.compare(even), Some(Ordering::Greater));
    assert_eq!(even.compare(odd), Some(Ordering::Less));
    assert_eq!(Numeric::Integer(i64::MAX).compare(Numeric::Number(9.3e18)), Some(Ordering::Less));
    assert_eq!(Numeric::Integer(2), Numeric::Number(2.0));
    assert_eq!(Numeric::Integer(1).compare(Numeric::Number(f64::NAN)), None);
    for (number, text) in [(0.1, "0.1"), (-0.0, "0"), (12.0, "12"), (1e300, "1e+300"), (5e-324, "5e-324")] {
        assert_eq!(Numeric::Number(number).to_string(), text);
        assert_eq!(text.parse::<Numeric>().unwrap(), Numeric::Number(number));
    }
    assert_eq!(Numeric::Integer(i64::MIN).to_string(), "-9223372036854775808");
    assert_eq!("12x".parse::<Numeric>().unwrap_err().to_string(), "`12x` is not a decimal number");
    assert!(serde_json::to_string(&Numeric::Number(f64::INFINITY)).is_err());
}

#[test]
fn null_tokens() {
    let nulls = NullValues::default();
    assert!(nulls.contains("") && nulls.contains("NA") && !nulls.contains("na") && !nulls.contains("NAN"));
    assert!(!NullValues::new(Vec::new()).unwrap().contains(""));
    let error = NullValues::new(vec![String::new(); NULL_TOKEN_LIMIT + 1]).unwrap_err();
    assert_eq!(error.to_string(), "101 null values; at most 100");
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    use ColumnType::{Boolean, Integer, Null, Number, String, Timestamp};
    prop::sample::select(vec![Null, Boolean, Integer, Number, Timestamp, String])
}

proptest! {
    #[test]
    fn types_form_a_lattice(a in any_type(), b in any_type(), c in any_type()) {
        prop_assert_eq!(a.join(b), b.join(a));
        prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
        prop_assert_eq!(a.join(a), a);
        prop_assert!(a.join(b).accepts(a) && a.accepts(ColumnType::Null) && ColumnType::String.accepts(a));
    }

    #[test]
    fn floats_parse_as_std_does(text in "[+-]?(0|[1-9][0-9]{0,20})\\.[0-9]{0,24}(e[+-]?[0-9]{1,2})?") {
        let Scalar::Numeric(Numeric::Number(number)) = Scalar::of(&text) else {
            return Err(TestCaseError::fail("not a number"));
        };
        prop_assert_eq!(number.to_bits(), text.parse::<f64>().unwrap().to_bits());
    }

    #[test]
    fn integers_parse_exactly(n in any::<i64>()) {
        prop_assert!(matches!(Scalar::of(&n.to_string()), Scalar::Numeric(Numeric::Integer(m)) if m == n));
    }

    #[test]
    fn any_float_reads_back(n in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
        prop_assert_eq!(Numeric::Number(n).to_string().parse::<Numeric>().unwrap().as_f64(), n);
    }

    #[test]
    fn any_text_has_a_type(text in "[-+0-9.eTZ: a]{0,30}|.{0,20}") {
        type_of(&text);
    }
}
