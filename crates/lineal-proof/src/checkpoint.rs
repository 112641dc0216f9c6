//! Checkpoints: a log's size and root in a signed note.
//!
//! Formats: <https://c2sp.org/signed-note> and <https://c2sp.org/tlog-checkpoint>. Signatures are Ed25519 (type 0x01);
//! lines of other types are carried along and not judged here: [`crate::cosignature`] judges those of witnesses.

mod log_keys;
mod note;
pub(crate) mod vkey;

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

pub use log_keys::{LOG_KEYS_LIMIT, LogKeys};
pub(crate) use note::check_name;
pub use note::{NOTE_LIMIT_BYTES, Note, NoteSignature, SIGNATURES_LIMIT};

use crate::tree::{Hash, SIZE_LIMIT};

/// Longest key name or origin in bytes.
pub const NAME_LIMIT_BYTES: usize = 255;
/// Signature type of Ed25519 in key ids and verifier keys.
const ED25519_TYPE: u8 = 1;
/// DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410) up to the 32 bytes of the key.
const ED25519_SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a note, a checkpoint or a verifier key is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note, or beyond a limit.
    #[error("not a signed note: {0}")]
    Format(String),
    /// A signed text that is not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Checkpoint(String),
    /// Not a name or verifier key that can be used.
    #[error("not a verifier key: {0}")]
    Key(String),
    /// A key that the verifier knows, with a signature that does not fit the text.
    #[error("the signature of `{0}` does not fit the note")]
    Signature(String),
    /// No signature of the log named in the first line by a key that the verifier knows.
    #[error("the log `{0}` has no signature by a known key on this note")]
    Unsigned(String),
    /// Signed by a key of the log that does not sign checkpoints of this size.
    #[error("the checkpoint of {size} entries is not signed by the log key of that size, `{wanted}`")]
    Retired {
        /// The checkpoint's size.
        size: u64,
        /// The verifier key that should have signed.
        wanted: String,
    },
}

/// The size and root of a log at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name. Stock cosign expects a bare host name here: that of the trusted root's base URL.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Further lines, not recommended by the format; none of them empty.
    pub extensions: Vec<String>,
}

/// A value whose signatures were checked; only [`open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    /// What was signed.
    pub value: T,
    signers: Vec<String>,
}

/// A key that verifies notes, written `<name>+<key id>+<base64 of type and key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

/// The key that signs a log's checkpoints. Its name is the log's origin.
pub struct LogSigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Self {
        Self { origin: origin.into(), size, root, extensions: Vec::new() }
    }

    /// The text that is signed.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads a text; accepts only what [`Checkpoint::to_text`] writes.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let error = |reason: &str| CheckpointError::Checkpoint(reason.to_owned());
        let body = text.strip_suffix('\n').ok_or_else(|| error("no newline at the end"))?;
        let mut lines = body.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let origin = line().ok_or_else(|| error("no origin"))?;
        let size = line().and_then(|size| size.parse().ok()).filter(|size| *size <= SIZE_LIMIT);
        let root = line().and_then(|root| STANDARD.decode(root).ok()?.try_into().ok());
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: size.ok_or_else(|| error("the second line is not a size"))?,
            root: Hash::from_bytes(root.ok_or_else(|| error("the third line is not a root"))?),
            extensions: lines.map(str::to_owned).collect(),
        };
        if origin.len() > NAME_LIMIT_BYTES {
            return Err(error("the origin is too long"));
        }
        if checkpoint.extensions.iter().any(String::is_empty) {
            return Err(error("an empty line"));
        }
        // Signs and leading zeros of the size are what is left to refuse.
        if checkpoint.to_text() == text { Ok(checkpoint) } else { Err(error("not the canonical form")) }
    }
}

/// Checks a checkpoint note against the keys of known logs.
///
/// Every known key (same name and id) that signed must have signed this text; the log named by the origin must be among
/// them, under that name. Signatures by unknown keys are ignored.
pub fn open(note: &[u8], known: &[VerifierKey]) -> Result<Verified<Checkpoint>, CheckpointError> {
    let note = Note::parse(note)?;
    let mut signers: Vec<String> = Vec::new();
    for line in &note.signatures {
        let mut candidates = known.iter().filter(|key| key.name == line.name && key.key_id() == line.key_id);
        let Some(first) = candidates.next() else { continue };
        // Two known keys may share a name and, by accident, an id.
        if !std::iter::once(first).chain(candidates).any(|key| key.verifies(&note.text, &line.bytes)) {
            return Err(CheckpointError::Signature(line.name.clone()));
        }
        if !signers.contains(&line.name) {
            signers.push(line.name.clone());
        }
    }
    let checkpoint = Checkpoint::from_text(&note.text)?;
    if signers.contains(&checkpoint.origin) {
        Ok(Verified { value: checkpoint, signers })
    } else {
        Err(CheckpointError::Unsigned(checkpoint.origin))
    }
}

impl<T> Verified<T> {
    /// The names of the known keys that signed.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl VerifierKey {
    /// The key's name; for a log's own key, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of [`VerifierKey::log_id`].
    pub fn key_id(&self) -> [u8; 4] {
        vkey::key_id(&self.log_id())
    }

    /// SHA-256 of name, newline, type and key: what a Sigstore bundle calls the log's key id.
    pub fn log_id(&self) -> Hash {
        vkey::full_id(&self.name, ED25519_TYPE, &self.key)
    }

    /// The public key as DER SubjectPublicKeyInfo (RFC 8410).
    pub fn public_key_der(&self) -> Vec<u8> {
        [&ED25519_SPKI_PREFIX[..], self.key.as_bytes()].concat()
    }

    /// The key called `name` with this DER SubjectPublicKeyInfo.
    pub fn from_der(name: &str, der: &[u8]) -> Result<Self, CheckpointError> {
        let key = der.strip_prefix(&ED25519_SPKI_PREFIX).and_then(|key| key.try_into().ok());
        let key = key.and_then(|key| VerifyingKey::from_bytes(key).ok()).filter(|key| !key.is_weak());
        let key = key.ok_or_else(|| CheckpointError::Key("not an Ed25519 key in DER".to_owned()))?;
        check_name(name)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The 32 bytes of the public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

impl FromStr for VerifierKey {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let (name, key) = vkey::parse(text, ED25519_TYPE)?;
        Ok(Self { name, key })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        vkey::write(f, &self.name, ED25519_TYPE, &self.key)
    }
}

impl LogSigner {
    /// The signer of the log called `name`. The 32 bytes are the Ed25519 seed (RFC 8032) and must be random and secret.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, CheckpointError> {
        check_name(name)?;
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey { name: name.to_owned(), key: key.verifying_key() };
        Ok(Self { key, verifier })
    }

    /// What others verify with.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The verifier key's text.
    pub fn vkey(&self) -> String {
        self.verifier.to_string()
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub fn public_key_der(&self) -> Vec<u8> {
        self.verifier.public_key_der()
    }

    /// The 32-byte log id of Sigstore bundles.
    pub fn log_id(&self) -> Hash {
        self.verifier.log_id()
    }

    /// Signs a checkpoint of this log; yields the note.
    ///
    /// Deterministic. The note is opened again before it is handed out, so an unreadable one is an error here.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, CheckpointError> {
        let note = self.sign_text(checkpoint.to_text()).to_bytes();
        let opened = open(&note, std::slice::from_ref(&self.verifier))?;
        if opened.value == *checkpoint {
            Ok(note)
        } else {
            Err(CheckpointError::Checkpoint("a line holds a newline".to_owned()))
        }
    }

    fn sign_text(&self, text: String) -> Note {
        let bytes = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        let name = self.verifier.name.clone();
        Note { text, signatures: vec![NoteSignature { name, key_id: self.verifier.key_id(), bytes }] }
    }
}

impl fmt::Debug for LogSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSigner").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
