use std::fs;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lineal_facts::predicate::{KeyRecord, KeyRole, KeyState};
use lineal_facts::statement::{PAYLOAD_TYPE, Subject};
use lineal_facts::{Predicate, Statement, Timestamp};
use lineal_proof::tree::verify_consistency;
use lineal_proof::{LogSigner, PublicKey, envelope};
use proptest::prelude::*;

use super::*;

/// A log with its signer, and a signer of statements.
pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) ledger: Ledger,
    writer: Writer,
    pub(super) signer: LogSigner,
    key: PublicKey,
    pair: EcdsaKeyPair,
}

pub(super) fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let signer = LogSigner::from_seed("lineal.local/test", &[7; 32]).unwrap();
    let keys = signer.verifier_key().clone().into();
    let limits = JournalLimits { records: 3, ..JournalLimits::default() };
    let ledger = Ledger::on(Arc::new(FileSystem), folder.path(), keys, "this-boot".to_owned(), limits);
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
    let key = PublicKey::from_point(pair.public_key().as_ref()).unwrap();
    World { folder, ledger, writer: Writer::default(), signer, key, pair }
}

/// The signed bytes of something that is read as a statement about a key.
fn key_statement(n: u64) -> Vec<u8> {
    let predicate = Predicate::Key(KeyRecord {
        holder: n.to_string(),
        role: KeyRole::Approver,
        state: KeyState::Active,
        public_key: String::new(),
        replaces: None,
        reason: None,
        stated_at: Timestamp::from_unix_ms(0),
    });
    let statement = Statement { subject: vec![Subject::new("key", Digest::of(b"key"))], predicate };
    envelope::pae(PAYLOAD_TYPE, &statement.to_bytes().unwrap())
}

impl World {
    pub(super) fn entries(&self, range: std::ops::Range<u64>) -> Vec<LedgerEntry> {
        let entry = |n: u64| {
            let statement =
                if n.is_multiple_of(3) { key_statement(n) } else { format!("statement {n}").into_bytes() };
            let signature = self.pair.sign(&SystemRandom::new(), &statement).unwrap().as_ref().to_vec();
            let leaf = Leaf { data: Digest::of(&statement), signature, key: self.key.clone() };
            LedgerEntry { leaf, statement }
        };
        range.map(entry).collect()
    }

    pub(super) fn append(&mut self, range: std::ops::Range<u64>) -> Result<Head, LedgerError> {
        let entries = self.entries(range);
        self.writer.append(&self.ledger, &|checkpoint| self.signer.sign(checkpoint), &entries)
    }

    fn tidy(&mut self) {
        let tidying = self.writer.begin_tidying(&self.ledger).unwrap().expect("something to tidy up");
        let synced = tidying.sync(&self.ledger);
        self.writer.remove(&self.ledger, tidying, synced).unwrap();
    }

    fn check(&self) -> Vec<Finding> {
        let check = self.ledger.check(&|_| ());
        let mut findings = check.findings;
        if let Some(head) = check.head {
            findings.extend(self.ledger.check_statements(0..head.size, head.size, &|_| ()));
        }
        findings
    }

    pub(super) fn files(&self, directory: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.folder.path().join(directory)];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { pending.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn appends_accumulate_and_replaced_partials_go_with_the_journal() {
    let mut world = world();
    assert_eq!(world.ledger.head().unwrap(), None);
    for (from, to) in [(0, 1), (1, 5), (5, 256), (256, 257), (257, 700)] {
        let head = world.append(from..to).unwrap();
        assert_eq!(head.size, to);
        assert_eq!(world.check(), []);
    }
    // Every partial tile that was published is there until the full one is durable.
    let partial = world.folder.path().join("log/tile/0/000.p/5");
    assert!(partial.exists());
    let before = fs::read(&partial).unwrap();
    world.tidy();
    assert!(!partial.parent().unwrap().exists());
    assert_eq!(world.ledger.read_tile(TileId { level: 0, index: 0, width: 5 }).unwrap(), before);
    assert_eq!(world.check(), []);
    assert_eq!(world.files("journal").len(), 2, "one segment and the mark");
    // Another process goes on without the closed segments.
    world.writer = Writer::default();
    world.append(700..701).unwrap();
    assert_eq!(world.check(), []);
    let expected = Digest::of(b"statement 698");
    assert_eq!(world.ledger.leaf(698, 700).unwrap().data, expected);
    assert_eq!(world.ledger.statement(698, &expected).unwrap(), b"statement 698");
    assert!(matches!(world.ledger.leaf(700, 700), Err(LedgerError::Range { .. })));
}

#[test]
fn two_writers_take_turns() {
    let mut world = world();
    let mut other = Writer::default();
    for n in 0..8 {
        world.append(2 * n..2 * n + 1).unwrap();
        let entries = world.entries(2 * n + 1..2 * n + 2);
        other.append(&world.ledger, &|checkpoint| world.signer.sign(checkpoint), &entries).unwrap();
    }
    assert_eq!(world.check(), []);
    assert_eq!(world.ledger.statement(10, &Digest::of(b"statement 10")).unwrap(), b"statement 10");
}

#[test]
fn any_changed_byte_is_found_and_its_file_named() {
    let mut world = world();
    world.append(0..3).unwrap();
    world.append(3..600).unwrap();
    let mut files = world.files("log");
    files.extend(world.files("statements"));
    for path in files {
        let good = fs::read(&path).unwrap();
        for position in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&path, &bad).unwrap();
            let findings = world.check();
            // Published partial files that a full one replaced are copies; the tests of serving look at them.
            let replaced = path.to_str().unwrap().contains("000.p/3");
            assert_eq!(findings.is_empty(), replaced, "{} byte {position}", path.display());
            assert!(
                replaced || findings.iter().any(|finding| finding.path == path),
                "{} byte {position}: {findings:?}",
                path.display()
            );
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(world.check(), []);
}

#[test]
fn the_position_of_a_change_is_told() {
    let mut world = world();
    world.append(0..600).unwrap();
    let path = world.folder.path().join("log/tile/entries/001");
    let good = fs::read(&path).unwrap();
    let bundle = tile::decode_bundle(&good, 256).unwrap();
    let offset = bundle.iter().take(44).map(|entry| entry.len() + 2).sum::<usize>() + 20;
    let mut bad = good.clone();
    bad[offset] ^= 1;
    fs::write(&path, bad).unwrap();
    let findings = world.ledger.check(&|_| ()).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].kind, findings[0].position), (FindingKind::Entries, Some(300)));
    let head = world.ledger.head().unwrap().unwrap();
    assert_eq!(world.ledger.check_bundle(1, &head)[0].position, Some(300));
    assert_eq!(world.ledger.check_bundle(0, &head), []);
    fs::write(&path, good).unwrap();
    // Entries and tile changed together: the root knows.
    let other = super::tests::world();
    let mut other = World { signer: LogSigner::from_seed("lineal.local/test", &[7; 32]).unwrap(), ..other };
    other.append(0..600).unwrap();
    for name in ["log/tile/entries/001", "log/tile/0/001"] {
        fs::copy(other.folder.path().join(name), world.folder.path().join(name)).unwrap();
    }
    let check = world.ledger.check(&|_| ());
    assert!(check.findings.iter().any(|finding| finding.kind == FindingKind::Root), "{:?}", check.findings);
    assert_eq!(world.ledger.check_bundle(1, &head)[0].kind, FindingKind::Entries);
}

#[test]
fn what_was_changed_is_never_signed_over() {
    let mut world = world();
    world.append(0..3).unwrap();
    let published = fs::read(world.folder.path().join("log/checkpoint")).unwrap();
    for name in ["log/tile/0/000.p/3", "log/tile/entries/000.p/3"] {
        let path = world.folder.path().join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[40] ^= 1;
        fs::write(&path, bad).unwrap();
        // A process that has the log in its memory writes nothing from that file; the next one reads it.
        world.writer = Writer::default();
        assert!(matches!(world.append(3..4), Err(LedgerError::Contradiction(_))), "{name}");
        assert_eq!(fs::read(world.folder.path().join("log/checkpoint")).unwrap(), published);
        fs::write(&path, good).unwrap();
    }
    world.append(3..4).unwrap();
}

#[test]
fn statements_are_never_written_behind_missing_ones() {
    let mut world = world();
    world.append(0..3).unwrap();
    let pack = world.folder.path().join("statements/000");
    let good = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    world.writer = Writer::default();
    assert!(matches!(world.append(3..4), Err(LedgerError::StatementMissing { position: 0 })));
    fs::write(&pack, &good[..good.len() - 1]).unwrap();
    assert!(matches!(world.append(3..4), Err(LedgerError::StatementMissing { position: 2 })));
    // Without the mark everything is written again from the journal.
    fs::remove_file(world.folder.path().join("journal/mark")).unwrap();
    world.append(4..5).unwrap();
    assert_eq!(world.check(), []);
}

#[test]
fn a_journal_that_lost_its_end_is_found_and_can_go() {
    let mut world = world();
    world.append(0..3).unwrap();
    world.append(3..4).unwrap();
    let segment = world.folder.path().join("journal/0000000001");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let findings = world.check();
    assert_eq!(findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::Journal]);
    world.writer = Writer::default();
    assert!(matches!(world.append(4..5), Err(LedgerError::Contradiction(_))));
    fs::remove_dir_all(world.folder.path().join("journal")).unwrap();
    world.append(4..5).unwrap();
    assert_eq!(world.check(), []);
}

#[test]
fn a_checkpoint_of_another_key_is_refused() {
    let mut world = world();
    world.append(0..3).unwrap();
    let stranger = LogSigner::from_seed("lineal.local/test", &[8; 32]).unwrap();
    let ledger = Ledger::new(world.folder.path(), stranger.verifier_key().clone());
    assert!(matches!(ledger.head(), Err(LedgerError::Checkpoint { .. })));
}

#[test]
fn a_restored_checkpoint_is_refused() {
    let mut world = world();
    world.append(0..3).unwrap();
    let checkpoint = world.folder.path().join("log/checkpoint");
    let old = fs::read(&checkpoint).unwrap();
    for n in 3..12 {
        world.append(n..n + 1).unwrap();
    }
    world.tidy();
    fs::write(&checkpoint, old).unwrap();
    world.writer = Writer::default();
    assert!(matches!(world.append(12..13), Err(LedgerError::Contradiction(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn proofs_hold_for_any_growth(sizes in prop::collection::vec(1_u64..400, 1..4), pick in any::<u64>()) {
        let mut world = world();
        let mut roots = vec![];
        let mut size = 0;
        for count in sizes {
            let head = world.append(size..size + count).unwrap();
            size += count;
            roots.push((size, head.root));
        }
        let position = pick % size;
        let (_, root) = *roots.last().unwrap();
        let leaf = world.ledger.leaf(position, size).unwrap().hash();
        let path = world.ledger.inclusion_proof(position, size).unwrap();
        prop_assert!(tree::verify_inclusion(position, size, &leaf, &path, &root).is_ok());
        for (old, old_root) in &roots {
            let path = world.ledger.consistency_proof(*old, size).unwrap();
            prop_assert!(verify_consistency(*old, old_root, size, &root, &path).is_ok());
        }
    }
}

#[test]
fn the_root_at_an_older_size_is_the_one_that_was_published() {
    let mut world = world();
    let mut published = vec![(0, lineal_proof::tree::empty_root())];
    for (from, to) in [(0, 1), (1, 7), (7, 256), (256, 300), (300, 513), (513, 700)] {
        let head = world.append(from..to).unwrap();
        published.push((head.size, head.root));
        for (size, root) in &published {
            assert_eq!(world.ledger.root_at(*size, head.size).unwrap(), *root, "{size} of {}", head.size);
        }
    }
    assert!(matches!(world.ledger.root_at(701, 700), Err(LedgerError::Range { .. })));
}
