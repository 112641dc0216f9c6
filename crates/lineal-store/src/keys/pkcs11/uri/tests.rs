use super::*;

const GOOD: &str =
    "pkcs11:token=My%20token;object=builder;type=private?module-path=lib/m.so&pin-source=file:pin";

#[test]
fn a_key_is_named() {
    let uri: Pkcs11Uri = GOOD.parse().unwrap();
    assert_eq!((uri.token.as_str(), uri.object.as_deref()), ("My token", Some("builder")));
    assert_eq!((uri.module.to_str(), uri.pin_file.to_str()), (Some("lib/m.so"), Some("pin")));
    assert_eq!(uri.to_string(), "key `builder` in token `My token`");
    let by_id = GOOD.replace("object=builder", "serial=1f;id=%01%aF");
    let uri: Pkcs11Uri = by_id.parse().unwrap();
    assert_eq!((uri.id, uri.serial.as_deref()), (Some(vec![1, 0xaf]), Some("1f")));
}

#[test]
fn other_texts_are_refused() {
    for (bad, named) in [
        (GOOD.replace("pkcs11:", "file:"), "pkcs11:"),
        (GOOD.replace("token=My%20token;", ""), "`token` is missing"),
        (GOOD.replace("object=builder;", ""), "`object` or `id`"),
        (GOOD.replace("object=builder", "object="), "`object` is empty"),
        (GOOD.replace("module-path=lib/m.so&", ""), "`module-path` is missing"),
        (GOOD.replace("&pin-source=file:pin", ""), "`pin-source` is missing"),
        (GOOD.replace("%20", "%2"), "%-escape"),
        (GOOD.replace("%20", "%g0"), "%-escape"),
        (GOOD.replace("%20", "%ff"), "not UTF-8"),
        (GOOD.replace("object=", "object=a;object="), "there twice"),
        (GOOD.replace("type=private", "type=cert"), "`type` is not understood"),
        (GOOD.replace("type=private", "x-later=1"), "`x-later` is not understood"),
        (GOOD.replace("object=", "object"), "NAME=VALUE"),
        (format!("{GOOD}{}", "a".repeat(URI_LIMIT_BYTES)), "longer than"),
    ] {
        let error = bad.parse::<Pkcs11Uri>().unwrap_err().to_string();
        assert!(error.contains(named), "no `{named}` in: {error}");
    }
}

#[test]
fn a_pin_in_a_uri_is_refused_and_not_repeated() {
    let error = GOOD.replace("pin-source=file:pin", "pin-value=31337").parse::<Pkcs11Uri>().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("pin-source") && !text.contains("31337"), "{text}");
}
