//! What enters the tree for each envelope: a Rekor v2 `hashedrekord 0.0.2` entry.
//!
//! Format: <https://github.com/sigstore/protobuf-specs> `rekor/v2/hashedrekord.proto`, canonical by RFC 8785. It holds
//! hash, signature and key only, so the payload can be erased without breaking the tree.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::{Digest, json};
use serde::Deserialize;

use crate::envelope::Envelope;
use crate::key::{PublicKey, PublicKeyError, SIGNATURE_LIMIT_BYTES};
use crate::tile::ENTRY_LIMIT_BYTES;
use crate::tree::{self, Hash};

/// The entry's kind in a bundle.
pub const KIND: &str = "hashedrekord";
/// The entry's version in a bundle.
pub const VERSION: &str = "0.0.2";
/// The canonical bytes around their three values. The keys stand in RFC 8785 order.
const BEFORE_DIGEST: &str = r#"{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":""#;
const BEFORE_SIGNATURE: &str = r#""},"signature":{"content":""#;
const BEFORE_KEY: &str = r#"","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{"rawBytes":""#;
const AFTER_KEY: &str = r#""}}}}}}"#;
/// Most keys that a [`LeafReader`] keeps; few logs have as many.
const KNOWN_KEYS_LIMIT: usize = 256;

/// Why bytes are not an acceptable leaf, or a leaf does not fit an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not the canonical entry.
    #[error("not a hashedrekord 0.0.2 entry: {0}")]
    Format(String),
    /// An entry with a key that is not P-256.
    #[error("the entry's key: {0}")]
    Key(#[from] PublicKeyError),
    /// The statement is not the one that was logged.
    #[error("the entry is about {logged}, not about {found}")]
    Digest {
        /// The digest in the entry.
        logged: Digest,
        /// The digest of the encoding at hand.
        found: Digest,
    },
    /// The signature in the entry is not by its key over the statement.
    #[error("the entry's signature does not fit the statement")]
    Signature,
}

/// One ledger entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// SHA-256 of the DSSE encoding (PAE); also the blob's digest.
    pub data: Digest,
    /// The envelope's signature, ASN.1 DER.
    pub signature: Vec<u8>,
    /// The key that made it.
    pub key: PublicKey,
}

impl Leaf {
    /// The entry for an envelope signed by `key`. Nothing is checked here; see [`Leaf::verify`].
    pub fn of(envelope: &Envelope, key: &PublicKey) -> Self {
        Self { data: Digest::of(&envelope.pae()), signature: envelope.signature.clone(), key: key.clone() }
    }

    /// The canonical bytes that enter the tree.
    pub fn to_bytes(&self) -> Vec<u8> {
        // No value needs escaping.
        let (digest, signature) = (STANDARD.encode(self.data.as_bytes()), STANDARD.encode(&self.signature));
        let key = STANDARD.encode(self.key.to_der());
        [BEFORE_DIGEST, &digest, BEFORE_SIGNATURE, &signature, BEFORE_KEY, &key, AFTER_KEY]
            .concat()
            .into_bytes()
    }

    /// The hash that enters the tree.
    pub fn hash(&self) -> Hash {
        tree::leaf_hash(&self.to_bytes())
    }

    /// Reads an entry; accepts only what [`Leaf::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LeafError> {
        LeafReader::default().read(bytes)
    }

    /// As [`Leaf::from_bytes`], and says what is wrong.
    fn parse(bytes: &[u8]) -> Result<Self, LeafError> {
        let error = |reason: &str| LeafError::Format(reason.to_owned());
        if bytes.len() > ENTRY_LIMIT_BYTES {
            return Err(LeafError::Format(format!(
                "{} bytes; the limit is {ENTRY_LIMIT_BYTES}",
                bytes.len()
            )));
        }
        let wire: Wire = json::parse(bytes).map_err(|e| LeafError::Format(e.to_string()))?;
        let record = wire.spec.record;
        let digest = STANDARD.decode(&record.data.digest).ok().and_then(|digest| digest.try_into().ok());
        let signature = STANDARD.decode(&record.signature.content).ok();
        let signature = signature.filter(|bytes| !bytes.is_empty() && bytes.len() <= SIGNATURE_LIMIT_BYTES);
        let key = STANDARD.decode(&record.signature.verifier.public_key.raw_bytes);
        let leaf = Self {
            data: Digest::from_bytes(digest.ok_or_else(|| error("no SHA-256 digest"))?),
            signature: signature.ok_or_else(|| error("no signature"))?,
            key: PublicKey::from_der(&key.map_err(|_| error("the key is not base64"))?)?,
        };
        // Kind, version, algorithms, order and spaces are compared here, all at once.
        if leaf.to_bytes() == bytes {
            Ok(leaf)
        } else {
            Err(error("another kind, or not the canonical form"))
        }
    }

    /// Checks that this entry is about the statement with the DSSE encoding `pae`, and signed by its key.
    ///
    /// Whether the key counts is for the [keyring](crate::keyring) to say.
    pub fn verify(&self, pae: &[u8]) -> Result<(), LeafError> {
        let found = Digest::of(pae);
        if found != self.data {
            return Err(LeafError::Digest { logged: self.data, found });
        }
        self.key.verify(pae, &self.signature).map_err(|_| LeafError::Signature)
    }
}

/// Reads many entries: what they have in common is read once.
#[derive(Debug, Default)]
pub struct LeafReader {
    /// By their base64 in the entry, which is the only one.
    keys: BTreeMap<Box<[u8]>, PublicKey>,
}

impl LeafReader {
    /// Reads an entry; accepts only what [`Leaf::to_bytes`] writes.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Leaf, LeafError> {
        // Of what is not canonical only the slow way says why; what it accepts is the same.
        match self.read_canonical(bytes) {
            Some(leaf) => Ok(leaf),
            None => Leaf::parse(bytes),
        }
    }

    /// Takes the canonical text apart without a JSON reader. [`STANDARD`] refuses every base64 that it would not write
    /// itself, so that equal texts around equal values are equal entries.
    fn read_canonical(&mut self, bytes: &[u8]) -> Option<Leaf> {
        let (digest, rest) = quoted(bytes.strip_prefix(BEFORE_DIGEST.as_bytes())?)?;
        let (signature, rest) = quoted(rest.strip_prefix(BEFORE_SIGNATURE.as_bytes())?)?;
        let (key, rest) = quoted(rest.strip_prefix(BEFORE_KEY.as_bytes())?)?;
        if rest != AFTER_KEY.as_bytes() || bytes.len() > ENTRY_LIMIT_BYTES {
            return None;
        }
        let data = Digest::from_bytes(STANDARD.decode(digest).ok()?.try_into().ok()?);
        let signature = STANDARD.decode(signature).ok()?;
        if signature.is_empty() || signature.len() > SIGNATURE_LIMIT_BYTES {
            return None;
        }
        Some(Leaf { data, signature, key: self.key(key)? })
    }

    fn key(&mut self, base64: &[u8]) -> Option<PublicKey> {
        if let Some(key) = self.keys.get(base64) {
            return Some(key.clone());
        }
        let key = PublicKey::from_der(&STANDARD.decode(base64).ok()?).ok()?;
        if self.keys.len() >= KNOWN_KEYS_LIMIT {
            self.keys.clear();
        }
        self.keys.insert(base64.into(), key.clone());
        Some(key)
    }
}

/// What is before the next quotation mark, and what is from it on.
fn quoted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.iter().position(|byte| *byte == b'"')?)
}

#[derive(Deserialize)]
struct Wire {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "hashedRekordV002")]
    record: Record,
}

#[derive(Deserialize)]
struct Record {
    data: Data,
    signature: Signature,
}

#[derive(Deserialize)]
struct Data {
    digest: String,
}

#[derive(Deserialize)]
struct Signature {
    content: String,
    verifier: Verifier,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verifier {
    public_key: RawKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKey {
    raw_bytes: String,
}

#[cfg(test)]
mod tests;
