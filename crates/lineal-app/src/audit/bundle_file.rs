//! The check of one bundle.

use std::path::Path;

use lineal_blob::files;
use lineal_facts::Statement;
use lineal_proof::bundle::{self, BUNDLE_LIMIT_BYTES};
use lineal_proof::{Bundle, VerifyError};

use super::{Audit, Pins, evidence_code};
use crate::failure::{Code, Failure, chain};
use crate::verify::{Finding, Node, Verification};

/// Checks the bundle in the file `path` with nothing but it and `pins`, which must have a key: who may sign, only the
/// keyring of a whole ledger says.
pub fn verify_bundle(path: &Path, pins: &Pins) -> Result<Audit, Failure> {
    let key = pins.key.as_ref().ok_or_else(|| {
        Failure::new(Code::Usage, "a single bundle does not say who may sign; name the signer with --key")
    })?;
    let bytes = files::read_limited(path, BUNDLE_LIMIT_BYTES as u64)?;
    let mut tree = Node::new(path.display().to_string(), String::new());
    let mut findings = Vec::new();
    let checked = Bundle::from_bytes(&bytes).and_then(|bundle| {
        let verified = bundle::verify(&bundle, key, &pins.logs, None)?;
        let statement = Statement::from_bytes(&verified.payload);
        Ok((verified, statement.map_err(|e| VerifyError::Malformed(chain(&e)))?))
    });
    match checked {
        Ok((verified, statement)) => {
            let about = statement.subject.first().map_or("", |subject| subject.name.as_str());
            let label = format!("{} about {about}", statement.predicate.noun());
            tree.children.push(Node::new(label, format!("signed by {}", key.id())));
            let place = match (verified.index, &verified.checkpoint) {
                (Some(index), Some(checkpoint)) => {
                    format!("entry {index} of {} in {}", checkpoint.size, checkpoint.origin)
                }
                _ => "not checked; name the log's key with --log-key or --trusted-root".to_owned(),
            };
            tree.children.push(Node::new("log", place));
        }
        Err(error) => {
            let code = match error {
                VerifyError::Malformed(_) => Code::Signature,
                _ => evidence_code(&error),
            };
            tree.children.push(Node { ok: false, ..Node::new("bundle", chain(&error)) });
            findings.push(Finding { code, message: chain(&error) });
        }
    }
    tree.settle();
    let verification = Verification::new(path.display().to_string(), tree, findings);
    let log_pinned = !pins.logs.is_empty();
    Ok(Audit { verification, log_pinned, keys_pinned: true, complete: false, keys_complete: false })
}
