//! Which keys counted at which ledger position.
//!
//! The ledger itself says so: the first entry is a key record of a builder, signed by that same key; every later key
//! record is signed by a builder key that is active at its position. Nothing here has a clock: "before" and "after" are
//! ledger positions, which the log makes unforgeable.

use std::collections::BTreeMap;

use lineal_facts::Digest;
use lineal_facts::predicate::{KeyRecord, KeyRole, KeyState};

use crate::key::{PublicKey, PublicKeyError};

/// Most keys in a ring, active and revoked.
pub const KEYS_LIMIT: usize = 10_000;

/// The keys of one ledger, up to some position.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    entries: Vec<TrustedKey>,
    /// Where each key is in `entries`.
    places: BTreeMap<Digest, usize>,
    last_record: Option<u64>,
}

/// A key, what it may sign, and from when to when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// What it may sign. A key has one role for good.
    pub role: KeyRole,
    /// Who holds it.
    pub holder: String,
    /// Position of the record that introduced it.
    pub active_from: u64,
    /// Position of the record that ended it: entries before it count, entries from it on do not.
    pub revoked_at: Option<u64>,
}

/// Why a key does not count, or a key record has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The ledger never introduced the key.
    #[error("key {0} is not in the ledger's keyring")]
    Unknown(Digest),
    /// The key may sign other things only.
    #[error("key {key} of `{holder}` has the role {actual:?}, not {wanted:?}")]
    Role {
        /// The key.
        key: Digest,
        /// Its holder.
        holder: String,
        /// What it may sign.
        actual: KeyRole,
        /// What it signed.
        wanted: KeyRole,
    },
    /// The key was introduced later.
    #[error("key {key} counts from ledger position {active_from} on, not at {position}")]
    Early {
        /// The key.
        key: Digest,
        /// Where it was introduced.
        active_from: u64,
        /// Where it signed.
        position: u64,
    },
    /// The key was revoked before.
    #[error("key {key} was revoked at ledger position {revoked_at}; position {position} is not before that")]
    Revoked {
        /// The key.
        key: Digest,
        /// Where it was revoked.
        revoked_at: u64,
        /// Where it signed.
        position: u64,
    },
    /// The ledger does not begin with a builder key that signed itself.
    #[error("the ledger's first entry must be a builder key record signed by that key")]
    Root,
    /// A key record in the wrong order or that contradicts the ring.
    #[error("key record at ledger position {position}: {reason}")]
    Record {
        /// The record's position.
        position: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The record's key cannot be read.
    #[error("key record at ledger position {position}: {source}")]
    Key {
        /// The record's position.
        position: u64,
        /// What is wrong with the key.
        source: PublicKeyError,
    },
}

impl Keyring {
    /// All keys in the order of their introduction.
    pub fn entries(&self) -> &[TrustedKey] {
        &self.entries
    }

    /// The key's entry, whether or not it still counts.
    pub fn get(&self, key: &Digest) -> Option<&TrustedKey> {
        self.places.get(key).and_then(|place| self.entries.get(*place))
    }

    /// Who held the key when it signed at `position`; `None` when it did not count there in any role.
    pub fn holder(&self, key: &Digest, position: u64) -> Option<&str> {
        self.active(key, position).ok().map(|entry| entry.holder.as_str())
    }

    /// Whether what `key` signed at ledger position `position` counts as coming from `role`.
    pub fn accepts(&self, key: &Digest, role: KeyRole, position: u64) -> Result<&TrustedKey, KeyringError> {
        let entry = self.active(key, position)?;
        if entry.role == role {
            return Ok(entry);
        }
        let holder = entry.holder.clone();
        Err(KeyringError::Role { key: *key, holder, actual: entry.role, wanted: role })
    }

    /// Applies the key record at `position`, whose statement was signed by the key `signed_by`.
    ///
    /// Records come in ledger order. On error the ring is unchanged; a writer asks a copy before it appends, a reader
    /// treats the ledger as not trustworthy.
    pub fn apply(
        &mut self,
        position: u64,
        signed_by: &Digest,
        record: &KeyRecord,
    ) -> Result<(), KeyringError> {
        let refuse = |reason| Err(KeyringError::Record { position, reason });
        let key = PublicKey::from_pem(&record.public_key)
            .map_err(|source| KeyringError::Key { position, source })?;
        if self.entries.is_empty() {
            let introduces_itself =
                key.id() == *signed_by && record.role == KeyRole::Builder && record.state == KeyState::Active;
            if position != 0 || !introduces_itself {
                return Err(KeyringError::Root);
            }
        } else {
            if self.last_record.is_some_and(|last| position <= last) {
                return refuse("not after the record before it");
            }
            self.accepts(signed_by, KeyRole::Builder, position)?;
        }
        let known = self.places.get(&key.id()).and_then(|place| self.entries.get_mut(*place));
        match (record.state, known) {
            (KeyState::Active, Some(_)) => return refuse("the key was introduced before; make a new one"),
            (KeyState::Active, None) if self.places.len() >= KEYS_LIMIT => return refuse("too many keys"),
            (KeyState::Active, None) => self.introduce(position, key, record),
            (KeyState::Revoked, None) => return refuse("it revokes a key that was never introduced"),
            (KeyState::Revoked, Some(entry)) if entry.revoked_at.is_some() => {
                return refuse("the key was revoked before");
            }
            (KeyState::Revoked, Some(entry))
                if entry.role != record.role || entry.holder != record.holder =>
            {
                return refuse("it names another role or holder than the key has");
            }
            (KeyState::Revoked, Some(entry)) => entry.revoked_at = Some(position),
        }
        self.last_record = Some(position);
        Ok(())
    }

    fn introduce(&mut self, position: u64, key: PublicKey, record: &KeyRecord) {
        self.places.insert(key.id(), self.entries.len());
        self.entries.push(TrustedKey {
            key,
            role: record.role,
            holder: record.holder.clone(),
            active_from: position,
            revoked_at: None,
        });
    }

    fn active(&self, key: &Digest, position: u64) -> Result<&TrustedKey, KeyringError> {
        let entry = self.get(key).ok_or(KeyringError::Unknown(*key))?;
        if position < entry.active_from {
            return Err(KeyringError::Early { key: *key, active_from: entry.active_from, position });
        }
        match entry.revoked_at {
            Some(revoked_at) if position >= revoked_at => {
                Err(KeyringError::Revoked { key: *key, revoked_at, position })
            }
            Some(_) | None => Ok(entry),
        }
    }
}

#[cfg(test)]
mod tests;
