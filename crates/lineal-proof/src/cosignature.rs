//! What a witness signs: that it saw this checkpoint, and when.
//!
//! Format: <https://c2sp.org/tlog-cosignature>, version 1 (Ed25519, signature type 0x04). The signed message is
//! `cosignature/v1`, a line with the time, and the text of the note. A signature is the time as eight bytes,
//! big-endian, and the 64 bytes of Ed25519. Lines of other types, ML-DSA-44 (0x06) among them, stay in the note and
//! count for nothing.
//!
//! Semantics: at that time this was the largest tree of the log that the witness had seen, and every tree that it
//! cosigned before is a prefix of it.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::checkpoint::{CheckpointError, Note, NoteSignature, check_name, vkey};

/// Signature type of version 1 in key ids and verifier keys.
const COSIGNATURE_TYPE: u8 = 4;
/// Length of a signature: time and Ed25519 signature.
const SIGNATURE_BYTES: usize = 8 + 64;
/// The format's limit of a time, in seconds.
const TIME_LIMIT: u64 = i64::MAX as u64;

/// A key that verifies cosignatures, written `<name>+<key id>+<base64 of type and key>`.
///
/// A type of its own, so that a witness can never be taken for a log, nor a log for a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: VerifyingKey,
}

/// The key that a witness signs with.
///
/// The message does not name the witness, so no two witnesses may share a key.
pub struct WitnessSigner {
    key: SigningKey,
    verifier: WitnessKey,
}

impl WitnessKey {
    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signature lines carry: the first bytes of the SHA-256 of name, newline, type and key.
    pub fn key_id(&self) -> [u8; 4] {
        vkey::key_id(&vkey::full_id(&self.name, COSIGNATURE_TYPE, &self.key))
    }

    /// The 32 bytes of the public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// When this witness cosigned the note, in seconds since 1970: the newest time if there are several lines, none if
    /// there is no line of this key. One line that is not good rejects the note.
    pub fn time_of(&self, note: &Note) -> Result<Option<u64>, CheckpointError> {
        let id = self.key_id();
        let mut newest = None;
        for line in note.signatures.iter().filter(|line| line.name == self.name && line.key_id == id) {
            newest = newest.max(Some(self.verify(&note.text, &line.bytes)?));
        }
        Ok(newest)
    }

    /// Checks one cosignature of `text` and yields its time.
    fn verify(&self, text: &str, bytes: &[u8]) -> Result<u64, CheckpointError> {
        let bad = || CheckpointError::Signature(self.name.clone());
        let bytes: &[u8; SIGNATURE_BYTES] = bytes.try_into().map_err(|_| bad())?;
        let (time, signature) = bytes.split_first_chunk().ok_or_else(bad)?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).map_err(|_| bad())?;
        let valid = time <= TIME_LIMIT && self.key.verify_strict(&message(text, time), &signature).is_ok();
        if valid { Ok(time) } else { Err(bad()) }
    }
}

impl FromStr for WitnessKey {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let (name, key) = vkey::parse(text, COSIGNATURE_TYPE)?;
        Ok(Self { name, key })
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        vkey::write(f, &self.name, COSIGNATURE_TYPE, &self.key)
    }
}

impl WitnessSigner {
    /// The signer of the witness called `name`. The 32 bytes are the Ed25519 seed and must be random and secret.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, CheckpointError> {
        check_name(name)?;
        let key = SigningKey::from_bytes(seed);
        let verifier = WitnessKey { name: name.to_owned(), key: key.verifying_key() };
        Ok(Self { key, verifier })
    }

    /// What others verify with.
    pub const fn verifier_key(&self) -> &WitnessKey {
        &self.verifier
    }

    /// Cosigns the text of a checkpoint at `time`, in seconds since 1970. Deterministic.
    ///
    /// Whether the witness may do so is for [`crate::witness_message::decide`] to say.
    pub fn cosign(&self, text: &str, time: u64) -> NoteSignature {
        let signature = self.key.sign(&message(text, time)).to_bytes();
        let bytes = [&time.to_be_bytes()[..], &signature].concat();
        NoteSignature { name: self.verifier.name.clone(), key_id: self.verifier.key_id(), bytes }
    }
}

impl fmt::Debug for WitnessSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WitnessSigner").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

fn message(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

#[cfg(test)]
mod tests;
