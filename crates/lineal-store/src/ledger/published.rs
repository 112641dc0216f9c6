//! What clients of the log may read: the files of C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>), by their names.
//!
//! A client may still ask for a partial tile that a larger one has replaced. It is a prefix of the larger one, so it is
//! cut from that. What the checkpoint does not cover yet is not there, even if its file is: it may still be taken back.

use lineal_proof::tile::{self, HASH_BYTES};
use lineal_proof::{EntryBundleId, TileId};

use super::layout::{self, bundle_width, tile_width};
use super::witnessed::WITNESSED;
use super::{Ledger, LedgerError};

/// A file of the log, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// A signed note; a later one replaces it.
    Checkpoint(Vec<u8>),
    /// Hashes; never changes.
    Tile(Vec<u8>),
    /// Entries with their lengths; never changes, and compresses well.
    Entries(Vec<u8>),
}

impl Ledger {
    /// The file called `name`, for instance `checkpoint` or `tile/entries/000.p/9`; `None` for every name that the
    /// format does not know or the published checkpoint does not cover. One name is not the format's:
    /// `checkpoint.witnessed`, the latest checkpoint that witnesses cosigned.
    pub fn published(&self, name: &str) -> Result<Option<Published>, LedgerError> {
        if name == "checkpoint" {
            return Ok(self.head()?.map(|head| Published::Checkpoint(self.with_witnesses(head))));
        }
        if name == WITNESSED {
            return Ok(self.witnessed()?.map(|witnessed| Published::Checkpoint(witnessed.note)));
        }
        // A partial file of this size goes only after the full one that it is cut from is there.
        let size = || Ok::<_, LedgerError>(self.head()?.map_or(0, |head| head.size));
        if let Ok(id) = EntryBundleId::parse(name) {
            return Ok(self.entries_at(id, size()?)?.map(Published::Entries));
        }
        let Ok(id) = TileId::parse(name) else { return Ok(None) };
        Ok(self.tile_at(id, size()?)?.map(Published::Tile))
    }

    fn tile_at(&self, id: TileId, size: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let width = tile_width(id, size);
        if width < id.width {
            return Ok(None);
        }
        let whole = TileId { width, ..id };
        let mut bytes = self.read_tile(whole)?;
        tile::decode_tile(&bytes, width)
            .map_err(|source| LedgerError::Tile { path: self.layout.tile(whole), source })?;
        bytes.truncate(usize::from(id.width) * HASH_BYTES);
        Ok(Some(bytes))
    }

    fn entries_at(&self, id: EntryBundleId, size: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let width = bundle_width(id.index, size);
        if width < id.width {
            return Ok(None);
        }
        let whole = EntryBundleId { width, ..id };
        let path = self.layout.bundle(whole);
        let mut bytes = self.read_bundle(whole)?;
        tile::decode_bundle(&bytes, width).map_err(|source| LedgerError::Tile { path, source })?;
        let length = layout::cut_bundle(&bytes, id.width).map_or(0, <[u8]>::len);
        bytes.truncate(length);
        Ok(Some(bytes))
    }
}
