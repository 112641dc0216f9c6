//! One file that proves one statement: a Sigstore bundle v0.3 with a plain key.
//!
//! Format: <https://github.com/sigstore/protobuf-specs> `sigstore_bundle.proto`, as proto3 JSON. The key is not in the
//! bundle; it holds a hint only, in the form that the OpenSSF Model Signing tools demand.

mod trusted_root;
mod wire;

use lineal_facts::statement::{PAYLOAD_TYPE, Statement};
use lineal_facts::{Digest, json};

pub use trusted_root::{TRUSTED_ROOT_LIMIT_BYTES, logs_of_trusted_root, trusted_root};

use crate::checkpoint::{self, Checkpoint, CheckpointError, NOTE_LIMIT_BYTES, Verified, VerifierKey};
use crate::envelope::{ENVELOPE_LIMIT_BYTES, Envelope};
use crate::key::PublicKey;
use crate::leaf::Leaf;
use crate::tree::{self, Hash, PATH_LIMIT};
use crate::verify::VerifyError;

/// The media type of a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Largest bundle: envelope, note (whose newlines and non-ASCII may be escaped) and a leaf.
pub const BUNDLE_LIMIT_BYTES: usize = ENVELOPE_LIMIT_BYTES + 6 * NOTE_LIMIT_BYTES + (256 << 10);
/// Longest key hint in bytes.
const HINT_LIMIT_BYTES: usize = 1024;

/// A signed statement with, once it is in the ledger, the proof of that. Not yet checked; see [`verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The signed statement.
    pub envelope: Envelope,
    /// Which key to try. Not authenticated.
    pub hint: String,
    /// The ledger entry.
    pub entry: Option<LogEntry>,
}

/// A leaf, its place and the proof that it is in the tree of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the ledger.
    pub index: u64,
    /// Which log: [`VerifierKey::log_id`].
    pub log_id: Digest,
    /// The exact bytes that entered the tree.
    pub leaf: Vec<u8>,
    /// The inclusion proof.
    pub path: Vec<Hash>,
    /// The tree's size; the checkpoint says the same.
    pub size: u64,
    /// The tree's root; the checkpoint says the same.
    pub root: Hash,
    /// The checkpoint's note.
    pub checkpoint: String,
}

/// What a bundle that verified says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBundle {
    /// Media type of the payload.
    pub payload_type: String,
    /// Exactly the bytes that were signed.
    pub payload: Vec<u8>,
    /// Position in the ledger, if a log's keys were given.
    pub index: Option<u64>,
    /// The log's checkpoint, if a log's keys were given.
    pub checkpoint: Option<Verified<Checkpoint>>,
}

impl LogEntry {
    /// The entry of `leaf` at `index`, with its inclusion proof in the tree of the checkpoint `note` by `log`.
    ///
    /// Checks the note's signature; the proof is for [`verify`] to check.
    pub fn new(
        (index, leaf): (u64, &Leaf),
        path: Vec<Hash>,
        note: &[u8],
        log: &VerifierKey,
    ) -> Result<Self, CheckpointError> {
        let Checkpoint { size, root, .. } = checkpoint::open(note, std::slice::from_ref(log))?.value;
        let checkpoint =
            String::from_utf8(note.to_vec()).map_err(|_| CheckpointError::Format("not UTF-8".to_owned()))?;
        Ok(Self { index, log_id: log.log_id(), leaf: leaf.to_bytes(), path, size, root, checkpoint })
    }
}

impl Bundle {
    /// The bundle of an envelope signed by `key`.
    pub fn make(envelope: Envelope, key: &PublicKey, entry: Option<LogEntry>) -> Self {
        Self { envelope, hint: key.hint(), entry }
    }

    /// The JSON file, canonical (RFC 8785).
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings only, which always have a canonical form.
        json::canonical(&wire::Bundle::from(self)).unwrap_or_default()
    }

    /// Reads a bundle with one signature and at most one log entry. Refuses duplicate and unknown fields.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VerifyError> {
        if bytes.len() > BUNDLE_LIMIT_BYTES {
            let reason = format!("a bundle of {} bytes; the limit is {BUNDLE_LIMIT_BYTES}", bytes.len());
            return Err(VerifyError::Malformed(reason));
        }
        let wire: wire::Bundle = json::parse(bytes).map_err(|e| VerifyError::Malformed(e.to_string()))?;
        wire.try_into()
    }
}

/// Checks a bundle and yields what was signed.
///
/// * The envelope's signature must be by `key`; whether that key counts is for the
///   [keyring](crate::keyring::Keyring::accepts) to say, with the index from here.
/// * A log entry, if there is one, must be about this very envelope: same digest, signature and key. (Verifiers that
///   left this out accepted the log entry of another artefact: CVE-2022-36056, CVE-2026-22703.)
/// * With `logs`, an entry is required, its checkpoint must be signed by one of them, and the entry must be in that
///   checkpoint's tree. Without `logs`, nothing is said about the ledger.
/// * With `subject`, the payload must be an in-toto statement about that digest.
pub fn verify(
    bundle: &Bundle,
    key: &PublicKey,
    logs: &[VerifierKey],
    subject: Option<&Digest>,
) -> Result<VerifiedBundle, VerifyError> {
    let envelope = &bundle.envelope;
    let pae = envelope.pae();
    if key.verify(&pae, &envelope.signature).is_err() {
        // The hint proves nothing; it only tells a wrong key from a wrong file.
        return Err(if bundle.hint.is_empty() || bundle.hint == key.hint() {
            VerifyError::Tampered("the envelope's signature does not fit its payload".to_owned())
        } else {
            VerifyError::UntrustedKey(format!("the bundle was signed by another key than {}", key.id()))
        });
    }
    if let Some(entry) = &bundle.entry {
        check_binding(entry, envelope, key, &pae)?;
    }
    let checkpoint = match (&bundle.entry, logs) {
        (_, []) => None,
        (None, _) => return Err(VerifyError::Incomplete("the bundle has no log entry".to_owned())),
        (Some(entry), logs) => Some(check_inclusion(entry, logs)?),
    };
    if let Some(subject) = subject {
        check_subject(envelope, subject)?;
    }
    Ok(VerifiedBundle {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        index: bundle.entry.as_ref().filter(|_| checkpoint.is_some()).map(|entry| entry.index),
        checkpoint,
    })
}

fn check_binding(
    entry: &LogEntry,
    envelope: &Envelope,
    key: &PublicKey,
    pae: &[u8],
) -> Result<(), VerifyError> {
    let leaf = Leaf::from_bytes(&entry.leaf)?;
    let mismatch = if leaf.data != Digest::of(pae) {
        "statement"
    } else if leaf.signature != envelope.signature {
        "signature"
    } else if leaf.key != *key {
        "key"
    } else {
        return Ok(());
    };
    Err(VerifyError::Tampered(format!("the log entry is about another {mismatch}")))
}

fn check_inclusion(entry: &LogEntry, logs: &[VerifierKey]) -> Result<Verified<Checkpoint>, VerifyError> {
    let checkpoint = checkpoint::open(entry.checkpoint.as_bytes(), logs)?;
    let named = |log: &VerifierKey| log.name() == checkpoint.value.origin && log.log_id() == entry.log_id;
    if !logs.iter().any(named) {
        return Err(VerifyError::Tampered("the log entry names another log than its checkpoint".to_owned()));
    }
    if (entry.size, entry.root) != (checkpoint.value.size, checkpoint.value.root) {
        return Err(VerifyError::Tampered(
            "the log entry and its checkpoint differ in size or root".to_owned(),
        ));
    }
    tree::verify_inclusion(entry.index, entry.size, &tree::leaf_hash(&entry.leaf), &entry.path, &entry.root)?;
    Ok(checkpoint)
}

fn check_subject(envelope: &Envelope, subject: &Digest) -> Result<(), VerifyError> {
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(VerifyError::Malformed("the payload is not an in-toto statement".to_owned()));
    }
    let statement = Statement::from_bytes(&envelope.payload)
        .map_err(|error| VerifyError::Malformed(error.to_string()))?;
    if statement.is_about(subject) { Ok(()) } else { Err(VerifyError::OtherSubject(*subject)) }
}

#[cfg(test)]
mod tests;
