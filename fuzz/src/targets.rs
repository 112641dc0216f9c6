//! One function a parser: whatever the bytes, it must not panic, and what it accepts must have the properties that
//! are asserted. Used by the fuzzer and, over the kept corpus, by `cargo test -p lineal-proof --test corpus`.

use lineal_facts::{Digest, Manifest, Statement, collision, json};
use lineal_proof::bundle::{self, LogEntry};
use lineal_proof::{
    AddCheckpoint, Bundle, Checkpoint, EntryBundleId, Envelope, Leaf, Note, PublicKey, SignedModel, TileId,
    TlogProof, VerifierKey, WitnessPolicy, checkpoint, envelope, tile, witness_message,
};

/// A parser and its property. Yields whether the bytes were accepted.
pub type Target = fn(&[u8]) -> bool;

/// By name; the name is also that of the corpus folder and of the fuzzer's program.
pub const TARGETS: &[(&str, Target)] = &[
    ("add_checkpoint", add_checkpoint),
    ("bundle", bundle),
    ("checkpoint", checkpoint),
    ("collision", collision),
    ("entry_bundle", entry_bundle),
    ("envelope", envelope),
    ("json", json),
    ("key", key),
    ("leaf", leaf),
    ("manifest", manifest),
    ("model_signature", model_signature),
    ("note", note),
    ("pae", pae),
    ("statement", statement),
    ("tile_path", tile_path),
    ("tlog_proof", tlog_proof),
    ("witness_policy", witness_policy),
];

/// The log that signed the checkpoints of the corpus. Its private key is thrown away.
const LOG: &str = "8516917409ebb519.lineal.local+dc7bab08+Adj5jrW+hqRoFZzWP+zhhUrx7rC6konbu5QC17D30v1A";

/// Requests to a witness: written again they read the same; one that is not signed by a known log is refused.
pub fn add_checkpoint(data: &[u8]) -> bool {
    let _ = witness_message::parse_size(data);
    let Ok(request) = AddCheckpoint::from_bytes(data) else { return false };
    let again = AddCheckpoint::from_bytes(&request.to_bytes()).map(|request| request.to_bytes());
    assert_eq!(again.as_deref(), Ok(request.to_bytes().as_slice()));
    assert!(request.open(&[]).is_err());
    true
}

/// Sigstore bundles: written again they read the same; one that verifies does not verify with another payload.
pub fn bundle(data: &[u8]) -> bool {
    let Ok(bundle) = Bundle::from_bytes(data) else { return false };
    assert_eq!(Bundle::from_bytes(&bundle.to_bytes()).as_ref(), Ok(&bundle));
    let leaf = bundle.entry.as_ref().and_then(|LogEntry { leaf, .. }| Leaf::from_bytes(leaf).ok());
    let Some(leaf) = leaf else { return false };
    let verified = bundle::verify(&bundle, &leaf.key, &logs(), None).is_ok();
    if verified {
        let mut other = bundle;
        other.envelope.payload.push(b' ');
        assert!(bundle::verify(&other, &leaf.key, &logs(), None).is_err());
    }
    verified
}

/// Checkpoints: what opens has a text that reads the same, and does not open without its key.
pub fn checkpoint(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    if let Ok(checkpoint) = Checkpoint::from_text(&text) {
        assert_eq!(checkpoint.to_text(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
    let Ok(opened) = checkpoint::open(data, &logs()) else { return false };
    assert_eq!(Checkpoint::from_text(&opened.value.to_text()).as_ref(), Ok(&opened.value));
    assert!(checkpoint::open(data, &[]).is_err());
    true
}

/// Lists of paths, one a line: the answer does not depend on their order.
pub fn collision(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let accepted = collision::find(text.lines()).is_none();
    assert_eq!(collision::find(text.lines().rev()).is_none(), accepted);
    accepted
}

/// Entry bundles and tiles, after two bytes of width: what is read is what is written.
pub fn entry_bundle(data: &[u8]) -> bool {
    let Some((width, bytes)) = data.split_first_chunk() else { return false };
    let width = u16::from_be_bytes(*width);
    if let Ok(hashes) = tile::decode_tile(bytes, width) {
        assert_eq!(tile::encode_tile(&hashes), bytes);
    }
    let Ok(entries) = tile::decode_bundle(bytes, width) else { return false };
    assert_eq!(tile::encode_bundle(&entries).as_deref(), Ok(bytes));
    true
}

/// DSSE envelopes: written again they read the same.
pub fn envelope(data: &[u8]) -> bool {
    let Ok(envelope) = Envelope::from_bytes(data) else { return false };
    assert_eq!(Envelope::from_bytes(&envelope.to_bytes()).as_ref(), Ok(&envelope));
    true
}

/// JSON: the canonical form is a fixed point.
pub fn json(data: &[u8]) -> bool {
    let Ok(value) = json::parse_value(data) else { return false };
    // Numbers that have no exact form are refused when they are written.
    let Ok(once) = json::canonical(&value) else { return false };
    let again = json::parse_value(&once).ok().and_then(|value| json::canonical(&value).ok());
    assert_eq!(again, Some(once));
    true
}

/// Public keys: PEM has one spelling but for the last newline, DER one.
pub fn key(data: &[u8]) -> bool {
    if let Ok(key) = PublicKey::from_der(data) {
        assert_eq!(key.to_der(), data);
        return true;
    }
    let text = String::from_utf8_lossy(data);
    let Ok(key) = PublicKey::from_pem(&text) else { return false };
    assert_eq!(key.to_pem().trim_end(), text.trim_end());
    true
}

/// Ledger entries have one spelling.
pub fn leaf(data: &[u8]) -> bool {
    let Ok(leaf) = Leaf::from_bytes(data) else { return false };
    assert_eq!(leaf.to_bytes(), data);
    true
}

/// Manifests have one spelling, and no path that leaves the directory.
pub fn manifest(data: &[u8]) -> bool {
    let Ok(manifest) = Manifest::from_bytes(data) else { return false };
    assert_eq!(manifest.to_bytes(), data);
    for file in manifest.files() {
        assert!(
            !file.path.starts_with('/') && !file.path.split('/').any(|part| part == ".."),
            "{}",
            file.path
        );
    }
    true
}

/// Model signatures: what is accepted has safe names that do not collide, and is not empty.
pub fn model_signature(data: &[u8]) -> bool {
    let Ok(model) = SignedModel::from_bytes(data) else { return false };
    assert!(!model.files.is_empty());
    assert_eq!(collision::find(model.files.keys().map(String::as_str)), None);
    for (path, content) in &model.files {
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
        assert!(!path.contains(['\0', '\\', ':']) && !content.parts.is_empty(), "{path}");
    }
    true
}

/// Signed notes have one spelling.
pub fn note(data: &[u8]) -> bool {
    let Ok(note) = Note::parse(data) else { return false };
    assert_eq!(note.to_bytes(), data);
    true
}

/// DSSE encodings have one spelling.
pub fn pae(data: &[u8]) -> bool {
    let Ok((kind, payload)) = envelope::parse_pae(data) else { return false };
    assert_eq!(envelope::pae(kind, payload), data);
    true
}

/// Statements: written again they read the same, and are about the same digests.
pub fn statement(data: &[u8]) -> bool {
    let Ok(statement) = Statement::from_bytes(data) else { return false };
    let subjects: Vec<Digest> = statement.subject.iter().map(|subject| subject.digest.sha256()).collect();
    assert!(!subjects.is_empty() && subjects.iter().all(|digest| statement.is_about(digest)));
    // A number without an exact form is kept, but not written.
    let Ok(bytes) = statement.to_bytes() else { return false };
    if let Ok(again) = Statement::from_bytes(&bytes) {
        assert_eq!(again.to_bytes().ok(), Some(bytes));
    }
    true
}

/// Paths of tiles have one spelling.
pub fn tile_path(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let (tile, bundle) = (TileId::parse(text), EntryBundleId::parse(text));
    if let Ok(tile) = &tile {
        assert_eq!(tile.path(), text);
    }
    if let Ok(bundle) = &bundle {
        assert_eq!(bundle.path(), text);
    }
    tile.is_ok() || bundle.is_ok()
}

fn logs() -> Vec<VerifierKey> {
    LOG.parse().into_iter().collect()
}

/// Portable proofs: written again they read the same; none holds for another entry too.
pub fn tlog_proof(data: &[u8]) -> bool {
    let Ok(proof) = TlogProof::from_bytes(data) else { return false };
    let bytes = proof.to_bytes();
    assert_eq!(TlogProof::from_bytes(&bytes).map(|proof| proof.to_bytes()).as_ref(), Ok(&bytes));
    let policy = WitnessPolicy::unwitnessed(logs());
    let holds = |entry: &str| proof.verify(&Digest::of(entry.as_bytes()), &policy, u64::MAX).is_ok();
    assert!(!(holds("one") && holds("another")));
    true
}

/// Trust policies: a quorum that is wanted is reached by all witnesses together, and never by none.
pub fn witness_policy(data: &[u8]) -> bool {
    let Ok(policy) = WitnessPolicy::parse(data) else { return false };
    assert_eq!(policy.is_quorum(|_| true), policy.needs_witnesses());
    assert!(!policy.is_quorum(|_| false));
    true
}
