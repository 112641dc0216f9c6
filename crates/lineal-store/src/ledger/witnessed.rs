//! The checkpoint that witnesses cosigned, in a file of its own beside `checkpoint`.
//!
//! `checkpoint` is the writer's and is replaced with each append, by bytes that follow from size and key. Witnesses
//! answer later and about some sizes only, so what they signed is kept in `checkpoint.witnessed`: the log's own note
//! with their lines. While both are of the same text, clients get them as one.

use std::fs::File;
use std::path::PathBuf;

use lineal_proof::{Checkpoint, Note};

use super::{CHECKPOINT_LIMIT_BYTES, Head, Ledger, LedgerError};
use lineal_blob::files::{self, Context};

/// The file's name.
pub(super) const WITNESSED: &str = "checkpoint.witnessed";

/// What became of a cosigned checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// It is the latest one.
    Published,
    /// There is one of a larger log already.
    Outrun,
}

impl Ledger {
    /// The latest checkpoint that witnesses cosigned; the log's signature on it is checked, theirs are not.
    pub fn witnessed(&self) -> Result<Option<Head>, LedgerError> {
        let path = self.witnessed_path();
        if !path.exists() {
            return Ok(None);
        }
        let note = files::read_limited(&path, CHECKPOINT_LIMIT_BYTES)?;
        self.opened(note, path).map(Some)
    }

    /// Publishes a checkpoint of this log with the lines of witnesses, unless there is one of a larger log.
    pub fn publish_witnessed(&self, note: &Note) -> Result<Publication, LedgerError> {
        // Beside the log, not in it: the format's folder holds what clients read.
        let lock_path = self.local.join("witnessed.lock");
        let lock = File::create(&lock_path).context("open", &lock_path)?;
        lock.lock().context("lock", &lock_path)?;
        let path = self.witnessed_path();
        let new = self.opened(note.to_bytes(), path.clone())?;
        if self.witnessed()?.is_some_and(|published| published.size > new.size) {
            return Ok(Publication::Outrun);
        }
        files::replace(&path, &new.note)?;
        Ok(Publication::Published)
    }

    /// `head` with the lines of the witnesses that cosigned this very text.
    ///
    /// A witnessed checkpoint that cannot be read takes nothing away from the log's own.
    pub(super) fn with_witnesses(&self, head: Head) -> Vec<u8> {
        let witnessed = self.witnessed().ok().flatten();
        let notes = witnessed.and_then(|w| Some((Note::parse(&head.note).ok()?, Note::parse(&w.note).ok()?)));
        match notes {
            Some((mut own, witnessed)) if own.text == witnessed.text => {
                let more = witnessed.signatures.into_iter().filter(|line| !own.signatures.contains(line));
                let more: Vec<_> = more.collect();
                own.signatures.extend(more);
                own.to_bytes()
            }
            Some(_) | None => head.note,
        }
    }

    /// Whether the log at `head` continues the one at `old`, by the tiles.
    pub fn continues(&self, old: &Checkpoint, head: &Head) -> Result<bool, LedgerError> {
        if old.size > head.size {
            return Ok(false);
        }
        let path = self.consistency_proof(old.size, head.size)?;
        let proof = lineal_proof::tree::verify_consistency(old.size, &old.root, head.size, &head.root, &path);
        Ok(proof.is_ok())
    }

    fn witnessed_path(&self) -> PathBuf {
        // Also of a log in a bucket: what witnesses signed can be asked of them again by every machine.
        self.local.join("log").join(WITNESSED)
    }
}

#[cfg(test)]
mod tests;
