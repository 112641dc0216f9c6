//! The bytes of segments.

use lineal_facts::Digest;
use lineal_facts::digest::Hasher;
use lineal_proof::Hash;

const HEADER_MAGIC: &[u8; 17] = b"lineal journal 1\n";
const RECORD_MAGIC: &[u8; 8] = b"LNLrecrd";
const HASH_BYTES: usize = 32;
/// Up to the note.
const HEADER_BYTES: usize = HEADER_MAGIC.len() + 8 + 8 + HASH_BYTES + 4;
const PREFIX_BYTES: usize = RECORD_MAGIC.len() + 4 + HASH_BYTES;

/// A ledger's size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalStart {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

/// A group of entries with their statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRecord {
    /// The ledger before it. On disk only the size; the root is that of the record before.
    pub before: JournalStart,
    /// Root of the tree after it.
    pub root: Hash,
    /// The bytes that enter the tree.
    pub entries: Vec<Vec<u8>>,
    /// The signed bytes that they are about, one for each.
    pub statements: Vec<Vec<u8>>,
}

/// A segment that has a header.
pub(super) struct Segment {
    pub(super) start: JournalStart,
    /// The signed checkpoint of `start`.
    pub(super) note: Vec<u8>,
    pub(super) records: Vec<JournalRecord>,
    /// Where the last record begins; 0 if it is the only one, so that the header goes with it.
    pub(super) last: u64,
    /// Where the last complete record ends.
    pub(super) end: u64,
}

impl JournalRecord {
    /// The ledger after it.
    pub fn after(&self) -> JournalStart {
        JournalStart { size: self.before.size + self.entries.len() as u64, root: self.root }
    }
}

pub(super) fn encode_header(number: u64, start: JournalStart, note: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEADER_MAGIC);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&start.size.to_be_bytes());
    out.extend_from_slice(start.root.as_bytes());
    out.extend_from_slice(&u32::try_from(note.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(note);
    let digest = Digest::of(out);
    out.extend_from_slice(digest.as_bytes());
}

/// Appends the record that stands at `offset` of segment `number`. Fails with its size if that is too much.
pub(super) fn encode_record(
    number: u64,
    offset: u64,
    record: &JournalRecord,
    out: &mut Vec<u8>,
) -> Result<(), usize> {
    let mut content = Vec::new();
    content.extend_from_slice(&record.before.size.to_be_bytes());
    content.extend_from_slice(record.root.as_bytes());
    let count = u32::try_from(record.entries.len()).map_err(|_| record.entries.len())?;
    content.extend_from_slice(&count.to_be_bytes());
    for entry in &record.entries {
        let length = u16::try_from(entry.len()).map_err(|_| entry.len())?;
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(entry);
    }
    for statement in &record.statements {
        let length = u32::try_from(statement.len()).map_err(|_| statement.len())?;
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(statement);
    }
    let length = u32::try_from(content.len()).map_err(|_| content.len())?;
    out.extend_from_slice(RECORD_MAGIC);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(check(number, offset, &content).as_bytes());
    out.extend_from_slice(&content);
    Ok(())
}

/// Reads a segment; `None` without a complete header. Fails with the offset of what is damaged.
pub(super) fn decode_segment(number: u64, bytes: &[u8]) -> Result<Option<Segment>, u64> {
    let mut segment = decode_header(number, bytes);
    let mut offset = segment.as_ref().map_or(0, |segment| segment.end as usize);
    while let Some(segment) = &mut segment {
        let before = segment.records.last().map_or(segment.start, JournalRecord::after);
        match decode_record(number, offset, bytes, before.root) {
            Some((record, end)) if record.before == before => {
                segment.last = if segment.records.is_empty() { 0 } else { offset as u64 };
                segment.records.push(record);
                offset = end;
                segment.end = end as u64;
            }
            Some(_) => return Err(offset as u64),
            None => break,
        }
    }
    // What follows was torn by a crash, unless a complete record comes after it.
    let damaged = (offset + 1..bytes.len()).any(|later| {
        bytes[later..].starts_with(RECORD_MAGIC)
            && decode_record(number, later, bytes, Digest::of(b"")).is_some()
    });
    if damaged { Err(offset as u64) } else { Ok(segment) }
}

fn decode_header(number: u64, bytes: &[u8]) -> Option<Segment> {
    let mut reader = Reader(bytes.get(..HEADER_BYTES)?.strip_prefix(HEADER_MAGIC)?);
    (reader.u64()? == number).then_some(())?;
    let start = JournalStart { size: reader.u64()?, root: reader.hash()? };
    let end_of_note = HEADER_BYTES.checked_add(reader.u32()? as usize)?;
    let note = bytes.get(HEADER_BYTES..end_of_note)?.to_vec();
    let digest = bytes.get(end_of_note..end_of_note + HASH_BYTES)?;
    (Digest::of(&bytes[..end_of_note]).as_bytes() == digest).then_some(())?;
    Some(Segment { start, note, records: Vec::new(), last: 0, end: (end_of_note + HASH_BYTES) as u64 })
}

/// The record at `offset` and where it ends.
fn decode_record(
    number: u64,
    offset: usize,
    bytes: &[u8],
    root_before: Hash,
) -> Option<(JournalRecord, usize)> {
    let mut prefix = Reader(bytes.get(offset..)?.strip_prefix(RECORD_MAGIC)?);
    let length = prefix.u32()? as usize;
    let expected = prefix.hash()?;
    let content = prefix.0.get(..length)?;
    if check(number, offset as u64, content) != expected {
        return None;
    }
    let mut reader = Reader(content);
    let before = JournalStart { size: reader.u64()?, root: root_before };
    let root = reader.hash()?;
    let count = reader.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let length = reader.u16()?;
        entries.push(reader.take(length.into())?.to_vec());
    }
    let mut statements = Vec::new();
    for _ in 0..count {
        let length = reader.u32()?;
        statements.push(reader.take(length as usize)?.to_vec());
    }
    let record = JournalRecord { before, root, entries, statements };
    reader.0.is_empty().then_some((record, offset + PREFIX_BYTES + length))
}

fn check(number: u64, offset: u64, content: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(&number.to_be_bytes());
    hasher.update(&offset.to_be_bytes());
    hasher.update(content);
    hasher.finish()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash::from_bytes)
    }
}
