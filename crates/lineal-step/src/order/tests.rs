use lineal_sandbox::EntropyKey;

use super::*;

const GOLDEN: &str = concat!(
    r#"{"version":"1","attempt":"run-0123456789ab/train/1","step":"train","run":["python3","train.py","--deep"],"#,
    r#""env":{"LINEAL_SEED":"7","TZ":"UTC"},"#,
    r#""code":"sha256:1111111111111111111111111111111111111111111111111111111111111111","#,
    r#""inputs":{"table":{"kind":"file","digest":"sha256:2222222222222222222222222222222222222222222222222222222222222222"},"#,
    r#""tree":{"kind":"directory","digest":"sha256:3333333333333333333333333333333333333333333333333333333333333333"}},"#,
    r#""parameters":"{\"depth\":3}","outputs":{"model":"model/weights.bin"},"#,
    r#""determinism":{"strict":{"key":"4444444444444444444444444444444444444444444444444444444444444444","epoch_s":1577836800}},"#,
    r#""limits":{"tmp_size_bytes":1073741824,"file_size_bytes":68719476736,"log_size_bytes":16777216,"#,
    r#""processes":4096,"timeout_ms":60000}}"#,
);

fn order() -> StepOrder {
    let digest = |byte| Digest::from_bytes([byte; 32]);
    let input = |kind, byte| Input { kind, digest: digest(byte) };
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    StepOrder {
        version: "1".to_owned(),
        attempt: "run-0123456789ab/train/1".to_owned(),
        step: "train".parse().unwrap(),
        run: ["python3", "train.py", "--deep"].map(str::to_owned).to_vec(),
        env: [("LINEAL_SEED", "7"), ("TZ", "UTC")].map(text).into(),
        code: digest(0x11),
        inputs: [
            ("table".to_owned(), input(ArtifactKind::File, 0x22)),
            ("tree".to_owned(), input(ArtifactKind::Directory, 0x33)),
        ]
        .into(),
        parameters: r#"{"depth":3}"#.to_owned(),
        outputs: [text(("model", "model/weights.bin"))].into(),
        determinism: Determinism::Strict { key: EntropyKey::new([0x44; 32]), epoch_s: 1_577_836_800 },
        limits: Limits { timeout_ms: Some(60_000), ..Limits::default() },
    }
}

#[test]
fn an_order_has_these_bytes() {
    assert_eq!(String::from_utf8(order().to_bytes().unwrap()).unwrap(), GOLDEN);
    assert_eq!(StepOrder::from_bytes(GOLDEN.as_bytes()).unwrap(), order());
}

#[test]
fn a_request_for_work_has_these_bytes() {
    let golden = r#"{"version":"1","cpuClass":"x86-64-v3","kernel":"6.1.0-18-amd64","previous":null}"#;
    let request = WorkRequest {
        version: "1".to_owned(),
        cpu_class: "x86-64-v3".to_owned(),
        kernel: "6.1.0-18-amd64".to_owned(),
        previous: None,
    };
    assert_eq!(String::from_utf8(request.to_bytes().unwrap()).unwrap(), golden);
    assert_eq!(WorkRequest::from_bytes(golden.as_bytes()).unwrap(), request);
}

#[test]
fn orders_that_cannot_be_carried_out_are_refused() {
    let cases: &[(&str, &str, &str)] = &[
        (r#""version":"1""#, r#""version":"2""#, "version `2`"),
        (r#""version":"1","#, "", "missing field `version`"),
        (r#""version":"1""#, r#""version":"1","extra":1"#, "unknown field `extra`"),
        (r#""version":"1""#, r#""version":"1","attempt":"x""#, "duplicate key"),
        ("run-0123456789ab/train/1", "", "`attempt` is empty"),
        ("run-0123456789ab/train/1", r"a\u0007b", "`attempt` has a control character"),
        (r#""step":"train""#, r#""step":"../x""#, "is not a step name"),
        (r#"["python3","train.py","--deep"]"#, "[]", "`run` has no program"),
        (r#"["python3","train.py","--deep"]"#, r#"["a","b\u0000c"]"#, "NUL"),
        (r#""TZ":"#, r#""T=Z":"#, "no environment variable"),
        (r#""TZ":"#, r#""":"#, "no environment variable"),
        (r#""tree":{"#, r#""..":{"#, "no name"),
        (r#""tree":{"#, r#""a/b":{"#, "no name"),
        (r#""model":"#, r#""../model":"#, "no name"),
        ("model/weights.bin", "../weights.bin", "stays inside"),
        ("model/weights.bin", "/etc/passwd", "stays inside"),
        ("model/weights.bin", "", "stays inside"),
        ("sha256:1111", "sha256:zzzz", "is not a digest"),
        (r#""timeout_ms":60000"#, r#""timeout_ms":-1"#, "invalid value"),
        (r#""processes":4096"#, r#""processes":4096,"more":1"#, "unknown field `more`"),
    ];
    for (old, new, expected) in cases {
        assert!(GOLDEN.contains(old), "{old}");
        let error = StepOrder::from_bytes(GOLDEN.replacen(old, new, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{new}: {error}");
    }
}

#[test]
fn a_giant_order_is_neither_read_nor_written() {
    let mut giant = order();
    giant.parameters = "x".repeat(ORDER_LIMIT_BYTES);
    assert!(matches!(giant.to_bytes(), Err(WireError::TooLarge { .. })));
    let bytes = vec![b' '; ORDER_LIMIT_BYTES + 1];
    assert!(matches!(StepOrder::from_bytes(&bytes), Err(WireError::TooLarge { .. })));
}
