//! Checking the log: everything that follows from the entries is made again and compared.
//!
//! Where two files contradict each other, the one that does not agree with the signed root is the one named; what
//! is undamaged is still used, so that one damaged file does not hide the next.
//!
//! A bundle of entries, its tile and its pack of statements are one piece of work, for any core (`part`). The pieces
//! are put together in order: the tree above them (`derivation`), and whatever a caller follows from one entry to the
//! next.

mod derivation;
mod part;

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use lineal_facts::error::chain;
use lineal_facts::{Statement, StatementError};
use lineal_proof::{EntryBundleId, Leaf};

use self::derivation::Derivation;
use self::part::Part;
use super::layout::{WIDTH, bundle_width};
use super::{Head, Ledger, LedgerError};
use crate::parallel;

/// Most findings that are kept; a log with more is beyond telling them apart.
pub const FINDING_LIMIT: usize = 10_000;

/// What kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// The checkpoint cannot be read, or not with the log's keys.
    Checkpoint,
    /// Entries and checkpoint do not belong together.
    Root,
    /// An entry bundle is unreadable or changed.
    Entries,
    /// An entry bundle is not there.
    EntriesMissing,
    /// A tile is unreadable or changed.
    Tile,
    /// A tile is not there.
    TileMissing,
    /// A statement is missing: lost or erased.
    StatementMissing,
    /// A statement is not the one that was signed.
    StatementDamaged,
    /// A signature does not hold.
    Signature,
    /// The journal is damaged.
    Journal,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// The first entry that it is about; `None` if it is about the log.
    pub position: Option<u64>,
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// What a check of the log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCheck {
    /// The checkpoint that was checked; `None` for an empty log and for one whose checkpoint is unreadable.
    pub head: Option<Head>,
    /// In the order of positions; those about the whole log first.
    pub findings: Vec<Finding>,
}

/// What a check of log and statements found.
#[derive(Debug)]
pub struct WholeCheck {
    /// What [`Ledger::check`] finds, then what [`Ledger::check_statements`] finds.
    pub findings: Vec<Finding>,
    /// Why entries from some bundle on were not visited: it could not be read.
    pub unvisited: Option<LedgerError>,
}

/// An entry about which nothing was found, and whose statement is there.
#[derive(Debug)]
pub struct CheckedEntry {
    /// Its place.
    pub position: u64,
    /// What it says.
    pub leaf: Leaf,
    /// What it is about. Its bytes and signature hold; who may sign that, the keyring says.
    pub statement: Result<Statement, StatementError>,
}

impl Finding {
    /// Whether an entry or its statement is damaged. A tile is made from the entries.
    pub fn is_about_an_entry(&self) -> bool {
        self.position.is_some() && !matches!(self.kind, FindingKind::Tile | FindingKind::TileMissing)
    }
}

impl FindingKind {
    /// The word for it in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Root => "root",
            Self::Entries => "entries",
            Self::EntriesMissing => "entries-missing",
            Self::Tile => "tile",
            Self::TileMissing => "tile-missing",
            Self::StatementMissing => "statement-missing",
            Self::StatementDamaged => "statement-damaged",
            Self::Signature => "signature",
            Self::Journal => "journal",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Ledger {
    /// Makes every tile and the root again from the entries and compares them with files and checkpoint, on all cores.
    /// `progress` hears how many entries are done.
    pub fn check(&self, progress: &dyn Fn(u64)) -> LogCheck {
        let head = self.head();
        // After the checkpoint: the journal is never behind it.
        let mut findings: Vec<Finding> =
            self.check_journal(head.as_ref().ok().and_then(Option::as_ref)).into_iter().collect();
        let head = match head {
            Ok(Some(head)) => head,
            Ok(None) => return LogCheck { head: None, findings },
            Err(error) => {
                findings.push(self.about_checkpoint(FindingKind::Checkpoint, chain(&error)));
                return LogCheck { head: None, findings };
            }
        };
        let mut derivation = Derivation::new(self, &head, findings);
        let bundles = 0..head.size.div_ceil(WIDTH);
        let work = |index| part::derived(self, index, &head);
        parallel::in_order(bundles, &work, &mut |index, (hashes, found)| {
            derivation.bundle(index, &hashes, found);
            progress((index * WIDTH + WIDTH).min(head.size));
            if derivation.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let findings = derivation.finish();
        LogCheck { head: Some(head), findings }
    }

    /// [`Ledger::check`] and [`Ledger::check_statements`] of the log at `head` in one: every file is read once.
    ///
    /// `visit` gets the entries that are sound, in order, until one cannot be read: what a caller follows from one entry
    /// to the next may depend on it. `progress` hears how many more are done.
    pub fn check_whole(
        &self,
        head: Option<&Head>,
        progress: &dyn Fn(u64),
        visit: &mut dyn FnMut(CheckedEntry),
    ) -> WholeCheck {
        let findings = self.check_journal(head).into_iter().collect();
        let Some(head) = head else { return WholeCheck { findings, unvisited: None } };
        let mut derivation = Derivation::new(self, head, findings);
        let (mut statements, mut unvisited) = (Vec::new(), None);
        let work = |index| Part::read(self, index, head);
        parallel::in_order(0..head.size.div_ceil(WIDTH), &work, &mut |index, part| {
            if !derivation.is_full() {
                derivation.bundle(index, &part.hashes, part.log);
            }
            let room = FINDING_LIMIT - statements.len();
            statements.extend(part.statements.into_iter().take(room));
            match part.entries {
                Ok(entries) if unvisited.is_none() => entries.into_iter().for_each(&mut *visit),
                Err(error) if unvisited.is_none() => unvisited = Some(error),
                Ok(_) | Err(_) => {}
            }
            progress((head.size - index * WIDTH).min(WIDTH));
            ControlFlow::Continue(())
        });
        let mut findings = derivation.finish();
        findings.extend(statements);
        WholeCheck { findings, unvisited }
    }

    /// Checks that the entries of one bundle are those of the tree with the root of `head`, by themselves: the work
    /// does not grow with the log. For a check that goes on while the log is used.
    pub fn check_bundle(&self, index: u64, head: &Head) -> Vec<Finding> {
        // Only what was published at this size: a level above the edge is not derived here.
        let (hashes, mut findings) = part::derived(self, index, head);
        if findings.is_empty() && !derivation::agrees(self, head, index, &hashes) {
            let id = EntryBundleId { index, width: bundle_width(index, head.size) };
            let message = format!(
                "the entries from {} on are not in the tree with the root {}",
                index * WIDTH,
                head.root
            );
            let (kind, position) = (FindingKind::Entries, Some(index * WIDTH));
            findings.push(Finding { kind, position, path: self.layout.bundle(id), message });
        }
        findings
    }

    /// Checks the bytes and signatures of the statements of `range` in a log of `size` entries, on all cores. What a
    /// signer may say is not looked at: the keyring knows. `progress` hears how many more are done.
    pub fn check_statements(
        &self,
        range: Range<u64>,
        size: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Vec<Finding> {
        let end = range.end.min(size);
        if range.start >= end {
            return Vec::new();
        }
        let entries = |index: u64| (index * WIDTH).max(range.start)..((index + 1) * WIDTH).min(end);
        let work = |index| part::statements(self, entries(index), size);
        let mut findings = Vec::new();
        parallel::in_order(range.start / WIDTH..end.div_ceil(WIDTH), &work, &mut |index, found| {
            findings.extend(found);
            progress(entries(index).count() as u64);
            if findings.len() < FINDING_LIMIT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        findings.truncate(FINDING_LIMIT);
        findings
    }

    fn check_journal(&self, head: Option<&Head>) -> Option<Finding> {
        let published = head.map_or(0, |head| head.size);
        let message = match self.journal.read_back_to(Some(published)) {
            Ok(content) => {
                let end = content.records.last().map(|record| record.after().size)?;
                (end < published).then(|| {
                    format!(
                        "the journal ends at {end} entries, {published} are published: its end is damaged"
                    )
                })?
            }
            Err(error) => chain(&error),
        };
        Some(Finding {
            kind: FindingKind::Journal,
            position: None,
            path: self.layout.journal.clone(),
            message,
        })
    }

    fn about_checkpoint(&self, kind: FindingKind, message: String) -> Finding {
        Finding { kind, position: None, path: self.layout.checkpoint(), message }
    }
}

/// What is not there was taken away; that something was changed is another thing to say.
const fn of_entries(error: &LedgerError) -> FindingKind {
    match error {
        LedgerError::Missing(_) => FindingKind::EntriesMissing,
        _ => FindingKind::Entries,
    }
}

const fn of_tile(error: &LedgerError) -> FindingKind {
    match error {
        LedgerError::Missing(_) => FindingKind::TileMissing,
        _ => FindingKind::Tile,
    }
}

#[cfg(test)]
mod tests;
