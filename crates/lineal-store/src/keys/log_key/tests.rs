use lineal_proof::{Checkpoint, Hash};

use super::*;

const ORIGIN: &str = "lineal.local";

fn keys() -> (tempfile::TempDir, Keys) {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::new(&folder.path().join("keys")).with_identity(folder.path().join("identity.txt"));
    (folder, keys)
}

fn note(signer: &LogSigner, size: u64) -> Vec<u8> {
    signer.sign(&Checkpoint::new(ORIGIN, size, Hash::of(b"root"))).unwrap()
}

#[test]
fn the_seed_is_read_once_and_again_after_a_change() {
    let (_folder, keys) = keys();
    keys.create_log_key(ORIGIN).unwrap();
    let first = keys.load_log_key().unwrap();
    assert!(Arc::ptr_eq(&first, &keys.load_log_key().unwrap()));
    // Another process, with its own memory of the keys.
    let elsewhere = Keys::new(keys.folder()).with_identity(keys.identity_path.clone().unwrap());
    let known = keys.log_keys().unwrap();
    let second = elsewhere.create_next_log_key(ORIGIN).unwrap();
    elsewhere.adopt_next_log_key(5).unwrap();
    assert_eq!(keys.load_log_key().unwrap().verifier_key(), second.verifier_key());
    assert_eq!(known.open(&note(&second, 5)).unwrap().size, 5);
    assert!(matches!(known.open(&note(&first, 5)), Err(CheckpointError::Retired { .. })));
    known.open(&note(&first, 4)).unwrap();
    assert!(!keys.folder().join("ledger.next.seed.age").exists());
}

#[test]
fn an_interrupted_change_is_finished_or_forgotten() {
    let (_folder, keys) = keys();
    let first = keys.create_log_key(ORIGIN).unwrap();
    assert!(keys.next_log_key().unwrap().is_none());
    keys.create_next_log_key(ORIGIN).unwrap();
    assert!(keys.next_log_key().unwrap().is_some());
    keys.discard_next_log_key().unwrap();
    assert!(keys.next_log_key().unwrap().is_none());
    assert_eq!(keys.load_log_key().unwrap().verifier_key(), first.verifier_key());
    // Interrupted after the history was written, before the seed was renamed.
    let second = keys.create_next_log_key(ORIGIN).unwrap();
    let mut history = (*keys.log_keys().unwrap().get()).clone();
    history.push(3, second.verifier_key().clone()).unwrap();
    files::replace(&keys.log_vkey_path(), history.to_string().as_bytes()).unwrap();
    assert!(matches!(keys.load_log_key(), Err(KeyError::Format(_))), "nothing is signed in between");
    keys.adopt_next_log_key(3).unwrap();
    assert_eq!(keys.load_log_key().unwrap().verifier_key(), second.verifier_key());
    assert_eq!(*keys.log_keys().unwrap().get(), history);
}
