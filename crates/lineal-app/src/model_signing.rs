//! Signing the files of a model version, and checking a directory against such a signature: OpenSSF Model Signing.
//!
//! The signature is an ordinary statement of the ledger; its bundle is what other tools verify. Checking needs no
//! project: a public key is enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lineal_blob::files::{self, Context};
use lineal_blob::tree;
use lineal_blob::tree::TreeError;
use lineal_blob::walk::{self, Found, Links};
use lineal_facts::predicate::KeyRole;
use lineal_facts::{Digest, ModelVersion};
use lineal_proof::bundle::{self, BUNDLE_LIMIT_BYTES};
use lineal_proof::model_signature::{
    self, FoundContent, ModelSignatureError, Policy, SINGLE_FILE, check_name,
};
use lineal_proof::{Bundle, Leaf, PublicKey, SignedModel, VerifierKey, VerifyError};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::model;
use crate::project::Project;

/// Files are hashed by so many threads: enough to read one while another is hashed.
const HASH_THREADS: usize = 2;
/// Differences that a message names; the report has all.
const NAMED_LIMIT: usize = 5;
/// Longest public key file.
const KEY_FILE_LIMIT_BYTES: u64 = 4 << 10;

/// A version whose files are signed.
#[derive(Debug, Serialize)]
pub struct Signed {
    /// The version.
    pub version: ModelVersion,
    /// Digest of all digests; what other tools call the model's digest.
    pub root: Digest,
    /// How many files.
    pub files: usize,
    /// The statement in the ledger.
    pub statement: Digest,
    /// Whether the ledger had it already.
    pub unchanged: bool,
}

/// What to check, and what to accept.
#[derive(Debug)]
pub struct Check {
    /// The model: a directory or a file.
    pub target: PathBuf,
    /// The signature file.
    pub signature: PathBuf,
    /// Paths that may be there unsigned.
    pub ignore_paths: Vec<String>,
    /// Whether links within the model count as the file that they lead to.
    pub follow_links: bool,
}

/// Whose signature counts.
pub enum Trust<'a> {
    /// This key's; with keys of ledgers, only if one of these ledgers has the signature.
    Key(Box<PublicKey>, Vec<VerifierKey>),
    /// A builder key of this project, at a position of its ledger where the key counted.
    Project(&'a Project),
}

/// What a check found.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Whether every file is as it was signed and none is there beside them.
    pub verified: bool,
    /// What the signer called the model. It proves nothing.
    pub name: String,
    /// Digest of all signed digests.
    pub root: Digest,
    /// How many files are signed.
    pub files: usize,
    /// The key that signed.
    pub key: Digest,
    /// Position in the ledger, if that was checked.
    pub position: Option<u64>,
    /// What is not as it was signed.
    pub differences: Vec<FileDifference>,
}

/// One file that is not as it was signed.
#[derive(Debug, Serialize)]
pub struct FileDifference {
    /// `changed`, `missing` or `extra`.
    pub what: &'static str,
    /// The file.
    pub path: String,
}

/// Signs the files of `version` and records that. Signing again gives the statement that is there.
pub async fn sign(project: &Project, version: &ModelVersion) -> Result<Signed, Failure> {
    let row = model::find(project, version).await?;
    let manifest = tree::manifest(project.store.blobs(), &row.digest)?;
    let files = manifest.files().iter().map(|file| (file.path.as_str(), file.digest));
    // The name is that of a directory.
    let name = format!("{}-{}", version.model, version.version);
    let statement = model_signature::statement(&name, files)?;
    let root = statement.subject.first().map_or(row.digest, |subject| subject.digest.sha256());
    let files = manifest.files().len();
    let signed =
        |statement, unchanged| Signed { version: version.clone(), root, files, statement, unchanged };
    for entry in project.store.index().entries_about(&root).await? {
        let counts = entry.noun == statement.predicate.noun()
            && project
                .store
                .index()
                .keyring()
                .await?
                .accepts(&entry.signer, KeyRole::Builder, entry.position)
                .is_ok();
        if counts && project.store.statement(&entry.statement).await? == statement {
            return Ok(signed(entry.statement, true));
        }
    }
    let committed = project.store.commit(&[statement], project.store.builder()).await?;
    Ok(signed(committed.first().map_or(root, |c| c.statement), false))
}

/// Reads a P-256 public key in PEM.
pub fn read_key(path: &Path) -> Result<PublicKey, Failure> {
    let wrong = |reason: String| Failure::new(Code::Key, format!("`{}`: {reason}", path.display()));
    let bytes = files::read_limited(path, KEY_FILE_LIMIT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("not PEM".to_owned()))?;
    PublicKey::from_pem(&text).map_err(|e| wrong(e.to_string()))
}

/// Checks that the model at `check.target` is what a trusted key signed: those files, those bytes, nothing else.
pub async fn verify(check: &Check, trust: &Trust<'_>) -> Result<Checked, Failure> {
    let policy = policy(check)?;
    let file = files::read_limited(&check.signature, BUNDLE_LIMIT_BYTES as u64)?;
    let bundle = Bundle::from_bytes(&file).map_err(|e| unverified(check, &e))?;
    let (key, position, verified) = match trust {
        Trust::Key(key, logs) => {
            let verified = bundle::verify(&bundle, key, logs, None).map_err(|e| unverified(check, &e))?;
            (key.id(), verified.index, verified)
        }
        Trust::Project(project) => {
            let (key, verified) = verify_in_ledger(project, check, &bundle).await?;
            (key, verified.index, verified)
        }
    };
    let signed = SignedModel::open(&verified)?;
    signed.permitted(&policy)?;
    let found = contents(check, &policy, &signed)?;
    let differences: Vec<FileDifference> = signed
        .differences(&found)
        .into_iter()
        .map(|difference| FileDifference { what: difference.word(), path: difference.path().to_owned() })
        .collect();
    Ok(Checked {
        verified: differences.is_empty(),
        name: signed.name,
        root: signed.root,
        files: signed.files.len(),
        key,
        position,
        differences,
    })
}

impl Checked {
    /// The failure to report, if anything is not as it was signed.
    pub fn failure(&self, target: &Path) -> Option<Failure> {
        let named: Vec<String> = self
            .differences
            .iter()
            .take(NAMED_LIMIT)
            .map(|difference| format!("`{}` is {}", difference.path, difference.what))
            .collect();
        let more = self.differences.len().saturating_sub(NAMED_LIMIT);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("`{}` is not what was signed: {}{more}", target.display(), named.join(", "));
        (!self.verified).then(|| Failure::new(Code::Tampered, text))
    }
}

/// The signature must be in the project's own ledger, by a builder key that counted there.
async fn verify_in_ledger(
    project: &Project,
    check: &Check,
    bundle: &Bundle,
) -> Result<(Digest, bundle::VerifiedBundle), Failure> {
    let missing = |reason: &str| unverified(check, &VerifyError::Incomplete(reason.to_owned()));
    let entry = bundle.entry.as_ref().ok_or_else(|| missing("the signature has no ledger entry"))?;
    let leaf = Leaf::from_bytes(&entry.leaf).map_err(|e| unverified(check, &e.into()))?;
    let ledger = project.store.ledger();
    // Also those before the present one: what counts is the entry in the ledger as it is now.
    let logs: Vec<VerifierKey> = ledger.log_keys().get().all().cloned().collect();
    let verified = bundle::verify(bundle, &leaf.key, &logs, None).map_err(|e| unverified(check, &e))?;
    // The entry must still be there: a checkpoint alone could be that of a log that was taken back.
    let head = ledger.head()?.ok_or_else(|| missing("the project's ledger is empty"))?;
    if entry.index >= head.size || ledger.leaf(entry.index, head.size)? != leaf {
        return Err(unverified(
            check,
            &VerifyError::Tampered("the project's ledger has another entry there".to_owned()),
        ));
    }
    let keyring = project.store.index().keyring().await?;
    keyring
        .accepts(&leaf.key.id(), KeyRole::Builder, entry.index)
        .map_err(|e| unverified(check, &e.into()))?;
    Ok((leaf.key.id(), verified))
}

fn policy(check: &Check) -> Result<Policy, Failure> {
    for path in &check.ignore_paths {
        let plain = check_name(path).is_ok() && !path.contains(['*', '?', '[']);
        if !plain {
            return Err(Failure::new(
                Code::Usage,
                format!(
                    "`{path}` cannot be ignored; expected the exact path of a file or directory within the model"
                ),
            ));
        }
    }
    let signature_name = check.signature.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Policy { ignore_paths: check.ignore_paths.clone(), signature_name, follow_links: check.follow_links })
}

/// Every file of the model, hashed in the parts that the signature has.
fn contents(
    check: &Check,
    policy: &Policy,
    signed: &SignedModel,
) -> Result<BTreeMap<String, FoundContent>, Failure> {
    let signature = place_within(&check.signature, &check.target)?;
    let skip = |path: &str| policy.ignores(path) || signature.as_deref() == Some(path);
    let links = if policy.follow_links { Links::Within } else { Links::Refused };
    let found = walk::walk(&check.target, links, &skip)?;
    let single = signed.files.contains_key(SINGLE_FILE) && !check.target.is_dir();
    let hashed = hash(&found, signed.part_bytes)?;
    let content = |(file, parts): (&Found, Vec<Digest>)| {
        let path = if single { SINGLE_FILE.to_owned() } else { file.path.clone() };
        (path, FoundContent { size_bytes: file.metadata.len(), parts })
    };
    Ok(found.iter().zip(hashed).map(content).collect())
}

/// Where `file` is within `directory`, if it is.
fn place_within(file: &Path, directory: &Path) -> Result<Option<String>, Failure> {
    let real = |path: &Path| std::fs::canonicalize(path).context("read", path);
    let (parent, name) = (real(files::parent(file))?, file.file_name().unwrap_or_default());
    let place = parent.join(name);
    Ok(place.strip_prefix(real(directory)?).ok().and_then(Path::to_str).map(str::to_owned))
}

/// Digests of all files, in their order.
fn hash(found: &[Found], part_bytes: Option<u64>) -> Result<Vec<Vec<Digest>>, TreeError> {
    let next = AtomicUsize::new(0);
    // Each thread fills the places that it took; locked for a moment a file.
    let done: Mutex<BTreeMap<usize, Result<Vec<Digest>, TreeError>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..HASH_THREADS.min(found.len()) {
            scope.spawn(|| {
                while let Some((position, file)) = {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    found.get(position).map(|file| (position, file))
                } {
                    let digests = file.digests(part_bytes);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(position, digests);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

fn unverified(check: &Check, error: &VerifyError) -> Failure {
    let code = match error {
        VerifyError::Malformed(_) => Code::Signature,
        VerifyError::Tampered(_) => Code::Tampered,
        VerifyError::UntrustedKey(_) => Code::Key,
        VerifyError::Incomplete(_) | VerifyError::Stale { .. } | VerifyError::OtherSubject(_) => {
            Code::NotVerified
        }
    };
    Failure::new(code, format!("signature `{}`: {error}", check.signature.display()))
}

impl From<ModelSignatureError> for Failure {
    fn from(error: ModelSignatureError) -> Self {
        Self::new(Code::Signature, format!("the model signature is refused: {error}"))
    }
}

#[cfg(test)]
mod tests;
