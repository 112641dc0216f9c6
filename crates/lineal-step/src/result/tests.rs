use lineal_facts::predicate::ArtifactKind;
use lineal_sandbox::{EntropyReport, EntropySource, EntropyUse, Exit, Uncontrolled};

use super::*;

const GOLDEN: &str = concat!(
    r#"{"version":"1","attempt":"run-0123456789ab/train/1","outcome":{"finished":{"#,
    r#""report":{"exit":{"code":0},"wall_ms":1200,"cpu_ms":900,"max_rss_bytes":4096,"log_cut":false,"#,
    r#""entropy":{"reads":1,"bytes":16,"askers":[{"source":"getrandom","size_bytes":16,"flags":0,"#,
    r#""process":"python3","count":1}],"hash_seed_read":false},"clock_reads":0,"controlled":["network"],"#,
    r#""uncontrolled":[{"what":"aslr","why":"the pod forbids it"}]},"#,
    r#""outputs":{"model":{"kind":"file","digest":"sha256:2222222222222222222222222222222222222222222222222222222222222222","#,
    r#""sizeBytes":"12"}},"log":"sha256:3333333333333333333333333333333333333333333333333333333333333333"}},"#,
    r#""machine":{"cpuClass":"x86-64-v3","kernel":"6.1.0-18-amd64"}}"#,
);

fn result(outcome: Outcome) -> StepResult {
    StepResult {
        version: "1".to_owned(),
        attempt: "run-0123456789ab/train/1".to_owned(),
        outcome,
        machine: Machine { cpu_class: "x86-64-v3".to_owned(), kernel: "6.1.0-18-amd64".to_owned() },
    }
}

fn finished() -> Finished {
    let report = Report {
        exit: Exit::Code(0),
        wall_ms: 1200,
        cpu_ms: 900,
        max_rss_bytes: 4096,
        log_cut: false,
        entropy: EntropyReport {
            reads: 1,
            bytes: 16,
            askers: vec![EntropyUse {
                source: EntropySource::Getrandom,
                size_bytes: 16,
                flags: 0,
                process: Some("python3".to_owned()),
                count: 1,
            }],
            hash_seed_read: false,
        },
        clock_reads: 0,
        controlled: vec!["network".to_owned()],
        uncontrolled: vec![Uncontrolled { what: "aslr".to_owned(), why: "the pod forbids it".to_owned() }],
    };
    let model = Artifact {
        kind: ArtifactKind::File,
        digest: Digest::from_bytes([0x22; 32]),
        size_bytes: "12".to_owned(),
    };
    let outputs = [("model".to_owned(), model)].into();
    Finished { report, outputs, log: Some(Digest::from_bytes([0x33; 32])) }
}

#[test]
fn a_result_has_these_bytes() {
    let result = result(Outcome::Finished(Box::new(finished())));
    assert_eq!(String::from_utf8(result.to_bytes().unwrap()).unwrap(), GOLDEN);
    assert_eq!(StepResult::from_bytes(GOLDEN.as_bytes()).unwrap(), result);
}

#[test]
fn a_refusal_has_these_bytes() {
    let golden = concat!(
        r#"{"version":"1","attempt":"run-0123456789ab/train/1","outcome":{"refused":{"code":"step-output","#,
        r#""message":"no"}},"machine":{"cpuClass":"x86-64-v3","kernel":"6.1.0-18-amd64"}}"#,
    );
    let result = result(Outcome::Refused(Refusal::new("step-output", "no")));
    assert_eq!(String::from_utf8(result.to_bytes().unwrap()).unwrap(), golden);
    assert_eq!(StepResult::from_bytes(golden.as_bytes()).unwrap(), result);
}

#[test]
fn results_that_cannot_be_are_refused() {
    let cases: &[(&str, &str, &str)] = &[
        (r#""version":"1""#, r#""version":"0""#, "version `0`"),
        (r#""version":"1""#, r#""version":1"#, "invalid type"),
        (r#"{"finished":"#, r#"{"done":"#, "unknown variant"),
        (r#""log":"#, r#""logs":"#, "unknown field `logs`"),
        (r#""exit":{"code":0}"#, r#""exit":{"code":1}"#, "did not end with code 0"),
        (r#""model":"#, r#""..":"#, "no name"),
        (r#""sizeBytes":"12""#, r#""sizeBytes":"-12""#, "no decimal number"),
        (r#""sizeBytes":"12""#, r#""sizeBytes":"012""#, "no decimal number"),
        ("x86-64-v3", "", "`machine.cpuClass` is empty"),
        (r#""kernel":"6.1.0"#, r#""kernel":"\n"#, "`machine.kernel` has a control character"),
    ];
    for (old, new, expected) in cases {
        assert!(GOLDEN.contains(old), "{old}");
        let error = StepResult::from_bytes(GOLDEN.replacen(old, new, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{new}: {error}");
    }
}

#[test]
fn a_long_message_is_cut_where_a_character_ends() {
    let refusal = Refusal::new("step-output", "ä".repeat(MESSAGE_LIMIT_BYTES));
    assert_eq!(refusal.message.len(), MESSAGE_LIMIT_BYTES);
    let odd = Refusal::new("step-output", format!("x{}", "ä".repeat(MESSAGE_LIMIT_BYTES)));
    assert_eq!(odd.message.len(), MESSAGE_LIMIT_BYTES - 1);
    result(Outcome::Refused(odd)).to_bytes().unwrap();
}

#[test]
fn a_giant_result_is_neither_read_nor_written() {
    let mut giant = finished();
    giant.report.controlled = vec!["x".repeat(RESULT_LIMIT_BYTES)];
    let giant = result(Outcome::Finished(Box::new(giant)));
    assert!(matches!(giant.to_bytes(), Err(WireError::TooLarge { .. })));
    assert!(matches!(
        StepResult::from_bytes(&vec![b' '; RESULT_LIMIT_BYTES + 1]),
        Err(WireError::TooLarge { .. })
    ));
}
