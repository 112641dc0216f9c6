//! Verifier keys as text: `<name>+<key id>+<base64 of type and key>` (<https://c2sp.org/signed-note>), for every
//! signature type whose key is an Ed25519 key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;

use super::{CheckpointError, check_name};
use crate::tree::Hash;

/// Longest verifier key in characters: a name, an id and an ML-DSA-44 key with room.
const TEXT_LIMIT: usize = 4 << 10;

/// Reads a verifier key of signature type `kind`; accepts only what [`write`] writes.
pub(crate) fn parse(text: &str, kind: u8) -> Result<(String, VerifyingKey), CheckpointError> {
    let error = |reason: &str| CheckpointError::Key(reason.to_owned());
    if text.len() > TEXT_LIMIT {
        return Err(error("too long"));
    }
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(error("expected `name+id+key`"));
    };
    check_name(name)?;
    let key = STANDARD.decode(key).map_err(|_| error("the key is not base64"))?;
    let key = match key.split_first() {
        Some((&found, key)) if found == kind => key,
        Some((&found, _)) => {
            return Err(CheckpointError::Key(format!(
                "it is for signatures of type {found}; only Ed25519 keys of type {kind} can be used here"
            )));
        }
        None => return Err(error("no key")),
    };
    let key = key.try_into().ok().and_then(|key| VerifyingKey::from_bytes(key).ok());
    // A weak key verifies texts that nobody signed.
    let key = key.filter(|key| !key.is_weak()).ok_or_else(|| error("not an Ed25519 key"))?;
    if hex::encode(key_id(&full_id(name, kind, &key))) == id {
        Ok((name.to_owned(), key))
    } else {
        Err(error("the id is not the key's"))
    }
}

/// Writes a verifier key of signature type `kind`.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, name: &str, kind: u8, key: &VerifyingKey) -> fmt::Result {
    let id = hex::encode(key_id(&full_id(name, kind, key)));
    write!(f, "{name}+{id}+{}", STANDARD.encode([&[kind], &key.as_bytes()[..]].concat()))
}

/// SHA-256 of name, newline, signature type and key.
pub(crate) fn full_id(name: &str, kind: u8, key: &VerifyingKey) -> Hash {
    Hash::of(&[name.as_bytes(), b"\n", &[kind], &key.as_bytes()[..]].concat())
}

/// The id that signature lines carry.
pub(crate) fn key_id(full: &Hash) -> [u8; 4] {
    let [a, b, c, d, ..] = *full.as_bytes();
    [a, b, c, d]
}
