//! Checking everything that is stored: the log, every statement, every signature and who made it, every blob that a
//! statement says is stored, and the index. Nothing is changed.
//!
//! Each finding names what rests on the damaged thing: the statements that refer to it, what refers to those, and so
//! on.

mod dependents;
mod signers;

use std::collections::BTreeSet;

use lineal_blob::tree;
use lineal_facts::{Digest, Statement};
use lineal_proof::keyring::KeyringError;
use lineal_proof::{Hash, KeyChain, Leaf};
use lineal_store::ledger::{self, FindingKind, Head, WholeCheck};
use lineal_store::store::statement_of;
use lineal_store::{Ledger, LedgerError};
use serde::Serialize;

use crate::audit::evidence_code;
use crate::definition::blobs_of_plan;
use crate::failure::{Code, Failure};
use crate::progress::{Event, Observer};
use crate::project::Project;

use self::signers::{Artifacts, Signers, Stored};

pub use dependents::Dependent;

/// Most findings whose dependents are looked for.
const EXPLAINED_LIMIT: usize = 100;
/// Entries that are read at a time.
const CHUNK: u64 = 4096;

/// The result.
#[derive(Debug, Serialize)]
pub struct Fsck {
    /// Whether nothing was found.
    pub ok: bool,
    /// Entries of the ledger.
    pub entries: u64,
    /// Its root, if its checkpoint can be read.
    pub root: Option<Hash>,
    /// Blobs that were hashed again.
    pub blobs: u64,
    /// What is wrong, in ledger order; what is about the whole ledger comes first.
    pub findings: Vec<FsckFinding>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FsckFinding {
    /// Whether something was changed, is missing or is not trusted.
    pub code: Code,
    /// What kind of thing: `entries`, `tile`, `statement-damaged`, `blob`, `index` and so on.
    pub kind: &'static str,
    /// The first entry that it is about.
    pub position: Option<u64>,
    /// What is wrong, with the file.
    pub message: String,
    /// What rests on it, in ledger order.
    pub dependents: Vec<Dependent>,
    /// What is damaged, if it has a digest.
    #[serde(skip)]
    digest: Option<Digest>,
}

impl Fsck {
    /// The failure to report, if anything was found: tampering before gaps, and of equals the first.
    pub fn failure(&self) -> Option<Failure> {
        let worst = self.findings.iter().rev().max_by_key(|finding| finding.code.exit())?;
        let more = match self.findings.len() {
            1 => String::new(),
            count => format!(" (one of {count} findings)"),
        };
        Some(Failure::new(worst.code, format!("{}{more}", worst.message)))
    }
}

/// Checks everything.
pub async fn fsck(project: &Project, observer: Observer<'_>) -> Result<Fsck, Failure> {
    let ledger = project.store.ledger();
    let head = match ledger.head() {
        Ok(head) => head,
        Err(error) => {
            let findings = vec![FsckFinding::new("checkpoint", None, &Failure::from(error))];
            return Ok(Fsck { ok: false, entries: 0, root: None, blobs: 0, findings });
        }
    };
    let size = head.as_ref().map_or(0, |head| head.size);
    let mut findings = Vec::new();
    let artifacts = check_log(ledger, head.as_ref(), &mut findings, observer);
    let blobs = check_blobs(project, artifacts, &mut findings, observer);
    let index = check_index(project, head.as_ref(), &findings, observer).await;
    findings.extend(index);
    findings.sort_by_key(|finding| finding.position);
    explain(ledger, size, &mut findings);
    let root = head.map(|head| head.root);
    Ok(Fsck { ok: findings.is_empty(), entries: size, root, blobs, findings })
}

/// Tiles, root, entries, the bytes and signatures of statements, and who made them. Yields what they say is stored.
fn check_log(
    ledger: &Ledger,
    head: Option<&Head>,
    findings: &mut Vec<FsckFinding>,
    observer: Observer<'_>,
) -> Artifacts {
    let size = head.map_or(0, |head| head.size);
    observer(Event::Began { what: "checking entries and signatures".to_owned(), total: size });
    let mut signers = Signers::default();
    let advanced = |by| observer(Event::Advanced { by });
    let WholeCheck { findings: mut found, unvisited } =
        ledger.check_whole(head, &advanced, &mut |entry| signers.visit(entry));
    observer(Event::Ended);
    // A bundle that cannot be read is found twice: as part of the tree, and as entries of statements.
    found.sort_by_key(|finding| finding.position);
    found.dedup();
    let finding = |found: &ledger::Finding| {
        let digest = found.position.and_then(|at| ledger.leaf(at, size).ok()).map(|leaf| leaf.data);
        FsckFinding { digest, ..FsckFinding::of_log(found) }
    };
    findings.extend(found.iter().map(finding));
    findings.extend(ledger.witnessed().err().map(|error| {
        let failure = Failure::from(error);
        let advice = "remove it and run `lineal ledger witness`";
        let message = format!("{}; {advice}", failure.message);
        FsckFinding::new("checkpoint", None, &Failure { message, ..failure })
    }));
    let damaged = found.iter().any(ledger::Finding::is_about_an_entry);
    let (about_signers, keys, artifacts) = signers.finish(damaged);
    findings.extend(about_signers);
    // Mostly the check of the log has found it too, with more detail.
    if let Some(error) = unvisited
        && findings.is_empty()
    {
        findings.push(FsckFinding::new("entries", None, &Failure::from(error)));
    }
    // Those that cannot be read are findings already.
    let head = head.filter(|_| !damaged);
    findings.extend(head.and_then(|head| check_keys(head, &keys, true)).map(|failure| {
        let message = format!("ledger: {}", failure.message);
        FsckFinding::new("keys", None, &Failure { message, ..failure })
    }));
    artifacts
}

/// Whether it may be only that an earlier statement about the key is damaged.
pub(crate) const fn may_follow(error: &KeyringError) -> bool {
    matches!(error, KeyringError::Unknown(_) | KeyringError::Record { .. } | KeyringError::Root)
}

/// Whether the key statements that were found are those that the checkpoint counts. `whole` says whether every statement
/// could be read.
pub(crate) fn check_keys(head: &Head, found: &KeyChain, whole: bool) -> Option<Failure> {
    let error = found.check(head.keys.as_ref()?, whole).err()?;
    Some(Failure::caused(evidence_code(&error), &error))
}

/// Hashes every blob of the artefacts again. Yields how many.
fn check_blobs(
    project: &Project,
    artifacts: Artifacts,
    findings: &mut Vec<FsckFinding>,
    observer: Observer<'_>,
) -> u64 {
    let blobs = project.store.blobs();
    let mut checked = BTreeSet::new();
    observer(Event::Began { what: "hashing blobs".to_owned(), total: artifacts.len() as u64 });
    for (digest, Stored { position, artifact, is_plan }) in artifacts {
        observer(Event::Advanced { by: 1 });
        let mut damaged = |failure: Failure| {
            let message = format!("ledger position {position}: {}", failure.message);
            let finding = FsckFinding::new("blob", Some(position), &Failure { message, ..failure });
            findings.push(FsckFinding { digest: Some(digest), ..finding });
        };
        let all = tree::blobs_of(blobs, artifact.kind, &digest).map_err(Failure::from);
        let behind = if is_plan { blobs_of_plan(blobs, &digest) } else { Ok(Vec::new()) };
        match all.and_then(|all| Ok([all, behind?].concat())) {
            Ok(all) => {
                for blob in all {
                    if checked.insert(blob)
                        && let Err(error) = blobs.verify(&blob)
                    {
                        damaged(error.into());
                    }
                }
            }
            Err(failure) => damaged(failure),
        }
    }
    observer(Event::Ended);
    checked.len() as u64
}

/// Whether the index is the one that the ledger gives. With a damaged ledger it cannot be compared.
async fn check_index(
    project: &Project,
    head: Option<&Head>,
    findings: &[FsckFinding],
    observer: Observer<'_>,
) -> Option<FsckFinding> {
    let apart = |finding: &FsckFinding| matches!(finding.kind, "blob" | "signer" | "sequence");
    let head = head.filter(|_| findings.iter().all(apart))?;
    let about_index = |code, message: String| FsckFinding::new("index", None, &Failure::new(code, message));
    if let Some(trouble) = project.store.index_trouble() {
        let (code, advice) = match project.config.index {
            Some(_) => (Code::Database, ""),
            None => (Code::File, "; run `lineal ledger rebuild`"),
        };
        return Some(about_index(code, format!("the index was not checked: {trouble}{advice}")));
    }
    observer(Event::Began { what: "comparing the index".to_owned(), total: head.size });
    let advanced = |by| observer(Event::Advanced { by });
    let compared = project.store.index().difference(project.store.ledger(), head, &advanced).await;
    observer(Event::Ended);
    match compared {
        Ok(None) => None,
        Ok(Some(row)) => {
            let text =
                format!("the index is not the one that the ledger gives: {row}; run `lineal ledger rebuild`");
            Some(about_index(Code::Tampered, text))
        }
        Err(error) => {
            let failure = Failure::from(error);
            let text = format!("the index was not checked: {}; run `lineal ledger rebuild`", failure.message);
            Some(about_index(failure.code, text))
        }
    }
}

/// Finds what rests on the first findings.
fn explain(ledger: &Ledger, size: u64, findings: &mut [FsckFinding]) {
    let explained = findings.len().min(EXPLAINED_LIMIT);
    if explained == 0 {
        return;
    }
    let mut search = dependents::Search::new(findings[..explained].iter().map(|finding| finding.digest));
    let mut learned = true;
    while learned {
        learned = false;
        // What cannot be read rests on nothing that is known, and that it cannot was found.
        let read = for_each_statement(ledger, size, &mut |position, leaf, statement| {
            if let Ok(statement) = statement {
                learned |= search.visit(position, &leaf.data, &statement);
            }
        });
        if read.is_err() {
            break;
        }
    }
    for (finding, dependents) in findings.iter_mut().zip(search.finish()) {
        finding.dependents = dependents;
    }
}

type Visitor<'a> = dyn FnMut(u64, &Leaf, Result<Statement, Failure>) + 'a;

/// Calls `visit` with every entry whose statement is there.
fn for_each_statement(ledger: &Ledger, size: u64, visit: &mut Visitor<'_>) -> Result<(), LedgerError> {
    for from in (0..size).step_by(CHUNK as usize) {
        let to = (from + CHUNK).min(size);
        let leaves = ledger.leaves(from, to, size)?;
        ledger.for_each_statement(from, to, &mut |position, pae| {
            let leaf = &leaves[(position - from) as usize];
            if !pae.is_empty() {
                visit(position, leaf, statement_of(pae).map_err(Failure::from));
            }
            Ok(())
        })?;
    }
    Ok(())
}

impl FsckFinding {
    pub(crate) fn new(kind: &'static str, position: Option<u64>, failure: &Failure) -> Self {
        let (code, message) = (failure.code, failure.message.clone());
        Self { code, kind, position, message, dependents: Vec::new(), digest: None }
    }

    pub(crate) fn of_log(found: &ledger::Finding) -> Self {
        let code = match found.kind {
            FindingKind::StatementMissing | FindingKind::EntriesMissing | FindingKind::TileMissing => {
                Code::NotVerified
            }
            FindingKind::Checkpoint
            | FindingKind::Root
            | FindingKind::Entries
            | FindingKind::Tile
            | FindingKind::StatementDamaged
            | FindingKind::Signature
            | FindingKind::Journal => Code::Tampered,
        };
        let place = found.position.map_or_else(String::new, |position| format!(" position {position}"));
        let message = format!("ledger{place}: {}", found.message);
        Self::new(found.kind.name(), found.position, &Failure::new(code, message))
    }
}
