//! The ledger as a folder of C2SP tlog-tiles.
//!
//! * **Commit point**: the rename of `checkpoint`. Tiles and bundles are written and synced before it, under names
//!   that no published checkpoint uses, so a crash leaves either the old log or the new one.
//! * **Assumption**: whoever appends holds the store's lock.
//! * Published tiles are never changed. A partial tile that a larger one replaced is removed after publication.

mod published;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lineal_proof::checkpoint::CheckpointError;
use lineal_proof::leaf::LeafError;
use lineal_proof::tile::{self, TileError};
use lineal_proof::tree::{self, ProofError};
use lineal_proof::{Checkpoint, Edge, EntryBundleId, Hash, Leaf, LogSigner, TileId, VerifierKey};

pub use published::Published;

use crate::files::{self, Context, FileError};
use crate::keys::KnownLogKeys;

const CHECKPOINT_LIMIT_BYTES: u64 = 64 << 10;
const TILE_LIMIT_BYTES: u64 = 17 << 20;
const WIDTH: u64 = tile::TILE_WIDTH as u64;

/// The log below a folder.
#[derive(Debug, Clone)]
pub struct Ledger {
    root: PathBuf,
    keys: KnownLogKeys,
}

/// Called with each entry's position and bytes.
type Visitor<'a> = dyn FnMut(u64, &[u8]) -> Result<(), LedgerError> + 'a;
/// Makes the note of a checkpoint.
type Sign<'a> = dyn Fn(&Checkpoint) -> Result<Vec<u8>, CheckpointError> + 'a;
/// A file of the log and its content.
type Write = (PathBuf, Vec<u8>);

/// A verified checkpoint: size, root and the signed note itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
    /// The signed note, as published.
    pub note: Vec<u8>,
}

/// Why the ledger could not be read or appended to.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The checkpoint does not verify: changed, or signed by another key.
    #[error("ledger checkpoint `{}`", path.display())]
    Checkpoint {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: CheckpointError,
    },
    /// A file that the checkpoint covers is not there.
    #[error("ledger file `{}` is missing", .0.display())]
    Missing(PathBuf),
    /// A tile or bundle has the wrong form.
    #[error("ledger file `{}`", path.display())]
    Tile {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: TileError,
    },
    /// A leaf is not a hashedrekord.
    #[error("ledger entry {position}")]
    Leaf {
        /// Which.
        position: u64,
        /// The cause.
        source: LeafError,
    },
    /// The entries, tiles and checkpoint do not belong together.
    #[error("the ledger contradicts itself: {0}")]
    Contradiction(String),
    /// Beyond the end.
    #[error("the ledger has {size} entries; there is no entry {position}")]
    Range {
        /// Asked for.
        position: u64,
        /// Size.
        size: u64,
    },
    /// No proof of these sizes exists.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<TileError> for LedgerError {
    fn from(source: TileError) -> Self {
        Self::Tile { path: PathBuf::new(), source }
    }
}

impl Ledger {
    /// The log below `root`, whose checkpoints `keys` check: one verifier key, or the history of the log's keys.
    pub fn new(root: &Path, keys: impl Into<KnownLogKeys>) -> Self {
        Self { root: root.to_owned(), keys: keys.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The key that signs the next checkpoint, as last read.
    pub fn verifier(&self) -> VerifierKey {
        self.keys.get().current().clone()
    }

    /// The keys that checkpoints are checked with.
    pub fn log_keys(&self) -> &KnownLogKeys {
        &self.keys
    }

    /// The published checkpoint; `None` before the first append.
    pub fn head(&self) -> Result<Option<Head>, LedgerError> {
        let path = self.checkpoint_path();
        if !path.exists() {
            return Ok(None);
        }
        let note = files::read_limited(&path, CHECKPOINT_LIMIT_BYTES)?;
        let verified = self.keys.open(&note).map_err(|source| LedgerError::Checkpoint { path, source })?;
        let checkpoint = verified.value;
        Ok(Some(Head { size: checkpoint.size, root: checkpoint.root, note }))
    }

    /// The leaves `from..to` of a log of `size` entries.
    pub fn leaves(&self, from: u64, to: u64, size: u64) -> Result<Vec<Leaf>, LedgerError> {
        let mut leaves = Vec::new();
        self.for_each_entry(from, to, size, &mut |position, entry| {
            leaves.push(Leaf::from_bytes(entry).map_err(|source| LedgerError::Leaf { position, source })?);
            Ok(())
        })?;
        Ok(leaves)
    }

    /// One leaf of a log of `size` entries.
    pub fn leaf(&self, position: u64, size: u64) -> Result<Leaf, LedgerError> {
        let leaves = self.leaves(position, position + 1, size)?;
        leaves.into_iter().next().ok_or(LedgerError::Range { position, size })
    }

    /// The proof that entry `position` is in the log of `size` entries.
    pub fn inclusion_proof(&self, position: u64, size: u64) -> Result<Vec<Hash>, LedgerError> {
        tree::inclusion_proof(position, size, |level, index| self.subtree(size, level, index))
    }

    /// The proof that the log of `old` entries is a prefix of the log of `new` entries.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        tree::consistency_proof(old, new, |level, index| self.subtree(new, level, index))
    }

    /// The root over the first `old` entries of the log of `size` entries, from its tiles.
    pub fn root_at(&self, old: u64, size: u64) -> Result<Hash, LedgerError> {
        if old > size {
            return Err(LedgerError::Range { position: old, size });
        }
        tree::prefix_root(old, |level, index| self.subtree(size, level, index))
    }

    /// Appends `leaves` and publishes a checkpoint over everything. On error nothing was published, except when the
    /// disk lied about the last sync; the caller learns the truth from [`Ledger::head`].
    pub fn append(&self, signer: &LogSigner, leaves: &[Leaf]) -> Result<Head, LedgerError> {
        self.append_signed(leaves, &|checkpoint| signer.sign(checkpoint))
    }

    /// Appends the record of a new log key; the checkpoint is signed by the old key and the new one.
    pub fn append_hand_over(
        &self,
        (old, new): (&LogSigner, &LogSigner),
        record: Leaf,
    ) -> Result<Head, LedgerError> {
        self.append_signed(&[record], &|checkpoint| old.hand_over(new, checkpoint))
    }

    fn append_signed(&self, leaves: &[Leaf], sign: &Sign<'_>) -> Result<Head, LedgerError> {
        let head = self.head()?;
        let old_size = head.as_ref().map_or(0, |head| head.size);
        let mut edge = Edge::load(old_size, |id| self.read_tile(id))?;
        // A changed tile must never be signed over.
        if head.is_some_and(|head| head.root != edge.root()) {
            return Err(LedgerError::Contradiction(format!(
                "the tiles at the right edge do not have the root of the checkpoint at size {old_size}"
            )));
        }
        let entries: Vec<Vec<u8>> = leaves.iter().map(Leaf::to_bytes).collect();
        let hashes: Vec<Hash> = entries.iter().map(|e| tree::leaf_hash(e)).collect();
        let mut writes: Vec<Write> =
            edge.append(&hashes).into_iter().map(|w| (self.root.join(w.id.path()), w.bytes)).collect();
        writes.extend(self.bundle_writes(old_size, &entries)?);
        self.write_tiles(&writes)?;
        let value = Checkpoint::new(self.verifier().name(), edge.size(), edge.root());
        let note = sign(&value).map_err(|source| self.checkpoint_error(source))?;
        files::replace(&self.checkpoint_path(), &note)?;
        self.remove_replaced(old_size, edge.size());
        Ok(Head { size: edge.size(), root: edge.root(), note })
    }

    /// Re-derives everything from the entries: every tile, the root, the checkpoint. Returns the leaves' hashes.
    pub fn check(&self) -> Result<Option<Head>, LedgerError> {
        let Some(head) = self.head()? else { return Ok(None) };
        let mut edge = Edge::empty();
        let mut first = 0;
        while first < head.size {
            let last = (first + WIDTH).min(head.size);
            let mut hashes = Vec::new();
            self.for_each_entry(first, last, head.size, &mut |_, entry| {
                hashes.push(tree::leaf_hash(entry));
                Ok(())
            })?;
            for write in edge.append(&hashes) {
                // Partial tiles of levels above 0 appear on the way that the final log does not have.
                let final_width = tile_width(write.id, head.size);
                if write.id.width == final_width && self.read_tile(write.id)? != write.bytes {
                    let path = self.root.join(write.id.path());
                    return Err(LedgerError::Contradiction(format!(
                        "tile `{}` does not follow from the entries; one of the entries {first}..{last} or the tile was changed",
                        path.display()
                    )));
                }
            }
            first = last;
        }
        if edge.root() != head.root {
            return Err(LedgerError::Contradiction(format!(
                "the entries have the root {}, the checkpoint says {}",
                edge.root(),
                head.root
            )));
        }
        Ok(Some(head))
    }

    fn for_each_entry(
        &self,
        from: u64,
        to: u64,
        size: u64,
        visit: &mut Visitor<'_>,
    ) -> Result<(), LedgerError> {
        if to > size || from > to {
            return Err(LedgerError::Range { position: to.max(from).saturating_sub(1), size });
        }
        let mut index = from / WIDTH;
        while index * WIDTH < to {
            let width = bundle_width(index, size);
            let path = self.root.join(EntryBundleId { index, width }.path());
            let bytes = self.read(&path)?;
            let entries =
                tile::decode_bundle(&bytes, width).map_err(|source| LedgerError::Tile { path, source })?;
            for (position, entry) in (index * WIDTH..).zip(entries) {
                if (from..to).contains(&position) {
                    visit(position, entry)?;
                }
            }
            index += 1;
        }
        Ok(())
    }

    /// The bundles that `entries` after `old_size` fill or begin, with what the last partial one held.
    fn bundle_writes(
        &self,
        old_size: u64,
        entries: &[Vec<u8>],
    ) -> Result<Vec<(PathBuf, Vec<u8>)>, LedgerError> {
        let first_bundle = old_size / WIDTH;
        let mut all: Vec<Vec<u8>> = Vec::new();
        self.for_each_entry(first_bundle * WIDTH, old_size, old_size, &mut |_, entry| {
            all.push(entry.to_vec());
            Ok(())
        })?;
        all.extend_from_slice(entries);
        let mut writes = Vec::new();
        for (index, chunk) in (first_bundle..).zip(all.chunks(usize::from(tile::TILE_WIDTH))) {
            let slices: Vec<&[u8]> = chunk.iter().map(Vec::as_slice).collect();
            let width = u16::try_from(chunk.len()).unwrap_or(tile::TILE_WIDTH);
            let path = self.root.join(EntryBundleId { index, width }.path());
            let bytes = tile::encode_bundle(&slices)
                .map_err(|source| LedgerError::Tile { path: path.clone(), source })?;
            writes.push((path, bytes));
        }
        Ok(writes)
    }

    /// Writes what is not there yet and syncs it. Nothing published has these names with other bytes.
    fn write_tiles(&self, writes: &[Write]) -> Result<(), LedgerError> {
        let mut written = Vec::new();
        for (path, bytes) in writes {
            if fs::read(path).is_ok_and(|existing| existing == *bytes) {
                continue;
            }
            files::create_directory(files::parent(path))?;
            fs::write(path, bytes).context("write", path)?;
            written.push(path.clone());
        }
        files::sync_all(&written)?;
        Ok(())
    }

    /// Removes partial tiles that the new size has replaced. Failing to is harmless: they are valid, only superfluous.
    fn remove_replaced(&self, old_size: u64, new_size: u64) {
        for id in right_edge(old_size) {
            if id.is_partial() && tile_width(id, new_size) != id.width {
                let _ = fs::remove_file(self.root.join(id.path()));
            }
        }
        let bundle = EntryBundleId { index: old_size / WIDTH, width: (old_size % WIDTH) as u16 };
        if bundle.width > 0 && old_size != new_size {
            let _ = fs::remove_file(self.root.join(bundle.path()));
        }
    }

    fn subtree(&self, size: u64, level: u8, index: u64) -> Result<Hash, LedgerError> {
        tile::subtree_hash(size, level, index, |id| self.read_tile(id))
    }

    fn read_tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        self.read(&self.root.join(id.path()))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, LedgerError> {
        match files::read_limited(path, TILE_LIMIT_BYTES) {
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => {
                Err(LedgerError::Missing(path.to_owned()))
            }
            other => Ok(other?),
        }
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    fn checkpoint_error(&self, source: CheckpointError) -> LedgerError {
        LedgerError::Checkpoint { path: self.checkpoint_path(), source }
    }
}

/// The last tile of every level of a log of `size` entries.
fn right_edge(size: u64) -> Vec<TileId> {
    let mut edge = Vec::new();
    let (mut level, mut count) = (0, size);
    while count > 0 {
        let index = (count - 1) / WIDTH;
        let width = (count - index * WIDTH) as u16;
        edge.push(TileId { level, index, width });
        count /= WIDTH;
        level += 1;
    }
    edge
}

/// The width of the tile at `id`'s place in a log of `size` entries; 0 when there is none.
fn tile_width(id: TileId, size: u64) -> u16 {
    let count = (0..id.level).fold(size, |count, _| count / WIDTH);
    count.saturating_sub(id.index.saturating_mul(WIDTH)).min(WIDTH) as u16
}

fn bundle_width(index: u64, size: u64) -> u16 {
    tile_width(TileId { level: 0, index, width: 1 }, size)
}

#[cfg(test)]
mod tests;
