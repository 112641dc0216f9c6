//! The right edge of the tree: enough to append and to know the root.

use super::{TILE_HEIGHT, TILE_WIDTH, TileError, TileId, decode_tile, encode_tile, row_width};
use crate::tree::{self, Hash, ProofError, SIZE_LIMIT};

/// The hashes of the partial tile of each level; everything left of them is final and not needed to append.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// By tile level; each shorter than 256.
    levels: Vec<Vec<Hash>>,
}

/// A tile that has to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileWrite {
    /// Where.
    pub id: TileId,
    /// What.
    pub bytes: Vec<u8>,
}

impl Edge {
    /// The edge of a tree without entries.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the partial tiles of a tree of `size` entries, at most one a level.
    ///
    /// Nothing here is trusted yet: compare [`Edge::root`] with the checkpoint's.
    pub fn load<E: From<TileError>>(
        size: u64,
        mut read_tile: impl FnMut(TileId) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        if size > SIZE_LIMIT {
            return Err(TileError::from(ProofError::Range { first: 0, size }).into());
        }
        let mut levels = Vec::new();
        for level in 0.. {
            let row = row_width(size, level);
            if row == 0 {
                break;
            }
            let width = (row % u64::from(TILE_WIDTH)) as u16;
            let hashes = if width == 0 {
                Vec::new()
            } else {
                let id = TileId { level, index: row / u64::from(TILE_WIDTH), width };
                decode_tile(&read_tile(id)?, width)?
            };
            levels.push(hashes);
        }
        Ok(Self { size, levels })
    }

    /// The number of entries in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut root = None;
        for hashes in &self.levels {
            for height in 0..TILE_HEIGHT {
                let length = 1 << height;
                if hashes.len() & length != 0 {
                    let start = hashes.len() & !(2 * length - 1);
                    let left = tree::root(&hashes[start..start + length]);
                    root = Some(root.map_or(left, |right| tree::node_hash(&left, &right)));
                }
            }
        }
        root.unwrap_or_else(tree::empty_root)
    }

    /// Appends entries by their leaf hashes.
    ///
    /// Yields the hash tiles that must be written to make the tree of the new size complete: every tile that became
    /// full and the last partial tile of each level that changed. Intermediate partial tiles are left out.
    pub fn append(&mut self, leaf_hashes: &[Hash]) -> Vec<TileWrite> {
        let mut writes = Vec::new();
        let before: Vec<u64> =
            (0..=self.levels.len() as u8).map(|level| row_width(self.size, level)).collect();
        for leaf in leaf_hashes {
            self.push(*leaf, &mut writes);
        }
        for (level, hashes) in self.levels.iter().enumerate() {
            let row = row_width(self.size, level as u8);
            if !hashes.is_empty() && before.get(level).copied().unwrap_or(0) != row {
                let width = hashes.len() as u16;
                let id = TileId { level: level as u8, index: row / u64::from(TILE_WIDTH), width };
                writes.push(TileWrite { id, bytes: encode_tile(hashes) });
            }
        }
        writes
    }

    fn push(&mut self, leaf: Hash, writes: &mut Vec<TileWrite>) {
        self.size += 1;
        let mut carry = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(TILE_WIDTH.into()));
            }
            let hashes = &mut self.levels[level];
            hashes.push(carry);
            if hashes.len() < usize::from(TILE_WIDTH) {
                break;
            }
            let index = row_width(self.size, level as u8) / u64::from(TILE_WIDTH) - 1;
            let id = TileId { level: level as u8, index, width: TILE_WIDTH };
            writes.push(TileWrite { id, bytes: encode_tile(hashes) });
            carry = tree::root(hashes);
            hashes.clear();
        }
    }
}
