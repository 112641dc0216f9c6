use std::fs;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lineal_facts::Digest;
use lineal_proof::checkpoint::NoteSignature;
use lineal_proof::{Leaf, LogSigner, PublicKey, WitnessSigner};

use super::*;
use crate::ledger::{LedgerEntry, Published, Writer};

struct World {
    _folder: tempfile::TempDir,
    ledger: Ledger,
    signer: LogSigner,
    key: PublicKey,
    pair: EcdsaKeyPair,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = LogSigner::from_seed("log.example", &[7; 32]).unwrap();
        let ledger = Ledger::new(folder.path(), signer.verifier_key().clone());
        fs::create_dir(ledger.root()).unwrap();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
        let key = PublicKey::from_point(pair.public_key().as_ref()).unwrap();
        Self { _folder: folder, ledger, signer, key, pair }
    }

    fn append(&self, data: &str) -> Head {
        let statement = data.as_bytes().to_vec();
        let signature = self.pair.sign(&SystemRandom::new(), &statement).unwrap().as_ref().to_vec();
        let leaf = Leaf { data: Digest::of(&statement), signature, key: self.key.clone() };
        let sign = |checkpoint: &Checkpoint| self.signer.sign(checkpoint);
        Writer::default().append(&self.ledger, &sign, &[LedgerEntry { leaf, statement }]).unwrap()
    }

    /// What clients get as `checkpoint`.
    fn served(&self) -> Note {
        match self.ledger.published("checkpoint").unwrap() {
            Some(Published::Checkpoint(note)) => Note::parse(&note).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn line(name: &str, text: &str) -> NoteSignature {
    WitnessSigner::from_seed(name, &[9; 32]).unwrap().cosign(text, 1_700_000_000)
}

fn cosigned(head: &Head, names: &[&str]) -> Note {
    let mut note = Note::parse(&head.note).unwrap();
    let lines: Vec<_> = names.iter().map(|name| line(name, &note.text)).collect();
    note.signatures.extend(lines);
    note
}

#[test]
fn clients_get_both_as_one_while_they_are_of_one_size() {
    let world = World::new();
    assert_eq!(world.ledger.published("checkpoint.witnessed").unwrap(), None);
    let first = world.append("a");
    assert_eq!(world.served().signatures.len(), 1);
    let note = cosigned(&first, &["w1", "w2"]);
    assert_eq!(world.ledger.publish_witnessed(&note).unwrap(), Publication::Published);
    assert_eq!(world.served(), note);
    assert_eq!(world.ledger.head().unwrap().unwrap(), first, "the writer's own file is untouched");
    let second = world.append("b");
    assert_eq!(world.served(), Note::parse(&second.note).unwrap(), "nobody cosigned this one");
    let witnessed = Published::Checkpoint(note.to_bytes());
    assert_eq!(world.ledger.published("checkpoint.witnessed").unwrap(), Some(witnessed));
}

#[test]
fn a_smaller_one_never_replaces_a_larger_one() {
    let world = World::new();
    let (first, second) = (world.append("a"), world.append("b"));
    let (old, new) = (cosigned(&first, &["w1"]), cosigned(&second, &["w1"]));
    assert_eq!(world.ledger.publish_witnessed(&new).unwrap(), Publication::Published);
    assert_eq!(world.ledger.publish_witnessed(&old).unwrap(), Publication::Outrun);
    assert_eq!(world.ledger.witnessed().unwrap().unwrap().note, new.to_bytes());
    let again = cosigned(&second, &["w1", "w2"]);
    assert_eq!(world.ledger.publish_witnessed(&again).unwrap(), Publication::Published);
    assert_eq!(world.ledger.witnessed().unwrap().unwrap().note, again.to_bytes());
}

#[test]
fn only_what_the_log_signed_is_published_and_read() {
    let world = World::new();
    let head = world.append("a");
    let mut unsigned = cosigned(&head, &["w1"]);
    unsigned.signatures.remove(0);
    assert!(world.ledger.publish_witnessed(&unsigned).is_err());
    let path = world.ledger.root().join("checkpoint.witnessed");
    assert!(!path.exists());
    for bytes in [unsigned.to_bytes(), b"x".to_vec(), vec![b'\n'; 65 << 10]] {
        fs::write(&path, bytes).unwrap();
        assert!(world.ledger.witnessed().is_err());
        assert!(world.ledger.published("checkpoint.witnessed").is_err());
        assert_eq!(world.served(), Note::parse(&head.note).unwrap(), "the log itself stays readable");
    }
}

#[test]
fn a_fork_does_not_continue_the_log() {
    let (world, other) = (World::new(), World::new());
    let shared = world.append("a");
    other.append("a");
    let checkpoint = |head: &Head| Checkpoint::new("log.example", head.size, head.root);
    let (here, there) = (world.append("b"), other.append("c"));
    assert!(world.ledger.continues(&checkpoint(&shared), &here).unwrap());
    assert!(world.ledger.continues(&checkpoint(&here), &here).unwrap());
    assert!(!world.ledger.continues(&checkpoint(&there), &here).unwrap());
    let later = world.append("d");
    assert!(!world.ledger.continues(&checkpoint(&there), &later).unwrap());
    assert!(!world.ledger.continues(&checkpoint(&later), &here).unwrap());
}
