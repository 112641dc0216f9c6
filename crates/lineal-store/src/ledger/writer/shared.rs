//! Appending to a log in a bucket, where several machines may do so at the same time.
//!
//! **Commit point.** A segment of the journal is one record. Whoever appends creates segment *n* + 1, where *n* is the
//! newest one that it knows; the server lets one of several do that. Its header says which ledger it continues. So the
//! segments are one chain, and who comes second gets [`JournalError::Overtaken`], loads the new end and starts again
//! from its statement's admission on: its entries are not in.
//!
//! **Nothing goes backwards.** The checkpoint is exchanged for a larger one only, against the very bytes that were read.
//! A pack of statements only grows (see `write_tail` of the bucket). Tiles, bundles and packs follow from the journal
//! alone, so machines that write the same one write the same bytes, and a machine that finds a record of another one
//! that is not published helps: it writes what follows and publishes.
//!
//! **Old segments.** They are removed when they are published; never the newest. Then a machine that slept since before
//! may create an old number again and must not take that for an append. Such a segment is void:
//!
//! 1. *Its writer finds out*, in [`State::confirm`], before it writes anything else or acknowledges. A number that was
//!    there once was published before it was removed. So after the creation the checkpoint, which never goes backwards,
//!    has more entries than the record continues. If it has not, the number was never there and the record counts. If
//!    it has, the record may count nevertheless, because another machine helped; then the published tree has it, and
//!    its root at the record's end says so.
//! 2. *Nobody else takes it for a record.* It is older than the newest segment, which is always there, and its own
//!    number is followed by a gap, or by a segment that does not continue it. The loader drops what comes before such a
//!    place, and starts at the segment behind it, whose header has a signed checkpoint.
//!
//! **What is not known.** If a request fails and its effect is not there, it may still arrive. For the creation of a
//! segment that is the error "not known" that a disk gives too; if it arrives, it is either the next record, and will be
//! published, or void, or refused because the number is taken.

use std::io;
use std::path::PathBuf;

use lineal_proof::tree;

use super::{State, differs};
use crate::bucket::Bucket;
use crate::disk::{self, Disk as _, FileSystem};
use crate::journal::{JournalError, JournalRecord, JournalStart};
use crate::ledger::{Ledger, LedgerError};
use lineal_blob::files::FileError;

/// Largest file with what this machine saw.
const SEEN_LIMIT_BYTES: u64 = 256;

/// Rounds of looking again because the log grew meanwhile.
const ROUNDS_LIMIT: usize = 8;

impl State {
    /// Makes sure that the record just created counts.
    pub(super) fn confirm(&mut self, ledger: &Ledger, record: &JournalRecord) -> Result<(), LedgerError> {
        let published = ledger.head()?;
        let size = published.as_ref().map_or(0, |head| head.size);
        if size <= record.before.size {
            self.note = published.map(|head| head.note).unwrap_or_default();
            return Ok(());
        }
        let after = record.after();
        if size >= after.size && ledger.root_at(after.size, size)? == after.root {
            return Ok(());
        }
        ledger.journal.withdraw(self.end)?;
        Err(JournalError::Overtaken.into())
    }

    /// Publishes `note`, the checkpoint of this state, unless somebody published it or a later one.
    pub(super) fn exchange_checkpoint(
        &mut self,
        ledger: &Ledger,
        bucket: &Bucket,
        note: &[u8],
    ) -> Result<(), LedgerError> {
        let (size, root) = (self.edge.size(), self.edge.root());
        for _ in 0..ROUNDS_LIMIT {
            if bucket.exchange(&ledger.layout.checkpoint(), &self.note, note)? {
                self.note = note.to_vec();
                return Ok(());
            }
            // A checkpoint that vanished, or a smaller one: the exchange says which of them is replaced.
            let found = ledger.head()?;
            if let Some(head) = found.as_ref().filter(|head| head.size >= size) {
                if ledger.root_at(size, head.size)? != root {
                    return Err(differs(size));
                }
                self.note.clone_from(&head.note);
                return Ok(());
            }
            self.note = found.map(|head| head.note).unwrap_or_default();
        }
        let (path, source) = (ledger.layout.checkpoint(), io::ErrorKind::ResourceBusy.into());
        Err(FileError { operation: "replace", path, source }.into())
    }
}

/// Whether the checkpoint is behind the journal. Fails if the log does not continue what this machine saw of it.
pub(super) fn is_behind(ledger: &Ledger) -> Result<bool, LedgerError> {
    let published = ledger.head()?;
    let empty = JournalStart { size: 0, root: tree::empty_root() };
    let published = published.map_or(empty, |head| JournalStart { size: head.size, root: head.root });
    ledger.compare_with_seen(published)?;
    let content = ledger.journal.read_back_to(Some(published.size))?;
    let Some(last) = content.records.last().map(JournalRecord::after) else { return Ok(false) };
    if last.size < published.size {
        return Err(LedgerError::Contradiction(format!(
            "the checkpoint says {} entries, the journal ends at {}: one of them is of another time",
            published.size, last.size
        )));
    }
    if last.size == published.size && last.root != published.root {
        return Err(differs(last.size));
    }
    Ok(last.size > published.size)
}

/// What this machine saw last is in a file of its own, because whoever has the bucket can put back an old version of
/// it, or show one machine another log than the next.
impl Ledger {
    /// Remembers a published size and root.
    pub(super) fn remember(&self, published: JournalStart) -> Result<(), LedgerError> {
        let text = format!("{} {}\n", published.size, published.root);
        Ok(disk::replace(&FileSystem, &self.seen_path(), text.as_bytes())?)
    }

    fn compare_with_seen(&self, published: JournalStart) -> Result<(), LedgerError> {
        let Some(seen) = self.seen()? else { return self.remember(published) };
        if seen == published || seen.size == 0 {
            return Ok(());
        }
        if seen.size > published.size {
            return Err(LedgerError::Contradiction(format!(
                "`{}` has {} entries, and this machine saw {} there: an older version was put back",
                self.layout.checkpoint().display(),
                published.size,
                seen.size
            )));
        }
        if self.root_at(seen.size, published.size)? != seen.root {
            return Err(LedgerError::Contradiction(format!(
                "`{}` does not continue the log of {} entries that this machine saw there",
                self.layout.checkpoint().display(),
                seen.size
            )));
        }
        self.remember(published)
    }

    /// What is torn or unreadable is as if it were not there.
    fn seen(&self) -> Result<Option<JournalStart>, LedgerError> {
        let text = FileSystem.read(&self.seen_path(), SEEN_LIMIT_BYTES)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let parse = || {
            let (size, root) = text.strip_suffix('\n')?.split_once(' ')?;
            Some(JournalStart { size: size.parse().ok()?, root: root.parse().ok()? })
        };
        Ok(parse())
    }

    fn seen_path(&self) -> PathBuf {
        self.local.join("seen")
    }
}

/// What `look` finds; again, if it fails while the log grows: others remove and replace what it reads.
pub(super) fn settled<T>(
    ledger: &Ledger,
    look: &dyn Fn() -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    let mut before = None;
    for _ in 0..ROUNDS_LIMIT {
        let error = match look() {
            Err(error) => error,
            found => return found,
        };
        let now = Some(ledger.head()?.map_or(0, |head| head.size));
        if now == before {
            return Err(error);
        }
        before = now;
    }
    look()
}

#[cfg(test)]
mod tests;
