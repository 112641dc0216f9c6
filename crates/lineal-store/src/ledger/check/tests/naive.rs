//! The same checks one after another, each reading what it needs by itself: slow, and plain enough to believe.

use std::collections::BTreeSet;

use lineal_facts::Digest;
use lineal_proof::tile::{self, TILE_WIDTH};
use lineal_proof::{Edge, EntryBundleId, Hash, TileId, tree};

use super::super::*;
use crate::ledger::TILE_LIMIT_BYTES;
use crate::ledger::layout::{WIDTH, bundle_width, decode_pack, tile_width};
use crate::store::statement_of;

/// A visited entry: its position, what it is about, and what its statement says.
pub(super) type Visited = (u64, Digest, Result<Statement, String>);

/// What is wrong with the log.
pub(super) fn check(ledger: &Ledger, head: &Head) -> Vec<Finding> {
    let findings = ledger.check_journal(Some(head)).into_iter().collect();
    let mut derivation = Derivation { ledger, head, edge: Edge::empty(), findings };
    for index in 0..head.size.div_ceil(WIDTH) {
        derivation.bundle(index);
    }
    let root = derivation.edge.root();
    let mut findings = derivation.findings;
    if root != head.root {
        let message = format!("the entries have the root {root}, the checkpoint says {}", head.root);
        findings.push(ledger.about_checkpoint(FindingKind::Root, message));
    }
    findings.sort_by_key(|finding| finding.position);
    findings
}

/// What is wrong with statements.
pub(super) fn check_statements(ledger: &Ledger, range: Range<u64>, size: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut from = range.start;
    while from < range.end {
        let to = ((from / WIDTH + 1) * WIDTH).min(range.end);
        check_pack(ledger, from / WIDTH, from..to, size, &mut findings);
        from = to;
    }
    findings
}

/// What is visited, and whether all entries could be.
pub(super) fn visit(ledger: &Ledger, size: u64, findings: &[Finding]) -> (Vec<Visited>, bool) {
    let tiles = [FindingKind::Tile, FindingKind::TileMissing];
    let about = findings.iter().filter(|finding| !tiles.contains(&finding.kind));
    let damaged: BTreeSet<u64> = about.filter_map(|finding| finding.position).collect();
    let mut visited = Vec::new();
    for from in (0..size).step_by(WIDTH as usize) {
        let to = (from + WIDTH).min(size);
        let Ok(leaves) = ledger.leaves(from, to, size) else { return (visited, false) };
        let read = ledger.for_each_statement(from, to, &mut |position, pae| {
            if !pae.is_empty() && !damaged.contains(&position) {
                let statement = statement_of(pae).map_err(|error| error.to_string());
                visited.push((position, leaves[(position - from) as usize].data, statement));
            }
            Ok(())
        });
        if read.is_err() {
            return (visited, false);
        }
    }
    (visited, true)
}

fn check_pack(ledger: &Ledger, index: u64, range: Range<u64>, size: u64, findings: &mut Vec<Finding>) {
    let path = ledger.layout.pack(index);
    let pack = match ledger.disk.read(&path, TILE_LIMIT_BYTES) {
        Ok(pack) => pack.unwrap_or_default(),
        Err(error) => {
            let (position, message) = (Some(range.start), chain(&error));
            let kind = FindingKind::StatementMissing;
            return findings.push(Finding { kind, position, path, message });
        }
    };
    let statements = decode_pack(&pack);
    // An unreadable bundle is a finding of the log already.
    let visited = ledger.for_each_entry(range.start, range.end, size, &mut |position, entry| {
        let statement = statements.get((position % WIDTH) as usize).copied().unwrap_or_default();
        if let Some((kind, message)) = check_entry(ledger, position, entry, statement) {
            findings.push(Finding { kind, position: Some(position), path: path.clone(), message });
        }
        Ok(())
    });
    if let Err(error) = visited {
        let id = EntryBundleId { index, width: bundle_width(index, size) };
        let (position, path) = (Some(range.start), ledger.layout.bundle(id));
        findings.push(Finding { kind: of_entries(&error), position, path, message: chain(&error) });
    }
}

fn check_entry(
    ledger: &Ledger,
    position: u64,
    entry: &[u8],
    statement: &[u8],
) -> Option<(FindingKind, String)> {
    let leaf = match Leaf::from_bytes(entry) {
        Ok(leaf) => leaf,
        Err(error) => return Some((FindingKind::Entries, chain(&error))),
    };
    match ledger.check_statement(position, &leaf.data, statement) {
        Ok(()) => {}
        Err(error @ LedgerError::StatementMissing { .. }) => {
            return Some((FindingKind::StatementMissing, error.to_string()));
        }
        Err(error) => return Some((FindingKind::StatementDamaged, error.to_string())),
    }
    let error = leaf.verify(statement).err()?;
    Some((FindingKind::Signature, format!("entry {position}: {}", chain(&error))))
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
