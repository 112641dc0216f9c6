//! Checking the log: everything that follows from the entries is made again and compared.
//!
//! Where two files contradict each other, the one that does not agree with the signed root is the one named; what
//! is undamaged is still used, so that one damaged file does not hide the next.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use lineal_facts::error::chain;
use lineal_proof::tile::{self, TILE_WIDTH};
use lineal_proof::{Edge, EntryBundleId, Hash, Leaf, TileId, tree};

use super::layout::{WIDTH, bundle_width, decode_pack, tile_width};
use super::{Head, Ledger, LedgerError, TILE_LIMIT_BYTES};

/// Most findings that are kept; a log with more is beyond telling them apart.
pub const FINDING_LIMIT: usize = 10_000;
/// Most threads that check signatures.
const THREAD_LIMIT: usize = 16;

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
    /// Makes every tile and the root again from the entries and compares them with files and checkpoint. `progress`
    /// hears how many entries are done.
    pub fn check(&self, progress: &dyn Fn(u64)) -> LogCheck {
        let mut findings = Vec::new();
        let head = self.head();
        // After the checkpoint: the journal is never behind it.
        findings.extend(self.check_journal(head.as_ref().ok().and_then(Option::as_ref)));
        let head = match head {
            Ok(Some(head)) => head,
            Ok(None) => return LogCheck { head: None, findings },
            Err(error) => {
                findings.push(self.about_checkpoint(FindingKind::Checkpoint, chain(&error)));
                return LogCheck { head: None, findings };
            }
        };
        let mut derivation = Derivation { ledger: self, head: &head, edge: Edge::empty(), findings };
        for index in 0..head.size.div_ceil(WIDTH) {
            derivation.bundle(index);
            progress((index * WIDTH + WIDTH).min(head.size));
            if derivation.findings.len() >= FINDING_LIMIT {
                break;
            }
        }
        let root = derivation.edge.root();
        let mut findings = derivation.findings;
        if root != head.root && findings.len() < FINDING_LIMIT {
            let message = format!("the entries have the root {root}, the checkpoint says {}", head.root);
            findings.push(self.about_checkpoint(FindingKind::Root, message));
        }
        findings.sort_by_key(|finding| finding.position);
        LogCheck { head: Some(head), findings }
    }

    /// Checks that the entries of one bundle are those of the tree with the root of `head`, by themselves: the work
    /// does not grow with the log. For a check that goes on while the log is used.
    pub fn check_bundle(&self, index: u64, head: &Head) -> Vec<Finding> {
        // Only what was published at this size: a level above the edge is not derived here.
        let mut derivation = Derivation { ledger: self, head, edge: Edge::empty(), findings: Vec::new() };
        let hashes = derivation.hashes(index);
        if derivation.findings.is_empty() && !derivation.agrees(index, &hashes) {
            let id = EntryBundleId { index, width: bundle_width(index, head.size) };
            let message = format!(
                "the entries from {} on are not in the tree with the root {}",
                index * WIDTH,
                head.root
            );
            derivation.found(FindingKind::Entries, index, self.layout.bundle(id), message);
        }
        derivation.findings
    }

    /// Checks the bytes and signatures of the statements of `range` in a log of `size` entries, on all cores. What a
    /// signer may say is not looked at: the keyring knows. `progress` hears how many more are done.
    pub fn check_statements(
        &self,
        range: Range<u64>,
        size: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Vec<Finding> {
        let next = AtomicU64::new(range.start / WIDTH);
        let end = range.end.min(size);
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(THREAD_LIMIT));
        let work = || {
            let mut findings = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let (from, to) = ((index * WIDTH).max(range.start), ((index + 1) * WIDTH).min(end));
                if from >= to || findings.len() >= FINDING_LIMIT {
                    return findings;
                }
                self.check_pack(index, from..to, size, &mut findings);
                progress(to - from);
            }
        };
        let mut findings: Vec<Finding> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        });
        findings.sort_by_key(|finding| finding.position);
        findings.truncate(FINDING_LIMIT);
        findings
    }

    fn check_pack(&self, index: u64, range: Range<u64>, size: u64, findings: &mut Vec<Finding>) {
        let path = self.layout.pack(index);
        let pack = match self.disk.read(&path, TILE_LIMIT_BYTES) {
            Ok(pack) => pack.unwrap_or_default(),
            Err(error) => {
                let (position, message) = (Some(range.start), chain(&error));
                let kind = FindingKind::StatementMissing;
                return findings.push(Finding { kind, position, path, message });
            }
        };
        let statements = decode_pack(&pack);
        // An unreadable bundle is a finding of the log already.
        let visited = self.for_each_entry(range.start, range.end, size, &mut |position, entry| {
            let statement = statements.get((position % WIDTH) as usize).copied().unwrap_or_default();
            if let Some((kind, message)) = self.check_entry(position, entry, statement) {
                findings.push(Finding { kind, position: Some(position), path: path.clone(), message });
            }
            Ok(())
        });
        if let Err(error) = visited {
            let id = EntryBundleId { index, width: bundle_width(index, size) };
            let (position, path) = (Some(range.start), self.layout.bundle(id));
            findings.push(Finding { kind: of_entries(&error), position, path, message: chain(&error) });
        }
    }

    fn check_entry(&self, position: u64, entry: &[u8], statement: &[u8]) -> Option<(FindingKind, String)> {
        let leaf = match Leaf::from_bytes(entry) {
            Ok(leaf) => leaf,
            Err(error) => return Some((FindingKind::Entries, chain(&error))),
        };
        match self.check_statement(position, &leaf.data, statement) {
            Ok(()) => {}
            Err(error @ LedgerError::StatementMissing { .. }) => {
                return Some((FindingKind::StatementMissing, error.to_string()));
            }
            Err(error) => return Some((FindingKind::StatementDamaged, error.to_string())),
        }
        let error = leaf.verify(statement).err()?;
        Some((FindingKind::Signature, format!("entry {position}: {}", chain(&error))))
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

/// The tree made again, bundle by bundle.
struct Derivation<'a> {
    ledger: &'a Ledger,
    head: &'a Head,
    edge: Edge,
    findings: Vec<Finding>,
}

impl Derivation<'_> {
    fn bundle(&mut self, index: u64) {
        let hashes = self.hashes(index);
        let size = self.head.size;
        for write in self.edge.append(&hashes) {
            // Those of level 0 were compared; partial tiles above appear on the way that the whole log does not have.
            if write.id.level == 0 || write.id.width != tile_width(write.id, size) {
                continue;
            }
            let (path, what) = (self.ledger.layout.tile(write.id), "does not follow from the entries");
            match self.ledger.read_tile(write.id) {
                Ok(bytes) if bytes == write.bytes => {}
                Ok(_) => {
                    let message = format!("tile `{}` {what}: it was changed", path.display());
                    self.found(FindingKind::Tile, index, path, message);
                }
                Err(error) => self.found(of_tile(&error), index, path, chain(&error)),
            }
        }
    }

    /// The leaf hashes of a bundle: from its entries, or from the tile if that is the one the root vouches for.
    fn hashes(&mut self, index: u64) -> Vec<Hash> {
        let width = bundle_width(index, self.head.size);
        let (bundle_id, tile_id) = (EntryBundleId { index, width }, TileId { level: 0, index, width });
        let (bundle_path, tile_path) =
            (self.ledger.layout.bundle(bundle_id), self.ledger.layout.tile(tile_id));
        let entries = self.entry_hashes(bundle_id).map_err(|error| (of_entries(&error), chain(&error)));
        let tile = self.ledger.read_tile(tile_id).map_err(|error| (of_tile(&error), chain(&error)));
        let tile = tile.and_then(|bytes| {
            tile::decode_tile(&bytes, width)
                .map_err(|e| (FindingKind::Tile, format!("tile `{}`: {}", tile_path.display(), chain(&e))))
        });
        match (entries, tile) {
            (Ok(entries), Ok(tile)) if entries == tile => entries,
            (Ok(entries), Ok(tile)) => {
                let place = entries.iter().zip(&tile).position(|(a, b)| a != b).unwrap_or_default() as u64;
                let position = index * WIDTH + place;
                // Not both can hash to the signed root.
                if self.agrees(index, &tile) {
                    let message = format!(
                        "entry {position} in `{}` was changed: it has another hash than the tree",
                        bundle_path.display()
                    );
                    self.found_at(FindingKind::Entries, position, bundle_path, message);
                    tile
                } else {
                    let message = format!("tile `{}` was changed at entry {position}", tile_path.display());
                    self.found_at(FindingKind::Tile, position, tile_path, message);
                    entries
                }
            }
            (Ok(entries), Err((kind, message))) => {
                self.found(kind, index, tile_path, message);
                entries
            }
            (Err((kind, message)), tile) => {
                self.found(kind, index, bundle_path, message);
                tile.unwrap_or_else(|(kind, message)| {
                    self.found(kind, index, tile_path, message);
                    Vec::new()
                })
            }
        }
    }

    fn entry_hashes(&self, id: EntryBundleId) -> Result<Vec<Hash>, LedgerError> {
        let first = id.index * WIDTH;
        let mut hashes = Vec::with_capacity(usize::from(TILE_WIDTH));
        self.ledger.for_each_entry(first, first + u64::from(id.width), self.head.size, &mut |_, entry| {
            hashes.push(tree::leaf_hash(entry));
            Ok(())
        })?;
        Ok(hashes)
    }

    /// Whether the signed root vouches for these hashes of a bundle: the path of its first entry goes over all others.
    fn agrees(&self, index: u64, hashes: &[Hash]) -> bool {
        let (size, position) = (self.head.size, index * WIDTH);
        let read = |id: TileId| {
            if id.level == 0 && id.index == index {
                Ok(tile::encode_tile(hashes))
            } else {
                self.ledger.read_tile(id)
            }
        };
        let path = tree::inclusion_proof(position, size, |level, index| {
            tile::subtree_hash::<LedgerError>(size, level, index, read)
        });
        let (Ok(path), Some(first)) = (path, hashes.first()) else { return false };
        tree::verify_inclusion(position, size, first, &path, &self.head.root).is_ok()
    }

    fn found(&mut self, kind: FindingKind, index: u64, path: PathBuf, message: String) {
        self.found_at(kind, index * WIDTH, path, message);
    }

    fn found_at(&mut self, kind: FindingKind, position: u64, path: PathBuf, message: String) {
        self.findings.push(Finding { kind, position: Some(position), path, message });
    }
}
