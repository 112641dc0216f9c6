//! Evidence for people who trust none of our code: an audit folder, and the check of one without a project.
//!
//! * [`export`]: writes the folder. docs/formats/audit.md says what every file in it is.
//! * [`verify_folder`], [`verify_bundle`]: check a folder, or one bundle, offline.

mod bundle_file;
mod contents;
mod export;
mod folder;
mod readme;

use lineal_blob::files;
use lineal_proof::bundle::{TRUSTED_ROOT_LIMIT_BYTES, logs_of_trusted_root};
use lineal_proof::{PublicKey, VerifierKey, VerifyError};
use serde::Serialize;
use std::path::Path;

pub use bundle_file::verify_bundle;
pub use export::{ExportOptions, Exported, export};
pub use folder::verify_folder;

use crate::failure::{Code, Failure};
use crate::verify::Verification;

/// What whoever checks knows from elsewhere. Evidence cannot vouch for itself: anybody can make a whole folder.
#[derive(Debug, Default)]
pub struct Pins {
    /// The key of a bundle; of a folder, the builder key of the ledger's first entry.
    pub key: Option<PublicKey>,
    /// Keys of logs. If there are any, one of them must have signed the checkpoint.
    pub logs: Vec<VerifierKey>,
}

/// What a check of a folder or bundle found.
#[derive(Debug, Serialize)]
pub struct Audit {
    /// The links and the findings.
    #[serde(flatten)]
    pub verification: Verification,
    /// Whether the caller named the log's key, so that it is known whose log this is.
    pub log_pinned: bool,
    /// Whether the caller named the key that everything rests on: the log's, or the first builder's.
    pub keys_pinned: bool,
    /// Whether every statement of the log is there, so that none can be left out.
    pub complete: bool,
    /// Whether every key statement is there, so that no revocation can be left out.
    pub keys_complete: bool,
}

impl Pins {
    /// Adds the log keys that the file `trusted_root.json` names.
    pub fn add_trusted_root(&mut self, path: &Path) -> Result<(), Failure> {
        let bytes = files::read_limited(path, TRUSTED_ROOT_LIMIT_BYTES as u64)?;
        let logs = logs_of_trusted_root(&bytes).map_err(|e| {
            Failure::new(Code::Key, format!("`{}`: {}", path.display(), crate::failure::chain(&e)))
        })?;
        self.logs.extend(logs);
        Ok(())
    }
}

/// What an error means in evidence, where every byte was written by a program: damage is tampering.
pub(crate) fn evidence_code(error: &VerifyError) -> Code {
    match error {
        VerifyError::Malformed(_) | VerifyError::Tampered(_) | VerifyError::OtherSubject(_) => Code::Tampered,
        VerifyError::UntrustedKey(_) => Code::UntrustedKey,
        VerifyError::Incomplete(_) => Code::Incomplete,
        VerifyError::Stale { .. } => Code::NotVerified,
    }
}
