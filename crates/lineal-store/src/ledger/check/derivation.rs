//! The tree made again, bundle by bundle, in order.

use std::path::PathBuf;

use lineal_facts::error::chain;
use lineal_proof::tile;
use lineal_proof::{Edge, Hash, TileId, tree};

use super::super::layout::{WIDTH, tile_width};
use super::super::{Head, Ledger, LedgerError};
use super::{FINDING_LIMIT, Finding, FindingKind, of_tile};

/// How far it is made.
pub(super) struct Derivation<'a> {
    ledger: &'a Ledger,
    head: &'a Head,
    edge: Edge,
    findings: Vec<Finding>,
}

impl<'a> Derivation<'a> {
    /// Nothing yet, but `findings` about the log.
    pub(super) fn new(ledger: &'a Ledger, head: &'a Head, findings: Vec<Finding>) -> Self {
        Self { ledger, head, edge: Edge::empty(), findings }
    }

    /// Whether more findings would not be kept.
    pub(super) fn is_full(&self) -> bool {
        self.findings.len() >= FINDING_LIMIT
    }

    /// Goes on with the leaf hashes of bundle `index`, about which `found` was found, and compares the tiles above.
    pub(super) fn bundle(&mut self, index: u64, hashes: &[Hash], found: Vec<Finding>) {
        self.findings.extend(found);
        let size = self.head.size;
        for write in self.edge.append(hashes) {
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

    /// Compares the root. Yields everything that was found, in the order of positions.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        let root = self.edge.root();
        if root != self.head.root && !self.is_full() {
            let message = format!("the entries have the root {root}, the checkpoint says {}", self.head.root);
            self.findings.push(self.ledger.about_checkpoint(FindingKind::Root, message));
        }
        self.findings.sort_by_key(|finding| finding.position);
        self.findings
    }

    fn found(&mut self, kind: FindingKind, index: u64, path: PathBuf, message: String) {
        self.findings.push(Finding { kind, position: Some(index * WIDTH), path, message });
    }
}

/// Whether the signed root vouches for these hashes of a bundle: the path of its first entry goes over all others.
pub(super) fn agrees(ledger: &Ledger, head: &Head, index: u64, hashes: &[Hash]) -> bool {
    let (size, position) = (head.size, index * WIDTH);
    let read = |id: TileId| {
        if id.level == 0 && id.index == index { Ok(tile::encode_tile(hashes)) } else { ledger.read_tile(id) }
    };
    let path = tree::inclusion_proof(position, size, |level, index| {
        tile::subtree_hash::<LedgerError>(size, level, index, read)
    });
    let (Ok(path), Some(first)) = (path, hashes.first()) else { return false };
    tree::verify_inclusion(position, size, first, &path, &head.root).is_ok()
}
