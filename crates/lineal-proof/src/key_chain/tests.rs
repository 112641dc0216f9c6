use lineal_facts::Digest;
use lineal_facts::predicate::{Incident, KeyRecord, KeyRole, KeyState};
use lineal_facts::statement::Subject;

use super::*;

fn pae_of(predicate: Predicate) -> Vec<u8> {
    let statement = Statement { subject: vec![Subject::new("it", Digest::of(b"it"))], predicate };
    envelope::pae(PAYLOAD_TYPE, &statement.to_bytes().unwrap())
}

fn key() -> Predicate {
    Predicate::Key(KeyRecord {
        holder: "ana".to_owned(),
        role: KeyRole::Approver,
        state: KeyState::Active,
        public_key: "pem".to_owned(),
        replaces: None,
        reason: None,
        stated_at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    })
}

fn incident(message: &str) -> Predicate {
    let found_at = "2026-01-02T03:04:05.678Z".parse().unwrap();
    Predicate::Incident(Incident { code: "x".to_owned(), message: message.to_owned(), found_at })
}

fn chain(entries: &[(u64, &[u8])]) -> KeyChain {
    let mut chain = KeyChain::default();
    entries.iter().for_each(|(position, entry)| chain.push(*position, &tree::leaf_hash(entry)));
    chain
}

fn checkpoint(lines: &[&str]) -> Checkpoint {
    let extensions = lines.iter().map(|line| (*line).to_owned()).collect();
    Checkpoint { extensions, ..Checkpoint::new("log.example", 9, Hash::of(b"root")) }
}

#[test]
fn key_statements_are_told_from_others_in_any_spelling() {
    assert_eq!(key().kind(), KEY_KIND);
    let pae = pae_of(key());
    assert!(is_key_statement(&pae));
    // A statement that only names the kind, and bytes that are none.
    assert!(!is_key_statement(&pae_of(incident(KEY_KIND))));
    assert!(!is_key_statement(&pae_of(incident("a \"quoted\" word"))));
    assert!(!is_key_statement(KEY_KIND.as_bytes()));
    assert!(!is_key_statement(b""));
    // JSON has other spellings of the same text.
    let (_, payload) = envelope::parse_pae(&pae).unwrap();
    let payload = String::from_utf8(payload.to_vec()).unwrap();
    let escaped = payload.replace("attestation/key", "attestation\\/\\u006bey");
    assert_ne!(payload, escaped);
    assert!(is_key_statement(&envelope::pae(PAYLOAD_TYPE, escaped.as_bytes())));
    assert!(!is_key_statement(&envelope::pae("text/plain", payload.as_bytes())));
}

#[test]
fn the_hash_is_over_every_statement_its_place_and_their_order() {
    let all = chain(&[(0, b"a"), (3, b"b"), (7, b"c")]);
    assert_eq!(all.count(), 3);
    let others: [&[(u64, &[u8])]; 6] = [
        &[(0, b"a"), (7, b"c")],
        &[(0, b"a"), (3, b"b")],
        &[(0, b"a"), (3, b"b"), (7, b"d")],
        &[(0, b"a"), (4, b"b"), (7, b"c")],
        &[(0, b"a"), (3, b"c"), (7, b"b")],
        &[(0, b"a"), (3, b"b"), (7, b"c"), (8, b"d")],
    ];
    for other in others {
        let other = chain(other);
        assert!(matches!(other.check(&all, false), Err(VerifyError::Incomplete(_))), "{other:?}");
        assert!(matches!(other.check(&all, true), Err(VerifyError::Tampered(_))), "{other:?}");
    }
    assert_eq!(all.check(&all, false), Ok(()));
    let mut pushed = KeyChain::default();
    pushed.push_if_key(0, b"a", &pae_of(key()));
    pushed.push_if_key(1, b"x", &pae_of(incident("x")));
    assert_eq!(pushed, chain(&[(0, b"a")]));
}

#[test]
fn a_checkpoint_says_it_in_one_line_of_one_form() {
    let all = chain(&[(0, b"a"), (3, b"b")]);
    let line = all.to_line();
    assert_eq!(KeyChain::of(&checkpoint(&[])), Ok(None));
    assert_eq!(KeyChain::of(&checkpoint(&["other"])), Ok(None));
    assert_eq!(KeyChain::of(&checkpoint(&["other", &line])), Ok(Some(all)));
    let ten = line.replace("keys 2", "keys 10");
    let bad = [line.replace("keys 2", "keys 02"), line.replace("keys 2", "keys +2"), format!("{line} "), ten];
    for bad in bad.iter().map(String::as_str).chain(["lineal-keys ", "lineal-keys 2", "lineal-keys 2 AAAA"]) {
        assert!(KeyChain::of(&checkpoint(&[bad])).is_err(), "{bad}");
    }
    assert!(KeyChain::of(&checkpoint(&[&line, &line])).is_err());
}
