//! Names and forms of the log's files, and which of them a log of some size has.

use std::path::{Path, PathBuf};

use lineal_proof::tile::{self, TILE_WIDTH};
use lineal_proof::{EntryBundleId, TileId};

/// Hashes in a full tile, entries in a full bundle, statements in a full pack.
pub(super) const WIDTH: u64 = TILE_WIDTH as u64;
/// Bytes of a statement's length in a pack.
const LENGTH_BYTES: usize = 4;

/// Where the log's parts are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// tlog-tiles: `checkpoint` and `tile/`.
    pub(super) log: PathBuf,
    /// Packs of signed statements, 256 to a file.
    pub(super) statements: PathBuf,
    /// The write-ahead journal.
    pub(super) journal: PathBuf,
}

impl Layout {
    pub(super) fn below(root: &Path) -> Self {
        Self { log: root.join("log"), statements: root.join("statements"), journal: root.join("journal") }
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.log.join("checkpoint")
    }

    pub(super) fn tile(&self, id: TileId) -> PathBuf {
        self.log.join(id.path())
    }

    pub(super) fn bundle(&self, id: EntryBundleId) -> PathBuf {
        self.log.join(id.path())
    }

    /// The pack with the statements `index * 256 ..`, named as the full entry bundle is.
    pub(super) fn pack(&self, index: u64) -> PathBuf {
        let path = EntryBundleId { index, width: TILE_WIDTH }.path();
        self.statements.join(path.trim_start_matches("tile/entries/"))
    }
}

/// The width of the tile at `id`'s place in a log of `size` entries; 0 when there is none.
pub(super) fn tile_width(id: TileId, size: u64) -> u16 {
    let count = (0..id.level).fold(size, |count, _| count / WIDTH);
    count.saturating_sub(id.index.saturating_mul(WIDTH)).min(WIDTH) as u16
}

/// The width of a bundle of entries in a log of `size` entries; 0 when there is none.
pub(super) fn bundle_width(index: u64, size: u64) -> u16 {
    tile_width(TileId { level: 0, index, width: 1 }, size)
}

/// The first `width` entries of a bundle that has at least as many: a partial bundle begins every larger one.
pub(super) fn cut_bundle(bytes: &[u8], width: u16) -> Option<&[u8]> {
    let mut rest = bytes;
    for _ in 0..width {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        rest = tail.get(usize::from(u16::from_be_bytes(*length))..)?;
    }
    Some(&bytes[..bytes.len() - rest.len()])
}

/// The first `width` hashes of a tile that has at least as many.
pub(super) fn cut_tile(bytes: &[u8], width: u16) -> Option<&[u8]> {
    bytes.get(..usize::from(width) * tile::HASH_BYTES)
}

/// Appends a statement to a pack: its length as big-endian 32 bits, then its bytes.
pub(super) fn encode_statement(statement: &[u8], pack: &mut Vec<u8>) {
    let length = u32::try_from(statement.len()).unwrap_or(u32::MAX);
    pack.extend_from_slice(&length.to_be_bytes());
    pack.extend_from_slice(statement);
}

/// The statements of a pack, as many as are complete, at most 256. An erased one is empty.
pub(super) fn decode_pack(bytes: &[u8]) -> Vec<&[u8]> {
    let mut statements = Vec::new();
    let mut rest = bytes;
    while statements.len() < usize::from(TILE_WIDTH)
        && let Some((length, tail)) = rest.split_first_chunk::<LENGTH_BYTES>()
        && let Some((statement, tail)) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)
    {
        statements.push(statement);
        rest = tail;
    }
    statements
}

/// Bytes that the first `count` statements of a pack take; `None` when it has fewer.
pub(super) fn pack_length(bytes: &[u8], count: usize) -> Option<u64> {
    let statements = decode_pack(bytes);
    let taken = statements.get(..count)?;
    Some(taken.iter().map(|statement| (LENGTH_BYTES + statement.len()) as u64).sum())
}
