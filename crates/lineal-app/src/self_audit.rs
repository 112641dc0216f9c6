//! The ledger checked while it is used, a little at a time, so that damage is found before somebody needs what is
//! damaged.
//!
//! * The checkpoint must contain the one that was seen before. What is new is looked at within seconds, one older
//!   bundle every ten: entries, tiles, statements, signatures. A million entries take eleven hours.
//! * A step's work does not grow with the log. Blobs, keys and the index are left to [`fsck`](crate::fsck).
//! * A finding stops nothing: rollouts must go on being aborted. It is told, and reported until the process ends.

use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

use lineal_proof::tile::TILE_WIDTH;
use lineal_proof::{KeyChain, tree};
use lineal_store::ledger::Head;
use lineal_store::{Ledger, LedgerError};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::failure::{Code, Failure, chain as error_chain};
use crate::fsck::{FsckFinding, check_keys};
use crate::project::Project;

/// Most bundles that one step looks at: what is new comes in bursts.
const BUNDLE_LIMIT: u64 = 8;
/// Most findings that are kept.
const FINDING_LIMIT: usize = 100;
/// How often the audit looks whether something is new.
const LOOK: Duration = Duration::from_secs(1);
/// Looks to one at an older bundle.
const LOOKS_PER_BUNDLE: u64 = 10;
const WIDTH: u64 = TILE_WIDTH as u64;

/// The audit of one ledger.
#[derive(Debug)]
pub struct SelfAudit {
    ledger: Ledger,
    seen: Option<Head>,
    /// Entries before this were looked at when they were new.
    next: u64,
    /// The key statements among them; `None` once a statement could not be read.
    keys: Option<KeyChain>,
    /// The older bundle that is looked at next.
    again: u64,
    report: AuditReport,
}

/// How far the audit is, and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// Entries of the ledger, as last seen.
    pub size: u64,
    /// How often the whole ledger was looked at since the start.
    pub rounds: u64,
    /// What is wrong; at most 100.
    pub findings: Vec<FsckFinding>,
}

impl SelfAudit {
    /// Begins; nothing was looked at yet.
    pub fn new(ledger: Ledger) -> Self {
        let keys = Some(KeyChain::default());
        Self { ledger, seen: None, next: 0, keys, again: 0, report: AuditReport::default() }
    }

    /// How far it is.
    pub const fn report(&self) -> &AuditReport {
        &self.report
    }

    /// Looks at what is new and, if told to, at the next older bundle. Yields what was found for the first time. Reads
    /// from disk and computes: call it where that may block.
    pub fn step(&mut self, older_too: bool) -> Vec<FsckFinding> {
        let known = self.report.findings.len();
        match self.ledger.head() {
            Ok(None) => {}
            Ok(Some(head)) => self.look(head, older_too),
            Err(error) => self.found(FsckFinding::new("checkpoint", None, &Failure::from(error))),
        }
        self.report.findings[known..].to_vec()
    }

    fn look(&mut self, head: Head, older_too: bool) {
        self.report.size = head.size;
        if let Some(seen) = &self.seen
            && let Some(message) = contradiction(&self.ledger, seen, &head)
        {
            self.found(FsckFinding::new("root", None, &Failure::new(Code::Tampered, message)));
            return;
        }
        let bundles = head.size.div_ceil(WIDTH);
        let fresh = self.next / WIDTH..bundles.min(self.next / WIDTH + BUNDLE_LIMIT);
        if self.next < head.size {
            let from = std::mem::replace(&mut self.next, (fresh.end * WIDTH).min(head.size));
            self.keys(from, &head);
        }
        for index in fresh {
            self.bundle(index, &head);
        }
        if older_too {
            if self.again >= bundles {
                self.again = 0;
                self.report.rounds += 1;
            }
            self.bundle(self.again, &head);
            self.again += 1;
        }
        self.seen = Some(head);
    }

    /// Goes on counting the key statements, from entry `from` on. At the end, the checkpoint must say the same.
    fn keys(&mut self, from: u64, head: &Head) {
        // What cannot be read is found by itself, when its bundle is looked at.
        self.keys = self.keys.and_then(|keys| counted(&self.ledger, keys, from..self.next, head.size).ok());
        let Some(keys) = self.keys.filter(|_| self.next == head.size) else { return };
        if let Some(failure) = check_keys(head, &keys, true) {
            self.found(FsckFinding::new("keys", None, &failure));
        }
    }

    fn bundle(&mut self, index: u64, head: &Head) {
        let entries: Range<u64> = index * WIDTH..((index + 1) * WIDTH).min(head.size);
        let mut found = self.ledger.check_bundle(index, head);
        found.extend(self.ledger.check_statements(entries, head.size, &|_| ()));
        for finding in &found {
            self.found(FsckFinding::of_log(finding));
        }
    }

    fn found(&mut self, finding: FsckFinding) {
        if self.report.findings.len() < FINDING_LIMIT && !self.report.findings.contains(&finding) {
            self.report.findings.push(finding);
        }
    }
}

/// Audits the project's ledger for as long as it is waited for. `tell` hears each finding once, `reports` has them all.
pub async fn keep_audited(
    project: &Project,
    reports: watch::Sender<AuditReport>,
    tell: impl Fn(&str),
) -> Infallible {
    let mut ticker = tokio::time::interval(LOOK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut audit = SelfAudit::new(project.store.ledger().clone());
    for look in 1_u64.. {
        ticker.tick().await;
        let older_too = look.is_multiple_of(LOOKS_PER_BUNDLE);
        let stepped = tokio::task::spawn_blocking(move || {
            let findings = audit.step(older_too);
            (audit, findings)
        });
        let findings;
        (audit, findings) = match stepped.await {
            Ok(stepped) => stepped,
            // It panicked: a bug, which must not take the control plane with it.
            Err(_) => (SelfAudit::new(project.store.ledger().clone()), Vec::new()),
        };
        for finding in findings {
            tell(&format!("self-audit: {}; see `lineal ledger fsck`", finding.message));
        }
        reports.send_if_modified(|known| {
            let changed = known != audit.report();
            known.clone_from(audit.report());
            changed
        });
    }
    std::future::pending().await
}

/// `keys` with the key statements of `range` in the log of `size` entries. Fails if one statement is not there.
fn counted(
    ledger: &Ledger,
    mut keys: KeyChain,
    range: Range<u64>,
    size: u64,
) -> Result<KeyChain, LedgerError> {
    let leaves = ledger.leaves(range.start, range.end, size)?;
    ledger.for_each_statement(range.start, range.end, &mut |position, pae| {
        let leaf = &leaves[(position - range.start) as usize];
        ledger.check_statement(position, &leaf.data, pae)?;
        keys.push_if_key(position, &leaf.to_bytes(), pae);
        Ok(())
    })?;
    Ok(keys)
}

/// Why `now` does not contain `before`.
fn contradiction(ledger: &Ledger, before: &Head, now: &Head) -> Option<String> {
    if now.size < before.size {
        let (now, before) = (now.size, before.size);
        return Some(format!("the ledger had {before} entries and now has {now}: an older one was put back"));
    }
    let proof = match ledger.consistency_proof(before.size, now.size) {
        Ok(proof) => proof,
        // A damaged tile is found by itself, when its bundle is looked at.
        Err(error) => return Some(error_chain(&error)),
    };
    let held = tree::verify_consistency(before.size, &before.root, now.size, &now.root, &proof);
    let error = held.err()?;
    Some(format!("the ledger of {} entries does not contain that of {}: {error}", now.size, before.size))
}

#[cfg(test)]
mod tests;
