//! The test vectors of docs/formats/vectors.json. Another program made them; here everything is made again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
#![expect(clippy::disallowed_methods, reason = "the vectors are a file")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::{Digest, Predicate, Statement, Timestamp};
use lineal_proof::bundle::trusted_root;
use lineal_proof::tile::{decode_bundle, encode_bundle};
use lineal_proof::{
    Checkpoint, EntryBundleId, Hash, KeyChain, Leaf, LogKeys, LogSigner, PublicKey, TileId, VerifierKey,
    envelope, tree,
};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/vectors.json");
    let mut vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let found = vectors[name].take();
    assert!(!found.is_null(), "no vectors called {name}");
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().unwrap();
    assert!(!list.is_empty());
    list
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(text(value)).unwrap()
}

fn hash(value: &Value) -> Hash {
    Hash::from_hex(text(value)).unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

#[test]
fn every_vector_is_explained() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats");
    let explained = std::fs::read_to_string(format!("{folder}/audit.md")).unwrap();
    let all: Value =
        serde_json::from_slice(&std::fs::read(format!("{folder}/vectors.json")).unwrap()).unwrap();
    let names = all.as_object().unwrap().keys();
    let missing: Vec<_> = names.filter(|name| !explained.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_a_statement_signs() {
    for vector in list(&vectors("pae")) {
        let pae = envelope::pae(text(&vector["payloadType"]), text(&vector["payload"]).as_bytes());
        assert_eq!(pae, text(&vector["pae"]).as_bytes());
        assert_eq!(Digest::of(&pae), hash(&vector["sha256"]));
    }
}

#[test]
fn a_statement_has_one_spelling() {
    let statement = vectors("pae")[1]["payload"].take();
    let read = Statement::from_bytes(text(&statement).as_bytes()).unwrap();
    assert!(matches!(read.predicate, Predicate::Incident(_)));
    assert_eq!(read.to_bytes().unwrap(), text(&statement).as_bytes());
}

#[test]
fn keys_of_statements() {
    let vector = vectors("statementKey");
    let key = PublicKey::from_pem(text(&vector["publicKey"])).unwrap();
    assert_eq!(key.to_der(), base64(&vector["der"]));
    assert_eq!(key.to_pem(), text(&vector["publicKey"]));
    assert_eq!((key.id(), key.hint().as_str()), (hash(&vector["id"]), text(&vector["hint"])));
    let (signed, signature) = (text(&vector["signed"]), base64(&vector["signature"]));
    key.verify(signed.as_bytes(), &signature).unwrap();
    key.verify(format!("{signed} ").as_bytes(), &signature).unwrap_err();
}

#[test]
fn entries_of_the_log() {
    let vector = vectors("entry");
    let leaf = Leaf {
        data: hash(&vector["statement"]),
        signature: base64(&vector["signature"]),
        key: PublicKey::from_der(&base64(&vector["key"])).unwrap(),
    };
    assert_eq!(leaf.to_bytes(), text(&vector["body"]).as_bytes());
    assert_eq!(leaf.hash(), hash(&vector["leafHash"]));
    leaf.verify(text(&vectors("statementKey")["signed"]).as_bytes()).unwrap();
    let vector = vectors("entryBundle");
    let entries: Vec<&[u8]> = list(&vector["entries"]).iter().map(|entry| text(entry).as_bytes()).collect();
    assert_eq!(encode_bundle(&entries).unwrap(), base64(&vector["bytes"]));
    assert_eq!(decode_bundle(&base64(&vector["bytes"]), 3).unwrap(), entries);
}

#[test]
fn the_tree() {
    let vector = vectors("tree");
    let leaves: Vec<Hash> =
        list(&vector["entries"]).iter().map(|entry| tree::leaf_hash(text(entry).as_bytes())).collect();
    assert_eq!(leaves, hashes(&vector["leafHashes"]));
    let roots: Vec<Hash> = (1..=leaves.len()).map(|size| tree::root(&leaves[..size])).collect();
    assert_eq!(roots, hashes(&vector["rootsBySize"]));
    for proof in list(&vector["inclusion"]) {
        let (index, size) = (number(&proof["index"]), number(&proof["size"]));
        let (at, last) = (usize::try_from(index).unwrap(), usize::try_from(size).unwrap() - 1);
        let path = hashes(&proof["path"]);
        tree::verify_inclusion(index, size, &leaves[at], &path, &roots[last]).unwrap();
        let other = tree::leaf_hash(b"other");
        tree::verify_inclusion(index, size, &other, &path, &roots[last]).unwrap_err();
    }
}

#[test]
fn names_of_tiles() {
    for vector in list(&vectors("tilePaths")) {
        let id = TileId {
            level: number(&vector["level"]) as u8,
            index: number(&vector["index"]),
            width: number(&vector["width"]) as u16,
        };
        assert_eq!(
            (id.path().as_str(), TileId::parse(text(&vector["path"]))),
            (text(&vector["path"]), Ok(id))
        );
    }
    for vector in list(&vectors("entryBundlePaths")) {
        let id = EntryBundleId { index: number(&vector["index"]), width: number(&vector["width"]) as u16 };
        let path = text(&vector["path"]);
        assert_eq!((id.path().as_str(), EntryBundleId::parse(path)), (path, Ok(id)));
    }
}

#[test]
fn checkpoints_and_the_log_key() {
    let vector = vectors("checkpoint");
    let seed = *hash(&vector["seed"]).as_bytes();
    let log = LogSigner::from_seed(text(&vector["name"]), &seed).unwrap();
    assert_eq!((log.vkey().as_str(), log.log_id()), (text(&vector["verifierKey"]), hash(&vector["logId"])));
    let size = text(&vector["size"]).parse().unwrap();
    let checkpoint = Checkpoint::new(text(&vector["name"]), size, hash(&vector["root"]));
    // Ed25519 is deterministic.
    let note = log.sign(&checkpoint).unwrap();
    assert_eq!(String::from_utf8(note.clone()).unwrap(), text(&vector["note"]));
    assert_eq!(LogKeys::new(log.verifier_key().clone()).open(&note).unwrap().value, checkpoint);
}

#[test]
fn what_a_checkpoint_says_about_key_statements() {
    let (vector, of) = (vectors("keyStatements"), vectors("checkpoint"));
    let mut chain = KeyChain::default();
    assert_eq!(chain.to_line(), text(&vector["none"]));
    for added in list(&vector["added"]) {
        chain.push(text(&added["position"]).parse().unwrap(), &hash(&added["leafHash"]));
        assert_eq!(chain.to_line(), text(&added["line"]));
    }
    let log = LogSigner::from_seed(text(&of["name"]), hash(&of["seed"]).as_bytes()).unwrap();
    let size = text(&of["size"]).parse().unwrap();
    let mut checkpoint = Checkpoint::new(text(&of["name"]), size, hash(&of["root"]));
    checkpoint.extensions.push(chain.to_line());
    let note = log.sign(&checkpoint).unwrap();
    assert_eq!(String::from_utf8(note.clone()).unwrap(), text(&vector["note"]));
    let opened = LogKeys::new(log.verifier_key().clone()).open(&note).unwrap();
    assert_eq!(KeyChain::of(&opened), Ok(Some(chain)));
}

#[test]
fn the_trusted_root_of_sigstore_tools() {
    let vector = vectors("trustedRoot");
    let key: VerifierKey = text(&vector["verifierKey"]).parse().unwrap();
    let start: Timestamp = text(&vector["start"]).parse().unwrap();
    assert_eq!(String::from_utf8(trusted_root(&key, start)).unwrap(), text(&vector["file"]));
}
