use proptest::prelude::*;
use serde_json::json;

use super::*;

fn text(value: &Value) -> String {
    String::from_utf8(canonical(value).unwrap()).unwrap()
}

#[test]
fn rfc8785_section_3_2_2_and_3_2_3() {
    // The sample of RFC 8785, section 3.2.2, and its canonical form, section 3.2.4.
    let input = r#"{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#;
    let value = parse_value(input.as_bytes()).unwrap();
    assert_eq!(
        text(&value),
        "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
         \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
    );
}

#[test]
fn rfc8785_key_order_is_utf16() {
    // RFC 8785, section 3.2.3: the order of these keys differs between UTF-8 and UTF-16.
    let value =
        json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
    assert_eq!(
        text(&value),
        "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
    );
}

#[test]
fn inexact_integers_are_refused() {
    assert!(canonical(&json!(9_007_199_254_740_993_u64)).is_err());
    assert_eq!(text(&json!(9_007_199_254_740_992_u64)), "9007199254740992");
    assert_eq!(text(&json!(-0.0)), "0");
}

#[test]
fn duplicate_keys_are_refused_at_any_depth() {
    for bad in [r#"{"a":1,"a":1}"#, r#"[{"x":{"b":1,"b":2}}]"#, r#"{"a":1,"\u0061":2}"#] {
        let error = parse_value(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("duplicate key"), "{error}");
    }
}

#[test]
fn depth_and_trailing_bytes_are_bounded() {
    assert!(parse_value("[".repeat(100_000).as_bytes()).is_err());
    let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    assert!(parse_value(deep.as_bytes()).is_err());
    assert!(parse_value(b"{} x").is_err());
    assert!(parse_value(b"\xff").is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=(1 << 53)).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".{0,6}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_form_is_a_fixed_point(value in any_json()) {
        let once = canonical(&value).unwrap();
        let again = canonical(&parse_value(&once).unwrap()).unwrap();
        prop_assert_eq!(once, again);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_value(&bytes);
    }
}
