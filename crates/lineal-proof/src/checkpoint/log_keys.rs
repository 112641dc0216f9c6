//! The keys of one log over time.
//!
//! A log that changes its key keeps its origin. The checkpoint that first covers the record of the new key is signed by
//! both, so whoever knows only the old key can read the record there; larger ones are signed by the new key alone.

use std::fmt;
use std::str::FromStr;

use super::{Checkpoint, CheckpointError, LogSigner, Note, Verified, VerifierKey, open};

/// Most keys of one log.
pub const LOG_KEYS_LIMIT: usize = 100;

/// Which key signs checkpoints of which size.
///
/// As text, a line a key, oldest first: the verifier key and, after a space, the size from which it signs. The first
/// line has no size: it signs from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKeys {
    first: VerifierKey,
    later: Vec<(u64, VerifierKey)>,
}

impl LogKeys {
    /// The keys of a log that has had one so far.
    pub const fn new(first: VerifierKey) -> Self {
        Self { first, later: Vec::new() }
    }

    /// Adds the key that signs checkpoints of `from` entries and more.
    pub fn push(&mut self, from: u64, key: VerifierKey) -> Result<(), CheckpointError> {
        let error = |reason: &str| Err(CheckpointError::Key(reason.to_owned()));
        if self.later.len() + 1 >= LOG_KEYS_LIMIT {
            return error("too many keys of one log");
        }
        if key.name() != self.first.name() {
            return error("a key of another log");
        }
        if self.all().any(|known| known.key_id() == key.key_id()) {
            return error("the log had this key before");
        }
        if from <= self.later.last().map_or(0, |(from, _)| *from) {
            return error("a key must begin after the one before it");
        }
        self.later.push((from, key));
        Ok(())
    }

    /// The key that signs the next checkpoint.
    pub fn current(&self) -> &VerifierKey {
        self.later.last().map_or(&self.first, |(_, key)| key)
    }

    /// The key that signs checkpoints of `size` entries.
    pub fn at(&self, size: u64) -> &VerifierKey {
        let later = self.later.iter().rev().find(|(from, _)| *from <= size);
        later.map_or(&self.first, |(_, key)| key)
    }

    /// Every key, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &VerifierKey> {
        std::iter::once(&self.first).chain(self.later.iter().map(|(_, key)| key))
    }

    /// The keys after the first one, and the sizes from which they sign.
    pub fn later(&self) -> &[(u64, VerifierKey)] {
        &self.later
    }

    /// Checks a checkpoint note as [`open`] does; it must be signed by the key that signs checkpoints of its size.
    pub fn open(&self, note: &[u8]) -> Result<Verified<Checkpoint>, CheckpointError> {
        let known: Vec<VerifierKey> = self.all().cloned().collect();
        let checkpoint = open(note, &known)?;
        let wanted = self.at(checkpoint.size);
        let is_by_it = |name: &str, id| name == wanted.name() && id == wanted.key_id();
        if Note::parse(note)?.signatures.iter().any(|line| is_by_it(&line.name, line.key_id)) {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Retired { size: checkpoint.size, wanted: wanted.to_string() })
        }
    }
}

impl LogSigner {
    /// Signs the checkpoint at which `next` takes over from this key, by both.
    pub fn hand_over(&self, next: &Self, checkpoint: &Checkpoint) -> Result<Vec<u8>, CheckpointError> {
        let mut note = Note::parse(&self.sign(checkpoint)?)?;
        note.signatures.extend(Note::parse(&next.sign(checkpoint)?)?.signatures);
        Ok(note.to_bytes())
    }
}

impl FromStr for LogKeys {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let error = || CheckpointError::Key("expected a verifier key and a size on each line".to_owned());
        let mut lines = text.trim_end_matches('\n').split('\n');
        let mut keys = Self::new(lines.next().unwrap_or_default().parse()?);
        for line in lines {
            let (key, from) = line.split_once(' ').ok_or_else(error)?;
            let size: u64 = from.parse().map_err(|_| error())?;
            if size.to_string() != from {
                return Err(error());
            }
            keys.push(size, key.parse()?)?;
        }
        Ok(keys)
    }
}

impl fmt::Display for LogKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.first)?;
        self.later.iter().try_for_each(|(from, key)| writeln!(f, "{key} {from}"))
    }
}

#[cfg(test)]
mod tests;
