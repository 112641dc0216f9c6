//! One piece of the log by itself: a bundle of entries, the tile of their hashes, the pack of their statements.

use std::ops::Range;
use std::path::PathBuf;

use lineal_facts::error::chain;
use lineal_proof::leaf::LeafError;
use lineal_proof::{EntryBundleId, Hash, Leaf, LeafReader, TileId, tile, tree};

use super::super::layout::{WIDTH, bundle_width, decode_pack};
use super::super::{Head, Ledger, LedgerError, TILE_LIMIT_BYTES};
use super::{CheckedEntry, Finding, FindingKind, derivation, of_entries, of_tile};
use crate::store::statement_of;
use lineal_blob::files::FileError;

/// What was read of a piece.
pub(super) struct Part {
    /// The leaf hashes, from what the root vouches for.
    pub(super) hashes: Vec<Hash>,
    /// What is wrong with bundle and tile.
    pub(super) log: Vec<Finding>,
    /// What is wrong with entries, statements and signatures.
    pub(super) statements: Vec<Finding>,
    /// The sound entries whose statements are there; an error if bundle, an entry or the pack cannot be read.
    pub(super) entries: Result<Vec<CheckedEntry>, LedgerError>,
}

impl Part {
    /// Reads bundle, tile and pack `index` of the log at `head`, each once, and checks them.
    pub(super) fn read(ledger: &Ledger, index: u64, head: &Head) -> Self {
        let (bundle, pack) = (Bundle::read(ledger, index, head.size), Pack::read(ledger, index));
        let mut log = Vec::new();
        let hashes = hashes(ledger, head, &bundle, &mut log);
        let examined = examine(ledger, &bundle, &pack, bundle.positions());
        let found = log.iter().chain(&examined.findings).filter(|found| found.is_about_an_entry());
        let damaged: Vec<Option<u64>> = found.map(|found| found.position).collect();
        let entries = bundle.bytes.map_err(|error| error.source).and_then(|_| match examined.unreadable {
            Some(error) => Err(error),
            None => {
                let sound = examined.leaves.into_iter().filter(|(at, _)| !damaged.contains(&Some(*at)));
                Ok(parsed(sound, &pack.bytes?))
            }
        });
        Self { hashes, log, statements: examined.findings, entries }
    }
}

/// The leaf hashes of bundle `index` in the log at `head`, and what is wrong with bundle and tile.
pub(super) fn derived(ledger: &Ledger, index: u64, head: &Head) -> (Vec<Hash>, Vec<Finding>) {
    let mut findings = Vec::new();
    let hashes = hashes(ledger, head, &Bundle::read(ledger, index, head.size), &mut findings);
    (hashes, findings)
}

/// What is wrong with the entries `range` of one bundle, their statements and signatures, in a log of `size` entries.
pub(super) fn statements(ledger: &Ledger, range: Range<u64>, size: u64) -> Vec<Finding> {
    let index = range.start / WIDTH;
    examine(ledger, &Bundle::read(ledger, index, size), &Pack::read(ledger, index), range).findings
}

/// A bundle's file.
struct Bundle {
    id: EntryBundleId,
    path: PathBuf,
    /// They can be decoded.
    bytes: Result<Vec<u8>, BundleError>,
}

/// Why a bundle cannot be read. Whoever checks the tree and whoever checks statements tell it.
struct BundleError {
    kind: FindingKind,
    message: String,
    source: LedgerError,
}

impl Bundle {
    fn read(ledger: &Ledger, index: u64, size: u64) -> Self {
        let id = EntryBundleId { index, width: bundle_width(index, size) };
        let path = ledger.layout.bundle(id);
        let bytes = ledger.read_bundle(id).and_then(|bytes| match tile::decode_bundle(&bytes, id.width) {
            Ok(_) => Ok(bytes),
            Err(source) => Err(LedgerError::Tile { path: path.clone(), source }),
        });
        let explained = |source: LedgerError| {
            let (kind, message) = (of_entries(&source), chain(&source));
            BundleError { kind, message, source }
        };
        Self { id, path, bytes: bytes.map_err(explained) }
    }

    fn positions(&self) -> Range<u64> {
        let first = self.id.index * WIDTH;
        first..first + u64::from(self.id.width)
    }

    /// Its entries with their positions.
    fn entries(&self) -> Result<impl Iterator<Item = (u64, &[u8])>, &BundleError> {
        let bytes = self.bytes.as_ref()?;
        // It was decoded before.
        let entries = tile::decode_bundle(bytes, self.id.width).unwrap_or_default();
        Ok(self.positions().zip(entries))
    }

    fn found(&self, error: &BundleError, position: u64) -> Finding {
        let (path, message) = (self.path.clone(), error.message.clone());
        Finding { kind: error.kind, position: Some(position), path, message }
    }
}

/// The leaf hashes of a bundle: from its entries, or from the tile if that is the one the root vouches for.
fn hashes(ledger: &Ledger, head: &Head, bundle: &Bundle, findings: &mut Vec<Finding>) -> Vec<Hash> {
    let (index, width) = (bundle.id.index, bundle.id.width);
    let (first, tile_id) = (index * WIDTH, TileId { level: 0, index, width });
    let path = ledger.layout.tile(tile_id);
    let about_tile = |kind, position, message| {
        let path = ledger.layout.tile(tile_id);
        Finding { kind, position: Some(position), path, message }
    };
    let entries =
        bundle.entries().map(|all| all.map(|(_, entry)| tree::leaf_hash(entry)).collect::<Vec<_>>());
    let tile = ledger.read_tile(tile_id).map_err(|error| (of_tile(&error), chain(&error)));
    let tile = tile.and_then(|bytes| {
        tile::decode_tile(&bytes, width)
            .map_err(|e| (FindingKind::Tile, format!("tile `{}`: {}", path.display(), chain(&e))))
    });
    match (entries, tile) {
        (Ok(entries), Ok(tile)) if entries == tile => entries,
        (Ok(entries), Ok(tile)) => {
            let place = entries.iter().zip(&tile).position(|(a, b)| a != b).unwrap_or_default() as u64;
            let position = first + place;
            // Not both can hash to the signed root.
            if derivation::agrees(ledger, head, index, &tile) {
                let message = format!(
                    "entry {position} in `{}` was changed: it has another hash than the tree",
                    bundle.path.display()
                );
                let (kind, path) = (FindingKind::Entries, bundle.path.clone());
                findings.push(Finding { kind, position: Some(position), path, message });
                tile
            } else {
                let message = format!("tile `{}` was changed at entry {position}", path.display());
                findings.push(about_tile(FindingKind::Tile, position, message));
                entries
            }
        }
        (Ok(entries), Err((kind, message))) => {
            findings.push(about_tile(kind, first, message));
            entries
        }
        (Err(error), tile) => {
            findings.push(bundle.found(error, first));
            tile.unwrap_or_else(|(kind, message)| {
                findings.push(about_tile(kind, first, message));
                Vec::new()
            })
        }
    }
}

/// A pack's file; empty if it is not there.
struct Pack {
    path: PathBuf,
    bytes: Result<Vec<u8>, FileError>,
}

impl Pack {
    fn read(ledger: &Ledger, index: u64) -> Self {
        let path = ledger.layout.pack(index);
        let bytes = ledger.disk.read(&path, TILE_LIMIT_BYTES).map(Option::unwrap_or_default);
        Self { path, bytes }
    }
}

/// What entries and their statements turned out to be.
#[derive(Default)]
struct Examined {
    leaves: Vec<(u64, Leaf)>,
    /// The first entry that is none.
    unreadable: Option<LedgerError>,
    findings: Vec<Finding>,
}

/// Checks the entries of `range`, the bytes of their statements and the signatures.
fn examine(ledger: &Ledger, bundle: &Bundle, pack: &Pack, range: Range<u64>) -> Examined {
    let mut examined = Examined::default();
    let found = |kind, position, message| {
        let path = pack.path.clone();
        Finding { kind, position: Some(position), path, message }
    };
    let statements = pack.bytes.as_ref().map(|bytes| decode_pack(bytes));
    if let Err(error) = &statements {
        examined.findings.push(found(FindingKind::StatementMissing, range.start, chain(error)));
    }
    let entries = match bundle.entries() {
        Ok(entries) => entries.filter(|(position, _)| range.contains(position)),
        Err(error) => {
            // Of a pack that cannot be read nothing else is said.
            if statements.is_ok() {
                examined.findings.push(bundle.found(error, range.start));
            }
            return examined;
        }
    };
    let mut reader = LeafReader::default();
    for (position, entry) in entries {
        let leaf = reader.read(entry);
        if let Ok(statements) = &statements {
            let statement = statements.get((position % WIDTH) as usize).copied().unwrap_or_default();
            let damage = check_entry(ledger, position, leaf.as_ref(), statement);
            examined.findings.extend(damage.map(|(kind, message)| found(kind, position, message)));
        }
        match leaf {
            Ok(leaf) => examined.leaves.push((position, leaf)),
            Err(source) if examined.unreadable.is_none() => {
                examined.unreadable = Some(LedgerError::Leaf { position, source });
            }
            Err(_) => {}
        }
    }
    examined
}

fn check_entry(
    ledger: &Ledger,
    position: u64,
    leaf: Result<&Leaf, &LeafError>,
    statement: &[u8],
) -> Option<(FindingKind, String)> {
    let leaf = match leaf {
        Ok(leaf) => leaf,
        Err(error) => return Some((FindingKind::Entries, chain(error))),
    };
    match ledger.check_statement(position, &leaf.data, statement) {
        Ok(()) => {}
        Err(error @ LedgerError::StatementMissing { .. }) => {
            return Some((FindingKind::StatementMissing, error.to_string()));
        }
        Err(error) => return Some((FindingKind::StatementDamaged, error.to_string())),
    }
    // Its digest is the entry's, so what is left is the signature.
    let error = leaf.key.verify(statement, &leaf.signature).err().map(|_| LeafError::Signature)?;
    Some((FindingKind::Signature, format!("entry {position}: {}", chain(&error))))
}

/// What the statements of `leaves` in a pack say, but for those that were erased.
fn parsed(leaves: impl Iterator<Item = (u64, Leaf)>, pack: &[u8]) -> Vec<CheckedEntry> {
    let statements = decode_pack(pack);
    let read = |(position, leaf)| {
        let statement = statements.get((position % WIDTH) as usize).filter(|pae| !pae.is_empty())?;
        Some(CheckedEntry { position, leaf, statement: statement_of(statement) })
    };
    leaves.filter_map(read).collect()
}
