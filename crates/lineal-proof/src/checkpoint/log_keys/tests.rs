use super::*;
use crate::tree::Hash;

const ORIGIN: &str = "log.example";

fn signer(seed: u8) -> LogSigner {
    LogSigner::from_seed(ORIGIN, &[seed; 32]).unwrap()
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN, size, Hash::of(&size.to_be_bytes()))
}

/// The keys 1 from the beginning, 2 from size 5, 3 from size 9.
fn keys() -> LogKeys {
    let mut keys = LogKeys::new(signer(1).verifier_key().clone());
    keys.push(5, signer(2).verifier_key().clone()).unwrap();
    keys.push(9, signer(3).verifier_key().clone()).unwrap();
    keys
}

#[test]
fn each_size_has_its_key() {
    let keys = keys();
    for (size, right) in [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (1_000_000, 3)] {
        assert_eq!(keys.at(size), signer(right).verifier_key());
        for seed in 1..=3 {
            let note = signer(seed).sign(&checkpoint(size)).unwrap();
            let opened = keys.open(&note);
            if seed == right {
                assert_eq!(opened.unwrap().size, size);
            } else {
                assert!(matches!(opened, Err(CheckpointError::Retired { .. })), "key {seed} at size {size}");
            }
        }
        let stranger = signer(9).sign(&checkpoint(size)).unwrap();
        assert!(matches!(keys.open(&stranger), Err(CheckpointError::Unsigned(_))));
    }
    assert_eq!(keys.current(), signer(3).verifier_key());
}

#[test]
fn the_checkpoint_of_the_handover_is_good_under_either_key() {
    let note = signer(1).hand_over(&signer(2), &checkpoint(5)).unwrap();
    for known in [signer(1), signer(2)] {
        assert_eq!(open(&note, std::slice::from_ref(known.verifier_key())).unwrap().size, 5);
    }
    assert_eq!(keys().open(&note).unwrap().size, 5);
    // A known key with a signature that does not fit rejects the note, also where it need not sign.
    let mut parsed = Note::parse(&note).unwrap();
    parsed.signatures[0].bytes[0] ^= 1;
    assert!(matches!(keys().open(&parsed.to_bytes()), Err(CheckpointError::Signature(_))));
}

#[test]
fn the_text_is_read_back_and_nothing_else_is() {
    let text = keys().to_string();
    assert_eq!(text.parse::<LogKeys>().unwrap(), keys());
    let single = LogKeys::new(signer(1).verifier_key().clone());
    assert_eq!(single.to_string(), format!("{}\n", signer(1).vkey()));
    assert_eq!(single.to_string().parse::<LogKeys>().unwrap(), single);
    let (one, two) = (signer(1).vkey(), signer(2).vkey());
    let other = LogSigner::from_seed("other.example", &[2; 32]).unwrap().vkey();
    for bad in [
        String::new(),
        format!("{one} 0\n"),
        format!("{one}\n{two}\n"),
        format!("{one}\n{two} 0\n"),
        format!("{one}\n{two} 05\n"),
        format!("{one}\n{two} -5\n"),
        format!("{one}\n{one} 5\n"),
        format!("{one}\n{other} 5\n"),
        format!("{one}\n{two} 5\n{} 5\n", signer(3).vkey()),
        format!("{one}\n\n{two} 5\n"),
    ] {
        assert!(bad.parse::<LogKeys>().is_err(), "{bad}");
    }
}

#[test]
fn the_number_of_keys_is_limited() {
    let mut keys = LogKeys::new(signer(0).verifier_key().clone());
    for number in 1..u8::try_from(LOG_KEYS_LIMIT).unwrap() {
        keys.push(u64::from(number), signer(number).verifier_key().clone()).unwrap();
    }
    assert!(keys.push(1000, signer(200).verifier_key().clone()).is_err());
}
