use super::*;

#[test]
fn a_schema_name_is_safe_whatever_the_origin_is() {
    let long = "a".repeat(500);
    let origins =
        ["e53365451e567e9f.lineal.local", "x\"; DROP SCHEMA public; --", "Ünïcödé/é", "", long.as_str()];
    let mut names: Vec<String> = origins.iter().map(|origin| schema_name(origin)).collect();
    for name in &names {
        assert!(name.len() <= 63, "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
    }
    // What looks the same after cutting and replacing is still told apart.
    names.extend([schema_name("a.b"), schema_name("a-b"), schema_name(&"a".repeat(501))]);
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_schema_is_translated() {
    let text = dialect();
    assert!(!text.contains("INTEGER") && text.contains("size BIGINT NOT NULL"));
    assert_eq!(text.matches(" TEXT").count(), text.matches(" TEXT COLLATE \"C\"").count());
}
