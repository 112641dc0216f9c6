//! What a checkpoint says about the key statements: how many there are, and a hash over all of them.
//!
//! Whoever has some statements of a log cannot see in the tree that one is left out. For most that takes something
//! away from what is shown; a revocation that is left out adds to it. So the log's checkpoint commits to every key
//! statement, in one extension line:
//!
//! ```text
//! lineal-keys COUNT BASE64
//! ```
//!
//! The hash of none is 32 zero bytes. With the n-th it is `SHA-256(DOMAIN || hash before || position || leaf hash)`, the
//! position as 8 bytes, big-endian. docs/formats/audit.md has vectors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::digest::Hasher;
use lineal_facts::statement::PAYLOAD_TYPE;
use lineal_facts::{Predicate, Statement};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::envelope;
use crate::tree::{self, Hash};
use crate::verify::VerifyError;

/// What the hash begins with, so that it is no hash of anything else.
const DOMAIN: &[u8] = b"lineal/key-statements/v1\n";
/// What the line begins with.
const NAME: &str = "lineal-keys ";
/// The predicate type of key statements.
const KEY_KIND: &str = "https://lineal.dev/attestation/key/v1";

/// The key statements of a log, up to some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyChain {
    count: u64,
    hash: Hash,
}

impl KeyChain {
    /// How many there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Adds the key statement with this leaf at `position`. They come in ledger order.
    pub fn push(&mut self, position: u64, leaf: &Hash) {
        let mut hasher = Hasher::default();
        hasher.update(DOMAIN);
        hasher.update(self.hash.as_bytes());
        hasher.update(&position.to_be_bytes());
        hasher.update(leaf.as_bytes());
        *self = Self { count: self.count + 1, hash: hasher.finish() };
    }

    /// Adds the entry at `position` if its statement, in its signed bytes, is a key statement.
    pub fn push_if_key(&mut self, position: u64, entry: &[u8], pae: &[u8]) {
        if is_key_statement(pae) {
            self.push(position, &tree::leaf_hash(entry));
        }
    }

    /// The extension line.
    pub fn to_line(&self) -> String {
        format!("{NAME}{} {}", self.count, STANDARD.encode(self.hash.as_bytes()))
    }

    /// What the checkpoint says; `None` if it is of a log that says nothing about its keys.
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Self>, CheckpointError> {
        let mut lines = checkpoint.extensions.iter().filter(|line| line.starts_with(NAME));
        let Some(line) = lines.next() else { return Ok(None) };
        let chain = Self::parse(line).filter(|chain| chain.count <= checkpoint.size);
        match (chain, lines.next()) {
            (Some(chain), None) => Ok(Some(chain)),
            (_, Some(_)) => Err(CheckpointError::Checkpoint("two lines about keys".to_owned())),
            (None, None) => Err(CheckpointError::Checkpoint("a line about keys of another form".to_owned())),
        }
    }

    /// Compares what was found with what the checkpoint says, `signed`. `whole` says whether every statement of the log
    /// was looked at.
    pub fn check(&self, signed: &Self, whole: bool) -> Result<(), VerifyError> {
        if self == signed {
            return Ok(());
        }
        let (found, count) = (self.count, signed.count);
        if whole {
            let text = format!("the checkpoint counts {count} key statements, and not these {found}");
            return Err(VerifyError::Tampered(text));
        }
        let text = format!("the checkpoint counts {count} key statements; here are {found}, or others");
        Err(VerifyError::Incomplete(text))
    }

    fn parse(line: &str) -> Option<Self> {
        let (count, hash) = line.strip_prefix(NAME)?.split_once(' ')?;
        let hash = STANDARD.decode(hash).ok()?.try_into().ok()?;
        let chain = Self { count: count.parse().ok()?, hash: Hash::from_bytes(hash) };
        // Signs, zeros and other spellings of base64 are what is left to refuse.
        (chain.to_line() == line).then_some(chain)
    }
}

impl Default for KeyChain {
    fn default() -> Self {
        Self { count: 0, hash: Hash::from_bytes([0; 32]) }
    }
}

/// Whether the signed bytes are those of a readable statement about a key.
pub fn is_key_statement(pae: &[u8]) -> bool {
    let Ok((PAYLOAD_TYPE, payload)) = envelope::parse_pae(pae) else { return false };
    let Ok(text) = std::str::from_utf8(payload) else { return false };
    // Reading takes time, and most are about something else. A text without `\` has no other spelling.
    let may_be = text.contains('\\') || text.contains(KEY_KIND);
    may_be && Statement::from_bytes(payload).is_ok_and(|it| matches!(it.predicate, Predicate::Key(_)))
}

#[cfg(test)]
mod tests;
