//! What a failed check means, so that callers can answer with the right exit code, and the check between two checkpoints.

use lineal_facts::Digest;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::envelope::EnvelopeError;
use crate::keyring::KeyringError;
use crate::leaf::LeafError;
use crate::tree::{self, Hash, ProofError};

/// The outcome of a check that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The input is not of the expected form. It may be another file, or damaged.
    #[error("cannot be read: {0}")]
    Malformed(String),
    /// Parts that must belong together do not: something was changed or exchanged.
    #[error("tampering found: {0}")]
    Tampered(String),
    /// Something that the check needs is not there.
    #[error("evidence is missing: {0}")]
    Incomplete(String),
    /// Well-formed, but made by a key that the verifier does not trust for this.
    #[error("not signed by a trusted key: {0}")]
    UntrustedKey(String),
    /// The checkpoint is older than one that was seen before: a rollback, or an old copy.
    #[error("the log has {found} entries, but {known} were seen before")]
    Stale {
        /// Size seen before.
        known: u64,
        /// Size now.
        found: u64,
    },
    /// Sound evidence, but about something else.
    #[error("the statement is not about {0}")]
    OtherSubject(Digest),
}

/// Checks that the log at checkpoint `found` extends the log at `known`, which the verifier accepted before.
///
/// `path` is the [consistency proof](tree::consistency_proof) from `known` to `found`, empty when the sizes are equal.
pub fn extends(known: &Checkpoint, found: &Checkpoint, path: &[Hash]) -> Result<(), VerifyError> {
    if known.origin != found.origin {
        let reason = format!("the checkpoint is by log `{}`, not `{}`", found.origin, known.origin);
        return Err(VerifyError::UntrustedKey(reason));
    }
    if found.size < known.size {
        return Err(VerifyError::Stale { known: known.size, found: found.size });
    }
    tree::verify_consistency(known.size, &known.root, found.size, &found.root, path).map_err(|_| {
        let sizes = (known.size, found.size);
        VerifyError::Tampered(format!(
            "the log with {} entries does not continue the one with {}",
            sizes.1, sizes.0
        ))
    })
}

impl From<EnvelopeError> for VerifyError {
    fn from(error: EnvelopeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<CheckpointError> for VerifyError {
    fn from(error: CheckpointError) -> Self {
        let text = error.to_string();
        match error {
            CheckpointError::Format(_) | CheckpointError::Checkpoint(_) | CheckpointError::Key(_) => {
                Self::Malformed(text)
            }
            CheckpointError::Signature(_) => Self::Tampered(text),
            CheckpointError::Unsigned(_) | CheckpointError::Retired { .. } => Self::UntrustedKey(text),
        }
    }
}

impl From<LeafError> for VerifyError {
    fn from(error: LeafError) -> Self {
        let text = error.to_string();
        match error {
            LeafError::Format(_) | LeafError::Key(_) => Self::Malformed(text),
            LeafError::Digest { .. } | LeafError::Signature => Self::Tampered(text),
        }
    }
}

impl From<ProofError> for VerifyError {
    fn from(error: ProofError) -> Self {
        let text = error.to_string();
        match error {
            ProofError::Length(_) => Self::Malformed(text),
            ProofError::Range { .. } | ProofError::Mismatch => Self::Tampered(text),
        }
    }
}

impl From<KeyringError> for VerifyError {
    fn from(error: KeyringError) -> Self {
        Self::UntrustedKey(error.to_string())
    }
}

#[cfg(test)]
mod tests;
