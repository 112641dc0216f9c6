//! Which keys counted at which ledger position.
//!
//! The ledger itself says so: the first entry is a key record of a builder, signed by that same key; every later key
//! record is signed by a builder key that is active at its position. Nothing here has a clock: "before" and "after" are
//! ledger positions, which the log makes unforgeable.
//!
//! One builder key is active at every position: the last one can be replaced, never merely revoked. Keys of the log
//! itself are recorded too, signed by a builder; what they signed is for [`LogKeys`](crate::LogKeys) to judge.

use std::collections::BTreeMap;

use lineal_facts::predicate::{KeyRecord, KeyRole, KeyState};
use lineal_facts::{Digest, Predicate, Statement};

use crate::checkpoint::{CheckpointError, VerifierKey};
use crate::key::{PublicKey, PublicKeyError};

/// Most keys in a ring, active and revoked.
pub const KEYS_LIMIT: usize = 10_000;

/// The keys of one ledger, up to some position.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    entries: Vec<TrustedKey>,
    /// Where each key is in `entries`.
    places: BTreeMap<Digest, usize>,
    log_keys: Vec<RecordedLogKey>,
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
    /// The key of the same holder and role that it took over from.
    pub replaces: Option<Digest>,
    /// Why it was revoked.
    pub reason: Option<String>,
}

/// A key of the log that a record introduced; the first key of a log is known from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedLogKey {
    /// The key.
    pub key: VerifierKey,
    /// The log id of the key before it.
    pub replaces: Digest,
    /// Position of the record. The key signs every checkpoint that covers it.
    pub position: u64,
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
    /// The record's log key cannot be read.
    #[error("key record at ledger position {position}: {source}")]
    LogKey {
        /// The record's position.
        position: u64,
        /// What is wrong with the key.
        source: CheckpointError,
    },
}

impl KeyringError {
    /// Whether it is about who signed, not about what the record says.
    pub const fn is_about_the_signer(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Role { .. } | Self::Early { .. } | Self::Revoked { .. } => true,
            Self::Root | Self::Record { .. } | Self::Key { .. } | Self::LogKey { .. } => false,
        }
    }
}

impl Keyring {
    /// All keys in the order of their introduction.
    pub fn entries(&self) -> &[TrustedKey] {
        &self.entries
    }

    /// The keys of the log that records introduced, in order.
    pub fn log_keys(&self) -> &[RecordedLogKey] {
        &self.log_keys
    }

    /// The newest key of `holder` in `role` that is not revoked.
    pub fn current(&self, holder: &str, role: KeyRole) -> Option<&TrustedKey> {
        self.entries.iter().rev().find(|e| e.holder == holder && e.role == role && e.revoked_at.is_none())
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

    /// Whether a statement of this kind, signed by `key` at `position`, counts. A kind that this build does not know
    /// counts when the key does.
    pub fn admits(
        &self,
        key: &Digest,
        predicate: &Predicate,
        position: u64,
    ) -> Result<&TrustedKey, KeyringError> {
        match predicate.signed_by() {
            Some(role) => self.accepts(key, role, position),
            None => self.active(key, position),
        }
    }

    /// Applies the statement at `position`, if it is about a key: its subject must be that key's id. The rest is as
    /// in [`Keyring::apply`].
    pub fn apply_statement(
        &mut self,
        position: u64,
        signed_by: &Digest,
        statement: &Statement,
    ) -> Result<(), KeyringError> {
        let Predicate::Key(record) = &statement.predicate else { return Ok(()) };
        if statement.is_about(&subject(position, record)?) {
            self.apply(position, signed_by, record)
        } else {
            Err(KeyringError::Record { position, reason: "its subject is not the key's id" })
        }
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
        let id = subject(position, record)?;
        if self.entries.is_empty() {
            let introduces_itself =
                id == *signed_by && record.role == KeyRole::Builder && record.state == KeyState::Active;
            if position != 0 || !introduces_itself {
                return Err(KeyringError::Root);
            }
        } else {
            if self.last_record.is_some_and(|last| position <= last) {
                return Err(KeyringError::Record { position, reason: "not after the record before it" });
            }
            self.accepts(signed_by, KeyRole::Builder, position)?;
        }
        match (record.role, record.state) {
            (KeyRole::Log, _) => self.hand_over_log(position, record)?,
            (_, KeyState::Active) => self.introduce(position, record)?,
            (_, KeyState::Revoked) => self.revoke(position, &id, record)?,
        }
        self.last_record = Some(position);
        Ok(())
    }

    fn introduce(&mut self, position: u64, record: &KeyRecord) -> Result<(), KeyringError> {
        let refuse = |reason| Err(KeyringError::Record { position, reason });
        let key = PublicKey::from_pem(&record.public_key)
            .map_err(|source| KeyringError::Key { position, source })?;
        if self.places.contains_key(&key.id()) {
            return refuse("the key was introduced before; make a new one");
        }
        if self.entries.len() >= KEYS_LIMIT {
            return refuse("too many keys");
        }
        if let Some(old) = &record.replaces {
            match self.get(old) {
                None => return refuse("it replaces a key that was never introduced"),
                Some(old) if old.revoked_at.is_some() => return refuse("it replaces a revoked key"),
                Some(old) if old.role != record.role || old.holder != record.holder => {
                    return refuse("it replaces a key of another role or holder");
                }
                Some(_) => {}
            }
        }
        self.places.insert(key.id(), self.entries.len());
        self.entries.push(TrustedKey {
            key,
            role: record.role,
            holder: record.holder.clone(),
            active_from: position,
            revoked_at: None,
            replaces: record.replaces,
            reason: None,
        });
        Ok(())
    }

    fn revoke(&mut self, position: u64, id: &Digest, record: &KeyRecord) -> Result<(), KeyringError> {
        let refuse = |reason| Err(KeyringError::Record { position, reason });
        let builders = self.entries.iter().filter(|e| e.role == KeyRole::Builder && e.revoked_at.is_none());
        let last_builder = builders.count() == 1;
        let known = self.places.get(id).and_then(|place| self.entries.get_mut(*place));
        let Some(entry) = known else {
            return refuse("it revokes a key that was never introduced");
        };
        if entry.revoked_at.is_some() {
            return refuse("the key was revoked before");
        }
        if entry.role != record.role || entry.holder != record.holder {
            return refuse("it names another role or holder than the key has");
        }
        if entry.role == KeyRole::Builder && last_builder {
            return refuse(
                "it revokes the last builder key, after which nothing could be recorded; rotate it",
            );
        }
        entry.revoked_at = Some(position);
        entry.reason.clone_from(&record.reason);
        Ok(())
    }

    fn hand_over_log(&mut self, position: u64, record: &KeyRecord) -> Result<(), KeyringError> {
        let refuse = |reason| Err(KeyringError::Record { position, reason });
        if record.state == KeyState::Revoked {
            return refuse("a log key is replaced, never revoked");
        }
        let key: VerifierKey =
            record.public_key.parse().map_err(|source| KeyringError::LogKey { position, source })?;
        let Some(replaces) = record.replaces else {
            return refuse("a log key replaces another");
        };
        let id = Digest::from_bytes(*key.log_id().as_bytes());
        if self.log_keys.len() >= KEYS_LIMIT {
            return refuse("too many log keys");
        }
        if replaces == id || self.log_keys.iter().any(|known| known.key == key || known.replaces == id) {
            return refuse("the log key was used before; make a new one");
        }
        if let Some(last) = self.log_keys.last() {
            if last.key.log_id().as_bytes() != replaces.as_bytes() {
                return refuse("it does not replace the log key before it");
            }
            if last.key.name() != key.name() {
                return refuse("it is the key of another log");
            }
        }
        self.log_keys.push(RecordedLogKey { key, replaces, position });
        Ok(())
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

/// The id of the record's key, which its statement is about.
fn subject(position: u64, record: &KeyRecord) -> Result<Digest, KeyringError> {
    if record.role == KeyRole::Log {
        let key: VerifierKey =
            record.public_key.parse().map_err(|source| KeyringError::LogKey { position, source })?;
        return Ok(Digest::from_bytes(*key.log_id().as_bytes()));
    }
    let key =
        PublicKey::from_pem(&record.public_key).map_err(|source| KeyringError::Key { position, source })?;
    Ok(key.id())
}

#[cfg(test)]
mod tests;
