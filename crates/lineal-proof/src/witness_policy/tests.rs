use proptest::prelude::*;

use super::*;
use crate::checkpoint::LogSigner;
use crate::cosignature::WitnessSigner;
use crate::tree::Hash;

const NOTE: &str = include_str!("../../vectors/cosigned.note");
const POLICY: &str = include_str!("../../vectors/two-of-three.policy");
const ORIGIN: &str = "log.example";

fn log() -> LogSigner {
    LogSigner::from_seed(ORIGIN, &[200; 32]).unwrap()
}

fn witness(number: u8) -> WitnessSigner {
    WitnessSigner::from_seed(&format!("w{number}.example"), &[number; 32]).unwrap()
}

fn vkey(number: u8) -> String {
    witness(number).verifier_key().to_string()
}

/// The log, witnesses `w1` to `w5` and these lines.
fn policy(lines: &str) -> WitnessPolicy {
    parse(lines).unwrap()
}

fn parse(lines: &str) -> Result<WitnessPolicy, PolicyError> {
    let witnesses: String = (1..=5).map(|n| format!("witness w{n} {}\n", vkey(n))).collect();
    WitnessPolicy::parse(format!("log {}\n{witnesses}{lines}", log().vkey()).as_bytes())
}

/// A checkpoint with cosignatures of these witnesses at these times.
fn note(cosigned: &[(u8, u64)]) -> Vec<u8> {
    let mut note = Note::parse(&log().sign(&Checkpoint::new(ORIGIN, 9, Hash::of(b"root"))).unwrap()).unwrap();
    for (number, time) in cosigned {
        note.signatures.push(witness(*number).cosign(&note.text, *time));
    }
    note.to_bytes()
}

fn judged(policy: &WitnessPolicy, cosigned: &[(u8, u64)]) -> Quorum {
    policy.evaluate(&note(cosigned), u64::MAX).unwrap().quorum
}

#[test]
fn the_policy_and_the_note_of_the_vectors() {
    let policy = WitnessPolicy::parse(POLICY.as_bytes()).unwrap();
    let witnessed = policy.evaluate(NOTE.as_bytes(), u64::MAX).unwrap();
    assert_eq!(witnessed.checkpoint.size, 8);
    let named: Vec<_> = witnessed.cosigned.iter().map(|one| (one.name.as_str(), one.time)).collect();
    assert_eq!(named, [("w1", 1_700_000_000), ("w2", 1_700_000_600)]);
    assert_eq!(witnessed.missing, ["w3"]);
    assert_eq!(witnessed.require(), Ok(Some(1_700_000_000)));
}

#[test]
fn the_example_of_the_format() {
    let policy = policy(
        "# two organisations\n\n group X-witnesses 2 w1 w2\tw3 \n  # the other\ngroup Y-witnesses any w4 w5\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
    );
    assert_eq!(judged(&policy, &[(1, 10), (2, 20), (4, 30)]), Quorum::Reached { attested_at: 10 });
    assert_eq!(judged(&policy, &[(1, 10), (2, 20), (3, 30), (5, 15)]), Quorum::Reached { attested_at: 15 });
    assert_eq!(judged(&policy, &[(1, 10), (2, 20), (3, 30)]), Quorum::Missed);
    assert_eq!(judged(&policy, &[(1, 10), (4, 20), (5, 30)]), Quorum::Missed);
    let witnessed = policy.evaluate(&note(&[(1, 10)]), u64::MAX).unwrap();
    let error = witnessed.require().unwrap_err().to_string();
    assert!(error.contains("cosigned by w1; the quorum is 2 of X-witnesses, Y-witnesses"), "{error}");
    assert_eq!(witnessed.missing, ["w2", "w3", "w4", "w5"]);
}

#[test]
fn no_single_witness_makes_a_checkpoint_look_fresh_or_old() {
    let policy = policy("group q 2 w1 w2 w3\nquorum q\n");
    assert_eq!(judged(&policy, &[(1, 100), (2, 110)]), Quorum::Reached { attested_at: 100 });
    // w3 claims to cosign in the far future; two honest witnesses still tell the age.
    assert_eq!(judged(&policy, &[(1, 100), (2, 110), (3, 1 << 40)]), Quorum::Reached { attested_at: 110 });
    // w3 cosigned long ago.
    assert_eq!(judged(&policy, &[(1, 100), (2, 110), (3, 1)]), Quorum::Reached { attested_at: 100 });
    // One from the future does not count at all, so it cannot complete a quorum either.
    let witnessed = policy.evaluate(&note(&[(1, 100), (3, 1 << 40)]), 1000).unwrap();
    assert_eq!((witnessed.quorum, &witnessed.missing[..1]), (Quorum::Missed, &["w2".to_owned()][..]));
    assert!(witnessed.missing.contains(&"w3".to_owned()));
}

#[test]
fn one_witness_or_nobody_can_be_the_quorum() {
    assert_eq!(judged(&policy("quorum w2\n"), &[(2, 7)]), Quorum::Reached { attested_at: 7 });
    assert_eq!(judged(&policy("quorum w2\n"), &[(1, 7), (3, 7)]), Quorum::Missed);
    let nobody = policy("quorum none\n");
    assert_eq!(judged(&nobody, &[]), Quorum::NotRequired);
    assert!(!nobody.needs_witnesses() && policy("quorum w1\n").needs_witnesses());
    assert_eq!(nobody.evaluate(&note(&[(1, 7)]), 9).unwrap().require(), Ok(None));
}

#[test]
fn cosignatures_do_not_replace_the_logs_signature() {
    let policy = policy("quorum w1\n");
    let mut stripped = Note::parse(&note(&[(1, 7)])).unwrap();
    stripped.signatures.remove(0);
    assert!(matches!(policy.evaluate(&stripped.to_bytes(), 9), Err(VerifyError::UntrustedKey(_))));
    let other =
        policy.clone().with_logs([LogSigner::from_seed(ORIGIN, &[3; 32]).unwrap().verifier_key().clone()]);
    assert!(matches!(other.evaluate(&note(&[(1, 7)]), 9), Err(VerifyError::UntrustedKey(_))));
}

#[test]
fn a_bad_cosignature_of_a_known_witness_rejects_the_note() {
    let policy = policy("quorum w1\n");
    // Even of a witness that the quorum does not need.
    let mut bad = Note::parse(&note(&[(1, 7), (5, 7)])).unwrap();
    bad.signatures[2].bytes[20] ^= 1;
    assert!(matches!(policy.evaluate(&bad.to_bytes(), 9), Err(VerifyError::Tampered(_))));
    // A cosignature of another text is one.
    let mut moved = Note::parse(&note(&[(1, 7)])).unwrap();
    moved.signatures[1] = witness(1).cosign("log.example\n10\n", 7);
    assert!(matches!(policy.evaluate(&moved.to_bytes(), 9), Err(VerifyError::Tampered(_))));
    // Of an unknown one it is nobody's business.
    let mut unknown = Note::parse(&note(&[(1, 7), (9, 7)])).unwrap();
    unknown.signatures[2].bytes[20] ^= 1;
    assert!(policy.evaluate(&unknown.to_bytes(), 9).is_ok());
}

#[test]
fn what_the_format_forbids_is_refused() {
    let again = format!("witness w6 {}\nquorum none\n", vkey(1));
    let renamed = WitnessSigner::from_seed("elsewhere", &[1; 32]).unwrap().verifier_key().to_string();
    let renamed = format!("witness w6 {renamed}\nquorum none\n");
    let own = WitnessSigner::from_seed("me", &[200; 32]).unwrap().verifier_key().to_string();
    let own = format!("witness w6 {own}\nquorum none\n");
    let log_again = format!("log {}\nquorum none\n", log().vkey());
    let log_as_witness = format!("witness w6 {}\nquorum none\n", log().vkey());
    let witness_as_log = format!("log {}\nquorum none\n", vkey(7));
    let groups: String = (0..33)
        .map(|n| format!("group g{n} any {}\n", if n == 0 { "w1".into() } else { format!("g{}", n - 1) }))
        .collect();
    let bad: &[(&str, &str)] = &[
        ("", "no line `quorum"),
        ("quorum none", "no newline at the end"),
        ("quorum none\nquorum none\n", "second quorum"),
        ("quorum w9\n", "no witness or group `w9`"),
        ("quorum g\ngroup g any w1\n", "stands above"),
        ("quorum\n", "expected `log VKEY"),
        ("quorum w1 w2\n", "expected `log VKEY"),
        ("Quorum none\n", "expected `log VKEY"),
        ("group g 0 w1\nquorum g\n", "0 of 1"),
        ("group g 3 w1 w2\nquorum g\n", "3 of 2"),
        ("group g any\nquorum g\n", "1 of 0"),
        ("group g all\nquorum g\n", "0 of 0"),
        ("group g 01 w1\nquorum g\n", "`01` is not a number"),
        ("group g +1 w1\nquorum g\n", "`+1` is not a number"),
        ("group g most w1\nquorum g\n", "`most` is not a number"),
        ("group g any w1 none\nquorum g\n", "no witness or group `none`"),
        ("group none any w1\nquorum none\n", "meaning of its own"),
        ("group w1 any w2\nquorum w1\n", "`w1` is there already"),
        ("group g any w1 w1\nquorum g\n", "member already"),
        ("group g any w1\ngroup h any w1\nquorum g\n", "member already"),
        ("group g any g\nquorum g\n", "no witness or group `g`"),
        ("witness w6 nonsense\nquorum none\n", "not a verifier key"),
        ("quorum\u{a0}none\n", "expected `log VKEY"),
        ("quorum none\r\n", "control character"),
        ("# \u{7f}\nquorum none\n", "control character"),
        (&again, "`w6` has the key of `w1`"),
        (&renamed, "`w6` has the key of `w1`"),
        (&own, "has the key of the log"),
        (&log_again, "is there already"),
        (&log_as_witness, "signatures of type 1"),
        (&witness_as_log, "signatures of type 4"),
        (&groups, "more than 32 groups"),
    ];
    for (lines, expected) in bad {
        let error = parse(lines).unwrap_err().to_string();
        assert!(error.contains(expected), "{lines}: {error}");
    }
    assert!(WitnessPolicy::parse(b"quorum none\n# \xff\n").is_err());
    assert!(WitnessPolicy::parse(&b"#\n".repeat(POLICY_LIMIT_BYTES)).is_err());
    let error = parse("\n\ngroup g 9 w1\n").unwrap_err();
    assert_eq!(error, PolicyError::Line { line: 9, reason: "9 of 1 members".to_owned() });
}

#[test]
fn an_ml_dsa_witness_is_refused_and_not_half_applied() {
    use base64::Engine as _;
    let key = [&[6_u8][..], &[7; 1312]].concat();
    let id = Hash::of(&[&b"pq.example\n"[..], &key].concat()).hex();
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let error =
        parse(&format!("witness pq pq.example+{}+{key}\nquorum pq\n", &id[..8])).unwrap_err().to_string();
    assert!(error.contains("type 6"), "{error}");
}

#[test]
fn urls_belong_to_logs_and_witnesses() {
    let text =
        format!("witness a {} http://127.0.0.1:1/w\nlog {} http://x/\nquorum a\n", vkey(1), log().vkey());
    let policy = WitnessPolicy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.witnesses()[0].url.as_deref(), Some("http://127.0.0.1:1/w"));
    assert_eq!(policy.logs()[0].url.as_deref(), Some("http://x/"));
    let long = format!("witness a {} {}\nquorum a\n", vkey(1), "u".repeat(URL_LIMIT_BYTES + 1));
    assert!(WitnessPolicy::parse(long.as_bytes()).is_err());
}

#[test]
fn as_many_as_the_format_asks_for_fit() {
    let witnesses: String = (1..=32).map(|n| format!("witness w{n} {}\n", vkey(n))).collect();
    let members: Vec<String> = (1..=32).map(|n| format!("w{n}")).collect();
    let text = format!("{witnesses}group all all {}\nquorum all\n", members.join(" "));
    let policy = WitnessPolicy::parse(text.as_bytes()).unwrap().with_logs([log().verifier_key().clone()]);
    let all: Vec<(u8, u64)> = (1..=32).map(|n| (n, u64::from(n))).collect();
    assert_eq!(judged(&policy, &all), Quorum::Reached { attested_at: 1 });
    assert_eq!(judged(&policy, &all[1..]), Quorum::Missed);
    assert!(
        WitnessPolicy::parse(format!("{witnesses}witness w33 {}\nquorum none\n", vkey(33)).as_bytes())
            .is_err()
    );
}

proptest! {
    /// The time that k of n attest is the latest one at which k cosignatures were not older.
    #[test]
    fn a_quorum_attests_the_k_th_newest_time(
        k in 1_usize..=5, times in proptest::collection::vec(proptest::option::of(0_u64..50), 5)
    ) {
        let policy = policy(&format!("group q {k} w1 w2 w3 w4 w5\nquorum q\n"));
        let cosigned: Vec<(u8, u64)> = (1..).zip(&times).filter_map(|(n, time)| Some((n, (*time)?))).collect();
        let holds = |at: u64| cosigned.iter().filter(|(_, time)| *time >= at).count() >= k;
        let expected = (0..50).rev().find(|at| holds(*at));
        let expected = expected.map_or(Quorum::Missed, |attested_at| Quorum::Reached { attested_at });
        prop_assert_eq!(judged(&policy, &cosigned), expected);
    }

    #[test]
    fn nothing_panics(text in "(log|witness|group|quorum|none|any|all|[0-9]|[ \t\n]|.){0,60}", at in any::<usize>(), byte in any::<u8>()) {
        let _ = WitnessPolicy::parse(text.as_bytes());
        let mut mutated = POLICY.as_bytes().to_vec();
        let at = at % mutated.len();
        mutated[at] = byte;
        if let Ok(policy) = WitnessPolicy::parse(&mutated) {
            let _ = policy.evaluate(NOTE.as_bytes(), u64::MAX);
        }
    }
}

#[test]
fn who_would_be_a_quorum() {
    let nested = policy("group a 2 w1 w2 w3\ngroup q all a w4\nquorum q\n");
    let is_quorum = |numbers: &[usize]| nested.is_quorum(|at| numbers.contains(&(at + 1)));
    assert!(is_quorum(&[1, 3, 4]) && is_quorum(&[1, 2, 3, 4, 5]));
    assert!(!is_quorum(&[1, 2, 3, 5]) && !is_quorum(&[1, 4]) && !is_quorum(&[]));
    assert!(!policy("quorum none\n").is_quorum(|_| true), "nobody speaks for all");
}
