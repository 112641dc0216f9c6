//! The tree as files: C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>), tile height 8.
//!
//! Tile `(level, index)` holds the hashes of up to 256 complete subtrees of `256^level` leaves each. A full tile's
//! root is one hash of the tile above; a partial tile is never hashed upward. Entry bundles hold the entries
//! themselves, 256 to a bundle.

mod edge;

use std::fmt;

pub use edge::{Edge, TileWrite};

use crate::tree::{self, Hash, ProofError};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Levels of the tree in one tile.
pub const TILE_HEIGHT: u8 = 8;
/// Highest tile level that a path may name.
pub const LEVEL_LIMIT: u8 = 63;
/// Largest entry in bytes; its length is written as 16 bits.
pub const ENTRY_LIMIT_BYTES: usize = u16::MAX as usize;
/// Bytes of one hash in a tile.
pub const HASH_BYTES: usize = 32;

/// Why a path, a tile or a bundle of entries is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Not a tile path as tlog-tiles writes it.
    #[error("`{0}` is not a tile path")]
    Path(String),
    /// The bytes are not as many as the width needs: truncated, or another file.
    #[error("{what} has {actual} bytes where {expected} were expected")]
    Size {
        /// The tile or bundle.
        what: String,
        /// Bytes found.
        actual: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A bundle with a wrong number of entries, or an entry that is too large.
    #[error("entry bundle: {0}")]
    Bundle(String),
    /// The tree of that size has no such subtree.
    #[error("a tree of {size} entries has no complete subtree {index} at level {level}")]
    Subtree {
        /// Tree size.
        size: u64,
        /// Level of the subtree.
        level: u8,
        /// Its index.
        index: u64,
    },
    /// The proof that was asked for does not exist.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// The address of a tile of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 holds leaf hashes; at most [`LEVEL_LIMIT`].
    pub level: u8,
    /// Position in its level.
    pub index: u64,
    /// Number of hashes, 1 to 256; below 256 the tile is partial.
    pub width: u16,
}

/// The address of a bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryBundleId {
    /// Position; entry `n` is in bundle `n / 256`.
    pub index: u64,
    /// Number of entries, 1 to 256; below 256 the bundle is partial.
    pub width: u16,
}

impl TileId {
    /// The path below the log's prefix, for instance `tile/0/x001/x234/067.p/12`.
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, IndexAndWidth(self.index, self.width))
    }

    /// The inverse of [`TileId::path`]; accepts only what it writes.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        let parsed = path.strip_prefix("tile/").and_then(|rest| {
            let (level, rest) = rest.split_once('/')?;
            let level = decimal(level, LEVEL_LIMIT.into())? as u8;
            let (index, width) = parse_index_and_width(rest)?;
            Some(Self { level, index, width })
        });
        parsed.ok_or_else(|| TileError::Path(shorten(path)))
    }

    /// Whether the tile is not full, so that a larger tree replaces it.
    pub const fn is_partial(&self) -> bool {
        self.width < TILE_WIDTH
    }
}

impl EntryBundleId {
    /// The path below the log's prefix, for instance `tile/entries/x001/x234/067.p/12`.
    pub fn path(&self) -> String {
        format!("tile/entries/{}", IndexAndWidth(self.index, self.width))
    }

    /// The inverse of [`EntryBundleId::path`]; accepts only what it writes.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        let parsed = path.strip_prefix("tile/entries/").and_then(parse_index_and_width);
        let (index, width) = parsed.ok_or_else(|| TileError::Path(shorten(path)))?;
        Ok(Self { index, width })
    }

    /// Whether the bundle is not full.
    pub const fn is_partial(&self) -> bool {
        self.width < TILE_WIDTH
    }
}

/// Every hash tile of a tree of `size` entries, level by level from the leaves, left to right.
///
/// One item for about every 255 entries: the caller bounds `size` first.
pub fn tiles_of(size: u64) -> Vec<TileId> {
    let mut tiles = Vec::new();
    for level in 0..u64::BITS as u8 / TILE_HEIGHT {
        let hashes = row_width(size, level);
        tiles.extend(cut(hashes).map(|(index, width)| TileId { level, index, width }));
    }
    tiles
}

/// Every entry bundle of a log of `size` entries, left to right.
pub fn entry_bundles_of(size: u64) -> Vec<EntryBundleId> {
    cut(size).map(|(index, width)| EntryBundleId { index, width }).collect()
}

/// The bytes of a tile.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.as_bytes()).copied().collect()
}

/// The `width` hashes of a tile.
pub fn decode_tile(bytes: &[u8], width: u16) -> Result<Vec<Hash>, TileError> {
    let expected = usize::from(width) * HASH_BYTES;
    let (chunks, rest) = bytes.as_chunks::<HASH_BYTES>();
    if chunks.len() != usize::from(width) || !rest.is_empty() {
        return Err(TileError::Size { what: "tile".to_owned(), actual: bytes.len(), expected });
    }
    Ok(chunks.iter().map(|chunk| Hash::from_bytes(*chunk)).collect())
}

/// The bytes of a bundle of 1 to 256 entries: each with its length as big-endian 16 bits before it.
pub fn encode_bundle(entries: &[&[u8]]) -> Result<Vec<u8>, TileError> {
    if entries.is_empty() || entries.len() > usize::from(TILE_WIDTH) {
        return Err(TileError::Bundle(format!("{} entries; expected 1 to {TILE_WIDTH}", entries.len())));
    }
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 2).sum());
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| {
            TileError::Bundle(format!("an entry of {} bytes; the limit is {ENTRY_LIMIT_BYTES}", entry.len()))
        })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The `width` entries, 1 to 256, of a bundle; refuses missing and trailing bytes.
pub fn decode_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    if !(1..=TILE_WIDTH).contains(&width) {
        return Err(TileError::Bundle(format!("{width} entries; expected 1 to {TILE_WIDTH}")));
    }
    let mut entries = Vec::with_capacity(width.into());
    let mut rest = bytes;
    for number in 0..width {
        let entry = rest.split_first_chunk::<2>().and_then(|(length, tail)| {
            let (entry, tail) = tail.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = tail;
            Some(entry)
        });
        entries
            .push(entry.ok_or_else(|| TileError::Bundle(format!("ends within entry {number} of {width}")))?);
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(TileError::Bundle(format!("{} bytes after {width} entries", rest.len())))
    }
}

/// The hash of the complete subtree `(level, index)` of a tree of `size` entries, from the one tile that holds it.
///
/// Serves [`tree::inclusion_proof`] and [`tree::consistency_proof`]. `read_tile` yields a tile's bytes; a proof asks
/// for the same tile up to eight times, so the caller may want to keep the last one of each level.
pub fn subtree_hash<E: From<TileError>>(
    size: u64,
    level: u8,
    index: u64,
    read_tile: impl FnOnce(TileId) -> Result<Vec<u8>, E>,
) -> Result<Hash, E> {
    let missing = || TileError::Subtree { size, level, index };
    let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
    let row = row_width(size, tile_level);
    let complete = u32::from(level) < u64::BITS && index < size >> level;
    let first = if complete { index << height } else { return Err(missing().into()) };
    let tile_index = first / u64::from(TILE_WIDTH);
    let width = (row - tile_index * u64::from(TILE_WIDTH)).min(TILE_WIDTH.into()) as u16;
    let bytes = read_tile(TileId { level: tile_level, index: tile_index, width })?;
    let hashes = decode_tile(&bytes, width)?;
    let offset = (first % u64::from(TILE_WIDTH)) as usize;
    let covered = hashes.get(offset..offset + (1 << height)).ok_or_else(missing)?;
    Ok(tree::root(covered))
}

/// How many complete subtrees of `256^level` leaves a tree of `size` entries has.
fn row_width(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0)
}

/// Cuts a row into full pieces and, if something remains, a partial one: (index, width).
fn cut(row: u64) -> impl Iterator<Item = (u64, u16)> {
    let (full, rest) = (row / u64::from(TILE_WIDTH), (row % u64::from(TILE_WIDTH)) as u16);
    (0..full).map(|index| (index, TILE_WIDTH)).chain((rest > 0).then_some((full, rest)))
}

/// Writes `x001/x234/067` or, when partial, `x001/x234/067.p/12`.
struct IndexAndWidth(u64, u16);

impl fmt::Display for IndexAndWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(index, width) = *self;
        let groups = (1..7).rev().map(|position| 1000_u64.pow(position));
        for unit in groups.filter(|unit| index >= *unit) {
            write!(f, "x{:03}/", index / unit % 1000)?;
        }
        write!(f, "{:03}", index % 1000)?;
        if width < TILE_WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
    }
}

fn parse_index_and_width(text: &str) -> Option<(u64, u16)> {
    let (groups, width) = match text.split_once(".p/") {
        Some((groups, width)) => {
            (groups, decimal(width, u64::from(TILE_WIDTH) - 1).filter(|w| *w > 0)? as u16)
        }
        None => (text, TILE_WIDTH),
    };
    let mut index: u64 = 0;
    for group in groups.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let digits = Some(digits).filter(|d| d.len() == 3 && d.bytes().all(|b| b.is_ascii_digit()))?;
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    // Writing it again refuses what is left: prefixes in the wrong place and leading zero groups.
    (IndexAndWidth(index, width).to_string() == text).then_some((index, width))
}

/// A decimal number up to `limit` without sign or leading zeros.
fn decimal(text: &str, limit: u64) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number <= limit && number.to_string() == text).then_some(number)
}

fn shorten(text: &str) -> String {
    const LIMIT_CHARS: usize = 80;
    text.chars().take(LIMIT_CHARS).collect()
}

#[cfg(test)]
mod tests;
