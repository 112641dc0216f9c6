//! One file that proves that an entry is in a log, for verifiers that know the log and its witnesses.
//!
//! Format: <https://c2sp.org/tlog-proof>; files end with `.tlog-proof`. It holds the entry's index, the inclusion
//! proof and the checkpoint with its cosignatures, but not the entry: the verifier has that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, NOTE_LIMIT_BYTES, Note};
use crate::tree::{self, Hash, PATH_LIMIT, SIZE_LIMIT};
use crate::verify::VerifyError;
use crate::witness_policy::{WitnessPolicy, Witnessed};

/// The first line.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Most extra data in bytes.
pub const EXTRA_LIMIT_BYTES: usize = 16 << 10;
/// Largest proof: a note, extra data in base64, hashes and the short lines.
pub const PROOF_LIMIT_BYTES: usize = NOTE_LIMIT_BYTES + 2 * EXTRA_LIMIT_BYTES + 64 * PATH_LIMIT + 256;

/// A proof of inclusion, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// What the application adds. Not authenticated by anything; empty if there is nothing.
    pub extra: Vec<u8>,
    /// The entry's position.
    pub index: u64,
    /// The inclusion proof, nearest sibling first.
    pub path: Vec<Hash>,
    /// The checkpoint with all its signatures.
    pub note: Note,
}

impl TlogProof {
    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        if !self.extra.is_empty() {
            text.push_str(&format!("extra {}\n", STANDARD.encode(&self.extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            text.push_str(&format!("{}\n", STANDARD.encode(hash.as_bytes())));
        }
        text.push('\n');
        [text.into_bytes(), self.note.to_bytes()].concat()
    }

    /// Reads a file; accepts only what [`TlogProof::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VerifyError> {
        let error = |reason: &str| VerifyError::Malformed(format!("not a tlog-proof: {reason}"));
        if bytes.len() > PROOF_LIMIT_BYTES {
            let reason = format!("a proof of {} bytes; the limit is {PROOF_LIMIT_BYTES}", bytes.len());
            return Err(VerifyError::Malformed(reason));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| error("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or_else(|| error("no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(error("the first line names another format"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.map(|line| STANDARD.decode(&line["extra ".len()..])).transpose();
        let extra = extra.map_err(|_| error("the extra data is not base64"))?.unwrap_or_default();
        if extra.len() > EXTRA_LIMIT_BYTES {
            return Err(error("too much extra data"));
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok());
        let index = index.filter(|index| *index < SIZE_LIMIT).ok_or_else(|| error("no index"))?;
        let path = lines.take(PATH_LIMIT + 1).map(parse_hash).collect::<Option<Vec<_>>>();
        let path = path.ok_or_else(|| error("a line that is not a hash"))?;
        if path.len() > PATH_LIMIT {
            return Err(error("too many hashes"));
        }
        let proof = Self { extra, index, path, note: Note::parse(note.as_bytes())? };
        // An empty line in the note's text would move the border between proof and note.
        Checkpoint::from_text(&proof.note.text)?;
        // Signs, leading zeros and an empty `extra` are what is left to refuse.
        if proof.to_bytes() == bytes { Ok(proof) } else { Err(error("not the canonical form")) }
    }

    /// Checks that the entry with the leaf hash `leaf` is in the log, by the rules of `policy`.
    ///
    /// Cosignatures from after `latest`, in seconds since 1970, do not count. Whether the quorum was reached is part of
    /// the answer; see [`Witnessed::require`].
    pub fn verify(&self, leaf: &Hash, policy: &WitnessPolicy, latest: u64) -> Result<Witnessed, VerifyError> {
        let witnessed = policy.evaluate(&self.note.to_bytes(), latest)?;
        let checkpoint = &witnessed.checkpoint;
        tree::verify_inclusion(self.index, checkpoint.size, leaf, &self.path, &checkpoint.root)?;
        Ok(witnessed)
    }
}

/// One hash in base64, as proofs of several formats have it on a line.
pub(crate) fn parse_hash(line: &str) -> Option<Hash> {
    Some(Hash::from_bytes(STANDARD.decode(line).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
