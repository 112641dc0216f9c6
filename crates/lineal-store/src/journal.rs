//! The write-ahead journal of the ledger: what was decided to be appended, before any tile is written.
//!
//! * **Commit point**: a statement is in the ledger when its record is synced here. One sync a group; tiles, entries,
//!   statements and the checkpoint follow from the record and are written after it, unsynced.
//! * A record is complete or does not exist: its digest covers segment, offset and content. An incomplete one at the
//!   end was never acknowledged and is cut off; one *before* a complete one is damage, and is never skipped.
//! * When a segment is full, the next begins. The old one is removed once everything that follows from it is durable.
//! * In a [bucket](crate::bucket) a segment is one record, and an append is the creation of the next segment, which only
//!   one of several machines can do. Nothing is torn there, nothing is cut off, and what cannot be read is damage.
//!
//! ```text
//! journal/0000000001     segment: header, then records
//! header  "lineal journal 1\n" ‖ number u64 ‖ size u64 ‖ root 32 ‖ length u32 ‖ checkpoint note ‖ SHA-256 of these
//! record  "LNLrecrd" ‖ length u32 ‖ SHA-256(number u64 ‖ offset u64 ‖ content) ‖ content
//! content size before u64 ‖ root after 32 ‖ count u32 ‖ count × (length u16 ‖ entry) ‖ count × (length u32 ‖ statement)
//! ```
//! Numbers are big-endian.

mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use lineal_blob::files::FileError;

use record::Segment;
pub use record::{JournalRecord, JournalStart};

/// A segment that is larger than one record can make it was not written by this build.
const READ_LIMIT_BYTES: u64 = 1 << 30;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Something before the end is not as it was written: acknowledged statements may be gone.
    #[error("journal `{}` is damaged at byte {offset}, and good records follow; docs/formats.md says what to do", path.display())]
    Damaged {
        /// Which segment.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// Another machine appended since this one read the ledger. Nothing was written.
    #[error("another machine appended to the ledger at the same time")]
    Overtaken,
    /// More than a record may hold.
    #[error("a group of {0} bytes is more than a journal record may hold")]
    Size(usize),
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Closed segments in a bucket that wait until they are removed together.
const CLOSED_IN_BUCKET: u64 = 64;

/// When a segment is closed. It bounds the work of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// It is larger than this.
    pub bytes: u64,
    /// It has as many records.
    pub records: u64,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self { bytes: 32 << 20, records: 1024 }
    }
}

/// The folder of segments. Whoever writes holds the store's lock.
#[derive(Debug, Clone)]
pub struct Journal {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    limits: JournalLimits,
}

/// Where the next record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEnd {
    /// Number of the segment; 0 when there is none.
    pub segment: u64,
    /// Its size in bytes.
    pub offset: u64,
    /// Its records.
    pub records: u64,
}

/// Everything that the journal holds.
#[derive(Debug, Clone)]
pub struct JournalContent {
    /// The ledger before the first record; `None` when there is no segment.
    pub start: Option<JournalStart>,
    /// The signed checkpoint of `start`; empty for an empty ledger.
    pub note: Vec<u8>,
    /// In order.
    pub records: Vec<JournalRecord>,
    /// Where the last record begins in its segment.
    pub last: u64,
    /// Where to go on.
    pub end: JournalEnd,
}

impl Journal {
    /// The journal below `root`.
    pub fn new(root: &Path, disk: Arc<dyn Disk>, limits: JournalLimits) -> Self {
        Self { root: root.to_owned(), disk, limits }
    }

    /// Reads every complete record.
    pub fn read(&self) -> Result<JournalContent, JournalError> {
        self.read_back_to(None)
    }

    /// Reads what matters when `size` entries are published. In a bucket these are only the segments from the one on
    /// that led to that size: each takes a request, and most commands append once.
    pub fn read_back_to(&self, size: Option<u64>) -> Result<JournalContent, JournalError> {
        let end = JournalEnd { segment: 0, offset: 0, records: 0 };
        let mut content = JournalContent { start: None, note: Vec::new(), records: Vec::new(), last: 0, end };
        for (number, segment) in self.read_segments(size)? {
            let before = content.records.last().map(JournalRecord::after).or(content.start);
            if before != Some(segment.start) {
                // The first one, or those between were removed: their files are durable, so this is the start.
                content.start = Some(segment.start);
                content.note = segment.note;
                content.records.clear();
            }
            let records = segment.records.len() as u64;
            content.end = JournalEnd { segment: number, offset: segment.end, records };
            content.last = segment.last;
            content.records.extend(segment.records);
        }
        Ok(content)
    }

    fn read_segments(&self, size: Option<u64>) -> Result<Vec<(u64, Segment)>, JournalError> {
        let shared = self.disk.bucket().is_some();
        let mut found = Vec::new();
        for (place, number) in self.segments()?.into_iter().rev().enumerate() {
            let path = self.path(number);
            let bytes = self.disk.read(&path, READ_LIMIT_BYTES)?.unwrap_or_default();
            let segment = record::decode_segment(number, &bytes)
                .map_err(|offset| JournalError::Damaged { path: path.clone(), offset })?;
            let Some(segment) = segment.filter(|segment| !segment.records.is_empty()) else {
                // A crash while the last segment began: nothing in it was acknowledged, and it is begun again.
                if place == 0 && !shared {
                    continue;
                }
                return Err(JournalError::Damaged { path, offset: 0 });
            };
            let is_enough = shared && size.is_some_and(|size| segment.start.size < size);
            found.push((number, segment));
            if is_enough {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Appends a record and makes it durable. Returns where the next one goes. `note` is the signed checkpoint of the
    /// ledger before it.
    ///
    /// On error nothing is known: the record may be there or not. [`Journal::read`] tells. Only [`JournalError::Overtaken`]
    /// says that it is not there.
    pub fn append(
        &self,
        end: JournalEnd,
        record: &JournalRecord,
        note: &[u8],
    ) -> Result<JournalEnd, JournalError> {
        let shared = self.disk.bucket();
        let full = shared.is_some() || end.offset > self.limits.bytes || end.records >= self.limits.records;
        let begins = end.segment == 0 || full;
        let (segment, offset) = if begins { (end.segment + 1, 0) } else { (end.segment, end.offset) };
        let mut bytes = Vec::new();
        if begins {
            record::encode_header(segment, record.before, note, &mut bytes);
        }
        record::encode_record(segment, offset + bytes.len() as u64, record, &mut bytes)
            .map_err(JournalError::Size)?;
        match shared {
            Some(bucket) => {
                if !bucket.create(&self.path(segment), &bytes)? {
                    return Err(JournalError::Overtaken);
                }
            }
            None => {
                if begins {
                    self.disk.create_directory(&self.root)?;
                }
                self.write(segment, offset, &bytes)?;
            }
        }
        let records = if begins { 1 } else { end.records + 1 };
        Ok(JournalEnd { segment, offset: offset + bytes.len() as u64, records })
    }

    /// Removes what a crash tore behind the last complete record.
    pub fn cut(&self, end: JournalEnd) -> Result<(), JournalError> {
        if self.disk.bucket().is_some() {
            return Ok(());
        }
        for number in self.segments()?.into_iter().filter(|number| *number > end.segment) {
            self.disk.remove(&self.path(number))?;
        }
        if end.segment > 0 && self.disk.size(&self.path(end.segment))? != Some(end.offset) {
            self.disk.write_tail(&self.path(end.segment), end.offset, &[])?;
        }
        Ok(())
    }

    /// Makes the last record durable that was read. After a kill it may be in the machine's memory only, and after an
    /// error of a sync the machine takes it for written, so it is written again.
    pub fn secure(&self, content: &JournalContent) -> Result<(), JournalError> {
        let end = content.end;
        if content.records.is_empty() || self.disk.bucket().is_some() {
            return Ok(());
        }
        let bytes = self.disk.read(&self.path(end.segment), READ_LIMIT_BYTES)?.unwrap_or_default();
        let last = bytes.get(content.last as usize..end.offset as usize).unwrap_or_default();
        self.write(end.segment, content.last, last)
    }

    fn write(&self, segment: u64, offset: u64, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.path(segment);
        self.disk.write_tail(&path, offset, bytes)?;
        self.disk.sync(&path)?;
        if offset == 0 {
            self.disk.sync_directory(&self.root)?;
            self.disk.sync_directory(lineal_blob::files::parent(&self.root))?;
        }
        Ok(())
    }

    /// Whether nobody wrote since `end`.
    pub fn ends_at(&self, end: JournalEnd) -> Result<bool, JournalError> {
        if self.segments()?.last().copied().unwrap_or(0) != end.segment {
            return Ok(false);
        }
        if self.disk.bucket().is_some() {
            return Ok(true);
        }
        Ok(end.segment == 0 || self.disk.size(&self.path(end.segment))? == Some(end.offset))
    }

    /// Removes the segment of `end`, in which nothing counts.
    pub(crate) fn withdraw(&self, end: JournalEnd) -> Result<(), JournalError> {
        Ok(self.disk.remove(&self.path(end.segment))?)
    }

    /// Whether segments before the one of `end` wait to be removed; in a bucket, enough of them.
    pub fn has_closed(&self, end: JournalEnd) -> Result<bool, JournalError> {
        let kept = if self.disk.bucket().is_some() { CLOSED_IN_BUCKET } else { 0 };
        Ok(self.segments()?.first().is_some_and(|first| *first + kept < end.segment))
    }

    /// Removes the segments before `segment`. Everything that follows from them must be durable.
    pub fn remove_before(&self, segment: u64) -> Result<(), JournalError> {
        for number in self.segments()?.into_iter().filter(|number| *number < segment) {
            self.disk.remove(&self.path(number))?;
        }
        Ok(())
    }

    fn segments(&self) -> Result<Vec<u64>, JournalError> {
        let mut numbers: Vec<u64> =
            self.disk.list(&self.root)?.iter().filter_map(|n| n.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.root.join(format!("{segment:010}"))
    }
}

#[cfg(test)]
mod tests;
