use lineal_facts::Digest;
use lineal_proof::tree;
use proptest::prelude::*;

use super::*;
use crate::disk::FileSystem;
use crate::disk::simulated::SimulatedDisk;

const LIMITS: JournalLimits = JournalLimits { bytes: 32 << 20, records: 3 };

fn record(before: JournalStart, n: u64) -> JournalRecord {
    let entries: Vec<Vec<u8>> = (0..=n % 3).map(|i| format!("entry {n} {i}").into_bytes()).collect();
    let statements = entries.iter().map(|entry| [entry.as_slice(), b" statement"].concat()).collect();
    JournalRecord { before, root: Digest::of(&n.to_be_bytes()), entries, statements }
}

/// Writes `count` records; yields them and the end.
fn write(journal: &Journal, count: u64) -> (Vec<JournalRecord>, JournalEnd) {
    let mut end = JournalEnd { segment: 0, offset: 0, records: 0 };
    let mut before = JournalStart { size: 0, root: tree::empty_root() };
    let mut records = Vec::new();
    for n in 0..count {
        let record = record(before, n);
        end = journal.append(end, &record, format!("note {n}").as_bytes()).unwrap();
        before = record.after();
        records.push(record);
    }
    (records, end)
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::new(&folder.path().join("journal"), Arc::new(FileSystem), LIMITS);
    assert!(journal.read().unwrap().records.is_empty());
    let (records, end) = write(&journal, 8);
    let content = journal.read().unwrap();
    assert_eq!((content.records, content.end), (records.clone(), end));
    assert_eq!(content.note, b"note 0");
    assert_eq!(end.segment, 3);
    assert!(journal.ends_at(end).unwrap());
    // Without the closed segments it begins later, under the note that was signed then.
    journal.remove_before(end.segment).unwrap();
    let content = journal.read().unwrap();
    assert_eq!(content.records, records[6..]);
    assert_eq!((content.start, content.note), (Some(records[5].after()), b"note 6".to_vec()));
}

#[test]
fn damage_before_a_good_record_is_never_skipped() {
    let disk = Arc::new(SimulatedDisk::default());
    let journal = Journal::new(Path::new("journal"), disk.clone(), LIMITS);
    write(&journal, 3);
    let path = Path::new("journal/0000000001");
    let length = disk.size(path).unwrap().unwrap() as usize;
    let (records, _) = (journal.read().unwrap().records, ());
    let mut kept = Vec::new();
    for offset in 0..length {
        disk.corrupt(path, offset);
        match journal.read() {
            Ok(content) => {
                // Only the last record may look like one that a crash tore.
                assert_eq!(content.records, records[..2], "byte {offset}");
                kept.push(offset);
            }
            Err(error) => assert!(matches!(error, JournalError::Damaged { .. }), "byte {offset}: {error}"),
        }
        disk.corrupt(path, offset);
    }
    assert_eq!(kept.len(), length - kept[0], "the last record only: from byte {}", kept[0]);
}

proptest! {
    #[test]
    fn a_torn_end_is_cut(cut in 0_usize..2000, garbage in prop::collection::vec(any::<u8>(), 0..100)) {
        let disk = Arc::new(SimulatedDisk::default());
        let journal = Journal::new(Path::new("journal"), disk.clone(), LIMITS);
        let (records, _) = write(&journal, 3);
        let path = Path::new("journal/0000000001");
        let bytes = disk.read(path, u64::MAX).unwrap().unwrap();
        let cut = cut % (bytes.len() + 1);
        disk.write(path, &[&bytes[..cut], &garbage].concat()).unwrap();
        let content = journal.read().unwrap();
        prop_assert!(records.starts_with(&content.records));
        journal.cut(content.end).unwrap();
        // Writing goes on behind what is left.
        let before = content.records.last().map_or(
            JournalStart { size: 0, root: tree::empty_root() },
            JournalRecord::after,
        );
        let next = record(before, 77);
        journal.append(content.end, &next, b"note").unwrap();
        let again = journal.read().unwrap().records;
        prop_assert_eq!(&again[..again.len() - 1], &content.records[..]);
        prop_assert_eq!(again.last(), Some(&next));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), keep in 0_usize..200) {
        let disk = Arc::new(SimulatedDisk::default());
        let journal = Journal::new(Path::new("journal"), disk.clone(), LIMITS);
        write(&journal, 1);
        let path = Path::new("journal/0000000001");
        let good = disk.read(path, u64::MAX).unwrap().unwrap();
        disk.write(path, &[&good[..keep.min(good.len())], &bytes].concat()).unwrap();
        let _ = journal.read();
    }
}
