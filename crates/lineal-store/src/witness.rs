//! What a witness remembers of each log: the checkpoint that it cosigned last.
//!
//! * **One file a log**, named by the hash of its origin: the cosigned note. Monitors read the same bytes.
//! * **Check and store are one act**, under a lock that also holds between processes and ends with its holder. What is
//!   stored is durable before the caller learns of it, so no answer is given that a crash could undo.
//! * A file that is not a note cosigned by this witness stops the witness for that log. It is never taken for nothing.

use std::fs::File;
use std::path::{Path, PathBuf};

use lineal_facts::Digest;
use lineal_proof::checkpoint::NOTE_LIMIT_BYTES;
use lineal_proof::{Checkpoint, Note, WitnessKey};

use lineal_blob::files::{self, Context, FileError};

/// The memory of one witness.
#[derive(Debug, Clone)]
pub struct WitnessMemory {
    folder: PathBuf,
    witness: WitnessKey,
}

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WitnessMemoryError {
    /// Changed, or another witness's.
    #[error("the memory of the witness in `{}` is damaged: {reason}; without it nothing may be cosigned", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl WitnessMemory {
    /// The memory of `witness` in `folder`, which is made if it is not there.
    pub fn open(folder: &Path, witness: WitnessKey) -> Result<Self, WitnessMemoryError> {
        files::create_directory(folder)?;
        files::sync_directory(files::parent(folder))?;
        Ok(Self { folder: folder.to_owned(), witness })
    }

    /// The note that was cosigned last for the log called `origin`.
    pub fn latest(&self, origin: &str) -> Result<Option<Note>, WitnessMemoryError> {
        self.read(&self.path(origin), origin)
    }

    /// Asks `decide` for the note that follows the checkpoint cosigned last, and stores it. A refusal changes nothing.
    ///
    /// Nobody else decides about this log meanwhile. Blocks for that and for the disk.
    pub fn advance<E>(
        &self,
        origin: &str,
        decide: impl FnOnce(Option<&Checkpoint>) -> Result<Note, E>,
    ) -> Result<Result<Note, E>, WitnessMemoryError> {
        let path = self.path(origin);
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).context("open", &lock_path)?;
        lock.lock().context("lock", &lock_path)?;
        let latest = self.read(&path, origin)?.map(|note| checkpoint(&note, &path)).transpose()?;
        let note = match decide(latest.as_ref()) {
            Ok(note) => note,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // What could not be read again would stop the witness for good.
        self.check(&note, &path, origin)?;
        files::replace(&path, &note.to_bytes())?;
        Ok(Ok(note))
    }

    fn read(&self, path: &Path, origin: &str) -> Result<Option<Note>, WitnessMemoryError> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read_limited(path, NOTE_LIMIT_BYTES as u64)?;
        let note = Note::parse(&bytes).map_err(|e| damaged(path, e.to_string()))?;
        self.check(&note, path, origin)?;
        Ok(Some(note))
    }

    fn check(&self, note: &Note, path: &Path, origin: &str) -> Result<(), WitnessMemoryError> {
        if checkpoint(note, path)?.origin != origin {
            return Err(damaged(path, "a note of another log".to_owned()));
        }
        match self.witness.time_of(note) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(damaged(path, "not cosigned by this witness".to_owned())),
            Err(e) => Err(damaged(path, e.to_string())),
        }
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.folder.join(Digest::of(origin.as_bytes()).hex())
    }
}

fn checkpoint(note: &Note, path: &Path) -> Result<Checkpoint, WitnessMemoryError> {
    Checkpoint::from_text(&note.text).map_err(|e| damaged(path, e.to_string()))
}

fn damaged(path: &Path, reason: String) -> WitnessMemoryError {
    WitnessMemoryError::Damaged { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests;
