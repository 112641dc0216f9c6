use super::*;
use crate::predicate::{Incident, KeyRecord, KeyRole, KeyState, Outcome, TestResult};
use crate::time::Timestamp;

fn incident() -> Statement {
    Statement {
        subject: vec![Subject::new("x", Digest::of(b"x"))],
        predicate: Predicate::Incident(Incident {
            code: "nondeterministic-step".to_owned(),
            message: "two results".to_owned(),
            found_at: Timestamp::from_unix_ms(0),
        }),
    }
}

#[test]
fn golden_bytes_v1() {
    let golden = format!(
        "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"predicate\":{{\"code\":\"nondeterministic-step\",\
         \"foundAt\":\"1970-01-01T00:00:00Z\",\"message\":\"two results\"}},\
         \"predicateType\":\"https://lineal.dev/attestation/incident/v1\",\
         \"subject\":[{{\"digest\":{{\"sha256\":\"{}\"}},\"name\":\"x\"}}]}}",
        Digest::of(b"x").hex()
    );
    assert_eq!(String::from_utf8(incident().to_bytes().unwrap()).unwrap(), golden);
    assert_eq!(Statement::from_bytes(golden.as_bytes()).unwrap(), incident());
}

#[test]
fn key_records_v1_with_and_without_the_later_fields() {
    let key = Digest::of(b"key");
    let mut record = KeyRecord {
        holder: "ana".to_owned(),
        role: KeyRole::Approver,
        state: KeyState::Active,
        public_key: "PEM".to_owned(),
        replaces: None,
        reason: None,
        stated_at: Timestamp::from_unix_ms(0),
    };
    let golden = |fields: [&str; 4]| {
        let [reason, replaces, role, state] = fields;
        format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"predicate\":{{\"holder\":\"ana\",\
             \"publicKey\":\"PEM\",{reason}{replaces}\"role\":\"{role}\",\"state\":\"{state}\",\
             \"statedAt\":\"1970-01-01T00:00:00Z\"}},\
             \"predicateType\":\"https://lineal.dev/attestation/key/v1\",\
             \"subject\":[{{\"digest\":{{\"sha256\":\"{}\"}},\"name\":\"key/ana\"}}]}}",
            key.hex()
        )
    };
    let check = |record: &KeyRecord, golden: String| {
        let subject = vec![Subject::new("key/ana", key)];
        let statement = Statement { subject, predicate: Predicate::Key(record.clone()) };
        assert_eq!(String::from_utf8(statement.to_bytes().unwrap()).unwrap(), golden);
        assert_eq!(Statement::from_bytes(golden.as_bytes()).unwrap(), statement);
    };
    // What the first builds wrote.
    check(&record, golden(["", "", "approver", "active"]));
    record.replaces = Some(Digest::of(b"old"));
    let replaces = format!("\"replaces\":\"{}\",", Digest::of(b"old"));
    check(&record, golden(["", &replaces, "approver", "active"]));
    record = KeyRecord {
        replaces: None,
        reason: Some("lost".to_owned()),
        role: KeyRole::Log,
        state: KeyState::Revoked,
        ..record
    };
    check(&record, golden(["\"reason\":\"lost\",", "", "log", "revoked"]));
}

#[test]
fn other_types_and_shapes_are_refused() {
    let text = String::from_utf8(incident().to_bytes().unwrap()).unwrap();
    let cases = [
        text.replace("Statement/v1", "Statement/v0.1"),
        text.replace("\"sha256\"", "\"md5\""),
        text.replace("{\"sha256\":", "{\"md5\":\"d41d8cd98f00b204e9800998ecf8427e\",\"sha256\":"),
        text.replace("\"code\"", "\"kode\""),
        text.replace("\"name\":\"x\"", "\"name\":\"x\",\"name\":\"y\""),
        text.replace(&text[text.find("\"subject\":").unwrap()..], "\"subject\":[]}"),
    ];
    for bad in cases {
        assert!(Statement::from_bytes(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Statement::from_bytes(&vec![b' '; SIZE_LIMIT_BYTES + 1]).is_err());
}

#[test]
fn later_predicates_are_kept_but_not_interpreted() {
    let text =
        String::from_utf8(incident().to_bytes().unwrap()).unwrap().replace("incident/v1", "incident/v9");
    let statement = Statement::from_bytes(text.as_bytes()).unwrap();
    assert!(matches!(statement.predicate, Predicate::Unknown { .. }));
    assert_eq!(statement.to_bytes().unwrap(), text.as_bytes());
}

#[test]
fn test_result_uses_the_words_of_in_toto() {
    let statement = Statement {
        subject: vec![Subject::new("model", Digest::of(b"m"))],
        predicate: Predicate::TestResult(TestResult {
            result: Outcome::Passed,
            configuration: vec![],
            passed_tests: vec!["auc: 0.7".to_owned()],
            warned_tests: vec![],
            failed_tests: vec![],
        }),
    };
    let text = String::from_utf8(statement.to_bytes().unwrap()).unwrap();
    assert!(
        text.contains("\"result\":\"PASSED\"") && text.contains("\"passedTests\":[\"auc: 0.7\"]"),
        "{text}"
    );
}

#[test]
fn a_nul_in_any_string_is_refused() {
    let mut named = incident();
    named.subject[0].name = "x\0y".to_owned();
    let mut told = incident();
    let Predicate::Incident(record) = &mut told.predicate else { unreachable!() };
    record.message = "\0".to_owned();
    let unknown = |predicate: serde_json::Value| {
        let mut wire: serde_json::Value = serde_json::from_slice(&incident().to_bytes().unwrap()).unwrap();
        wire["predicateType"] = "https://example.com/v1".into();
        wire["predicate"] = predicate;
        serde_json::to_vec(&wire).unwrap()
    };
    let texts = [
        named.to_bytes().unwrap(),
        told.to_bytes().unwrap(),
        unknown(serde_json::json!({"a": [{"b\0": "c"}]})),
        unknown(serde_json::json!({"a": [["c\0"]]})),
    ];
    for text in texts {
        let error = Statement::from_bytes(&text).unwrap_err().to_string();
        assert!(error.contains("NUL"), "{error}");
    }
    // Six characters that only look like one.
    Statement::from_bytes(&unknown(serde_json::json!({"a": "\\u0000"}))).unwrap();
}
