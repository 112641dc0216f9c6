use proptest::prelude::*;

use super::*;
use crate::checkpoint::{self, LogSigner, VerifierKey};

const NOTE: &str = include_str!("../../vectors/cosigned.note");
const BAD: &str = include_str!("../../vectors/bad-cosignatures.txt");
const LOG: &str = "log.example/vector+e179d00b+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const WITNESS_1: &str = "witness1.example+cef45f7e+BNBKsjJ0K7SrOhNovUYV5ObQIkq3GgFrr4UgozLJd4c3";
const WITNESS_2: &str = "witness2.example+ec4b6e07+BKCapfR6Z1mAL/lV+NwtKhSlyZ0jvpf4ZBJ/+Tg0VaTw";
const WITNESS_3: &str = "witness3.example+f9156104+BBfLefsrQSDysexl5BmNbgiyjoE/6wHkpACDm4XhgIDO";
const NEWEST: &str = "— witness1.example zvRffn//////////HuMfL5yOSRcznlD/o1KyrAghXgBNhTd4e273/umAJgz4uwWzHq/P2I0YQ6qExf/leniLMQN4iKpOiOeZ6WVICg==";

fn key(text: &str) -> WitnessKey {
    text.parse().unwrap()
}

fn note() -> Note {
    Note::parse(NOTE.as_bytes()).unwrap()
}

fn signer(byte: u8) -> WitnessSigner {
    WitnessSigner::from_seed(&format!("witness{}.example", byte / 0x11), &[byte; 32]).unwrap()
}

#[test]
fn keys_are_those_of_the_vectors_and_round_trip() {
    for (byte, text) in [(0x11, WITNESS_1), (0x22, WITNESS_2), (0x33, WITNESS_3)] {
        assert_eq!(signer(byte).verifier_key().to_string(), text);
        assert_eq!(key(text).to_string(), text);
    }
}

#[test]
fn the_cosigned_note_of_the_vectors() {
    assert_eq!(key(WITNESS_1).time_of(&note()), Ok(Some(1_700_000_000)));
    assert_eq!(key(WITNESS_2).time_of(&note()), Ok(Some(1_700_000_600)));
    assert_eq!(key(WITNESS_3).time_of(&note()), Ok(None));
    // Signing is deterministic: our line is the one of the vectors.
    assert_eq!(signer(0x22).cosign(&note().text, 1_700_000_600), note().signatures[2]);
}

#[test]
fn a_line_of_another_type_is_kept_and_ignored() {
    // The last line is of type 0x06 (ML-DSA-44), by nobody that is known here.
    let parsed = note();
    assert_eq!(
        (parsed.signatures[3].name.as_str(), parsed.signatures[3].bytes.len()),
        ("pq.example", 8 + 2420)
    );
    assert_eq!(parsed.to_bytes(), NOTE.as_bytes());
    let log: VerifierKey = LOG.parse().unwrap();
    assert_eq!(checkpoint::open(NOTE.as_bytes(), &[log]).unwrap().size, 8);
    // Neither is a good signature under the witness's name but with the id of type 0x01.
    let mut renamed = parsed;
    renamed.signatures[1].key_id = [0xe5, 0x47, 0xa6, 0x2f];
    assert_eq!(key(WITNESS_1).time_of(&renamed), Ok(None));
}

#[test]
fn the_bad_lines_of_the_vectors_reject_the_note() {
    let lines: Vec<&str> = BAD.lines().collect();
    assert_eq!(lines.len(), 10);
    for pair in lines.chunks(2) {
        let mut bad = note();
        bad.signatures[1] = NoteSignature::parse(pair[1]).unwrap();
        let rejected = Err(CheckpointError::Signature("witness1.example".to_owned()));
        assert_eq!(key(WITNESS_1).time_of(&bad), rejected, "{}", pair[0]);
        // Beside a good line of the same key too.
        let mut beside = note();
        beside.signatures.push(bad.signatures.remove(1));
        assert_eq!(key(WITNESS_1).time_of(&beside), rejected, "{}", pair[0]);
        // A verifier that does not know the key does not care.
        assert_eq!(key(WITNESS_2).time_of(&beside), Ok(Some(1_700_000_600)));
    }
}

#[test]
fn the_newest_of_several_lines_counts_up_to_the_limit_of_times() {
    let mut twice = note();
    twice.signatures.insert(0, NoteSignature::parse(NEWEST).unwrap());
    assert_eq!(key(WITNESS_1).time_of(&twice), Ok(Some(TIME_LIMIT)));
    twice.signatures.push(signer(0x11).cosign(&twice.text, 5));
    assert_eq!(key(WITNESS_1).time_of(&twice), Ok(Some(TIME_LIMIT)));
}

#[test]
fn keys_of_logs_and_witnesses_are_not_exchanged() {
    assert!(WITNESS_1.parse::<VerifierKey>().is_err());
    let error = LOG.parse::<WitnessKey>().unwrap_err().to_string();
    assert!(error.contains("type 1"), "{error}");
    // The same seed and name as a log gives another id, so no line is mistaken for the other's.
    let log = LogSigner::from_seed("witness1.example", &[0x11; 32]).unwrap();
    assert_ne!(log.verifier_key().key_id(), key(WITNESS_1).key_id());
    assert_eq!(log.verifier_key().public_key(), key(WITNESS_1).public_key());
}

#[test]
fn malformed_keys_are_refused() {
    let changed = WITNESS_1.replace("cef45f7e", "cef45f7f");
    let renamed = WITNESS_1.replace("witness1", "witness2");
    let short = &WITNESS_1[..WITNESS_1.len() - 4];
    let long = format!("{WITNESS_1}{}", "A".repeat(8192));
    for text in ["", "+", "++", "a+b", changed.as_str(), renamed.as_str(), short, long.as_str()] {
        assert!(text.parse::<WitnessKey>().is_err(), "{text}");
    }
    assert!(WitnessSigner::from_seed("a b", &[1; 32]).is_err());
}

#[test]
fn the_seed_is_not_printed() {
    let shown = format!("{:?}", WitnessSigner::from_seed("w", &[0xab; 32]).unwrap());
    assert!(!shown.to_lowercase().contains("abab") && !shown.contains("171, 171"), "{shown}");
}

proptest! {
    #[test]
    fn no_bit_of_a_cosignature_can_change(time in 0..TIME_LIMIT, text in "[a-z\n]{1,40}\n", bit in 0..SIGNATURE_BYTES * 8) {
        let signer = signer(0x11);
        let mut note = Note { text: text.clone(), signatures: vec![signer.cosign(&text, time)] };
        prop_assert_eq!(signer.verifier_key().time_of(&note), Ok(Some(time)));
        note.signatures[0].bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(signer.verifier_key().time_of(&note).is_err());
    }

    #[test]
    fn nothing_panics(text in ".{0,120}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = text.parse::<WitnessKey>();
        let witness = key(WITNESS_1);
        let line = NoteSignature { name: witness.name.clone(), key_id: witness.key_id(), bytes };
        let note = Note { text, signatures: vec![line] };
        prop_assert!(witness.time_of(&note).is_err());
    }
}
