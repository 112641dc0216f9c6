//! What a log asks a witness, and what the witness decides.
//!
//! Format and rules: <https://c2sp.org/tlog-witness>, `add-checkpoint`. The body is `old N`, up to 63 hashes of a
//! consistency proof, an empty line and the checkpoint. The witness's memory is an argument of [`decide`]; whoever has
//! it must ask, decide and store under one lock, and store before it answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{self, Checkpoint, CheckpointError, NOTE_LIMIT_BYTES, Note, VerifierKey};
use crate::tlog_proof::parse_hash;
use crate::tree::{self, Hash, PATH_LIMIT, SIZE_LIMIT};

/// Largest request: a note, hashes and the first line.
pub const REQUEST_LIMIT_BYTES: usize = NOTE_LIMIT_BYTES + 64 * PATH_LIMIT + 64;
/// The media type of the answer that tells the witness's size.
pub const SIZE_MEDIA_TYPE: &str = "text/x.tlog.size";

/// The body of `add-checkpoint`, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness has, as the log believes.
    pub old: u64,
    /// The consistency proof from there.
    pub path: Vec<Hash>,
    /// The checkpoint.
    pub note: Note,
}

/// A request whose checkpoint a known log signed; only [`AddCheckpoint::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    old: u64,
    path: Vec<Hash>,
    checkpoint: Checkpoint,
    /// The text and the log's own signatures on it, nothing else.
    note: Note,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a request.
    #[error("not an add-checkpoint request: {0}")]
    Malformed(String),
    /// Nobody told the witness about this log.
    #[error("the log `{0}` is not known here")]
    UnknownLog(String),
    /// Not signed by the log, or a signature by its key that does not fit.
    #[error("not signed by the log: {0}")]
    Unsigned(CheckpointError),
    /// The old size is above the new one.
    #[error("the old size {old} is above the checkpoint's size {new}")]
    Backwards {
        /// The old size.
        old: u64,
        /// The checkpoint's size.
        new: u64,
    },
    /// The witness has another size than the log believes.
    #[error("the witness has {size} entries")]
    Conflict {
        /// What it has.
        size: u64,
    },
    /// The checkpoint does not continue what the witness has.
    #[error("the checkpoint does not continue what the witness has: {0}")]
    Inconsistent(String),
}

impl AddCheckpoint {
    /// The body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.path {
            text.push_str(&format!("{}\n", STANDARD.encode(hash.as_bytes())));
        }
        text.push('\n');
        [text.into_bytes(), self.note.to_bytes()].concat()
    }

    /// Reads a body; accepts only what [`AddCheckpoint::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let error = |reason: &str| Refusal::Malformed(reason.to_owned());
        if bytes.len() > REQUEST_LIMIT_BYTES {
            return Err(error("too large"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| error("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or_else(|| error("no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")?.parse().ok());
        let old = old.filter(|old| *old <= SIZE_LIMIT).ok_or_else(|| error("no old size"))?;
        let path = lines.take(PATH_LIMIT + 1).map(parse_hash).collect::<Option<Vec<_>>>();
        let path = path.ok_or_else(|| error("a line that is not a hash"))?;
        if path.len() > PATH_LIMIT {
            return Err(error("too many hashes"));
        }
        let malformed = |e: CheckpointError| Refusal::Malformed(e.to_string());
        let note = Note::parse(note.as_bytes()).map_err(malformed)?;
        // An empty line in the note's text would move the border between proof and note.
        Checkpoint::from_text(&note.text).map_err(malformed)?;
        let request = Self { old, path, note };
        if request.to_bytes() == bytes { Ok(request) } else { Err(error("not the canonical form")) }
    }

    /// Checks that one of `logs` signed the checkpoint. Signatures by other keys are dropped.
    pub fn open(self, logs: &[VerifierKey]) -> Result<Submission, Refusal> {
        let Self { old, path, mut note } = self;
        let malformed = |e: CheckpointError| Refusal::Malformed(e.to_string());
        let origin = Checkpoint::from_text(&note.text).map_err(malformed)?.origin;
        let keys: Vec<VerifierKey> = logs.iter().filter(|key| key.name() == origin).cloned().collect();
        if keys.is_empty() {
            return Err(Refusal::UnknownLog(origin));
        }
        let checkpoint = checkpoint::open(&note.to_bytes(), &keys).map_err(Refusal::Unsigned)?.value;
        note.signatures.retain(|line| {
            keys.iter().any(|key| (key.name(), key.key_id()) == (line.name.as_str(), line.key_id))
        });
        Ok(Submission { old, path, checkpoint, note })
    }
}

impl Submission {
    /// What the log signed.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint with the log's signatures only.
    pub const fn note(&self) -> &Note {
        &self.note
    }
}

/// Whether the witness may cosign, given the checkpoint of this log that it cosigned last, if any.
pub fn decide(latest: Option<&Checkpoint>, submission: &Submission) -> Result<(), Refusal> {
    let Submission { old, path, checkpoint: new, .. } = submission;
    if *old > new.size {
        return Err(Refusal::Backwards { old: *old, new: new.size });
    }
    let (size, root) = latest.map_or_else(|| (0, tree::empty_root()), |latest| (latest.size, latest.root));
    if *old != size {
        return Err(Refusal::Conflict { size });
    }
    if new.size == 0 && new.root != tree::empty_root() {
        return Err(Refusal::Inconsistent("an empty log has another root".to_owned()));
    }
    tree::verify_consistency(size, &root, new.size, &new.root, path).map_err(|e| {
        Refusal::Inconsistent(if size == new.size {
            "same size, another root".to_owned()
        } else {
            e.to_string()
        })
    })
}

impl Refusal {
    /// The HTTP status of the answer.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Backwards { .. } => 400,
            Self::Unsigned(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent(_) => 422,
        }
    }
}

/// Reads the size in the body of a 409: a decimal number and a newline.
pub fn parse_size(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let size: u64 = text.strip_suffix('\n')?.parse().ok()?;
    (size <= SIZE_LIMIT && format!("{size}\n") == text).then_some(size)
}

#[cfg(test)]
mod tests;
