//! The ledger as folders: C2SP tlog-tiles, and the signed statements that the entries are about.
//!
//! * **Commit point**: the synced record in the [journal](crate::journal). Tiles, bundles, statements and the
//!   checkpoint follow from it ([`Writer`]); a crash leaves either the old log or the new one.
//! * **Assumption**: whoever appends holds the store's lock.
//! * A published tile is never changed. A partial one goes when the full one that replaces it is durable; until then,
//!   and after it, readers get it cut from the larger one.

mod check;
mod layout;
mod proven;
mod published;
mod witnessed;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineal_facts::Digest;
use lineal_proof::checkpoint::CheckpointError;
use lineal_proof::leaf::LeafError;
use lineal_proof::tile::{self, TileError};
use lineal_proof::tree::{self, ProofError};
use lineal_proof::{Checkpoint, EntryBundleId, Hash, KeyChain, Leaf, LeafReader, TileId, VerifierKey};

use self::layout::{Layout, WIDTH};
use crate::bucket::Bucket;
use crate::disk::{Disk, FileSystem};
use crate::journal::{Journal, JournalError, JournalLimits};
use crate::keys::KnownLogKeys;
use lineal_blob::files::FileError;

pub use check::{CheckedEntry, FINDING_LIMIT, Finding, FindingKind, LogCheck, WholeCheck};
pub use published::Published;
pub use witnessed::Publication;
pub use writer::{LedgerEntry, Tidying, Writer};

const CHECKPOINT_LIMIT_BYTES: u64 = 64 << 10;
/// Largest bundle is 16 MiB and a bit; a pack of statements is bounded by the same.
const TILE_LIMIT_BYTES: u64 = 1 << 30;
/// Names this start of the machine.
const BOOT_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The log below a folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    layout: Layout,
    /// A folder of this machine.
    local: PathBuf,
    keys: KnownLogKeys,
    journal: Journal,
    disk: Arc<dyn Disk>,
    /// This start of the machine; empty when it is not known.
    boot: String,
}

/// Called with each entry's position and bytes.
type Visitor<'a> = dyn FnMut(u64, &[u8]) -> Result<(), LedgerError> + 'a;

/// Makes the note of a checkpoint.
pub type Sign<'a> = dyn Fn(&Checkpoint) -> Result<Vec<u8>, CheckpointError> + 'a;

/// A verified checkpoint: size, root and the signed note itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
    /// What it says about the key statements; `None` of a ledger whose first build did not say it.
    pub keys: Option<KeyChain>,
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
    /// The statement of an entry is not there: lost or erased.
    #[error("the statement of ledger entry {position} is missing")]
    StatementMissing {
        /// Which.
        position: u64,
    },
    /// The statement of an entry is not the one that was signed.
    #[error("the statement of ledger entry {position} is damaged: `{}` holds {found} where {expected} was signed", path.display())]
    StatementDamaged {
        /// Which.
        position: u64,
        /// What was signed.
        expected: Digest,
        /// What is there.
        found: Digest,
        /// Where.
        path: PathBuf,
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
    /// The journal is damaged or could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
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
    /// The ledger below `root`, whose checkpoints `keys` check: one verifier key, or the history of the log's keys.
    pub fn new(root: &Path, keys: impl Into<KnownLogKeys>) -> Self {
        let boot = std::fs::read_to_string(BOOT_PATH).unwrap_or_default().trim().to_owned();
        Self::on(Arc::new(FileSystem), root, keys.into(), boot, JournalLimits::default())
    }

    /// The ledger in `bucket`. What only this machine needs to know is below `root`.
    pub fn in_bucket(bucket: Bucket, root: &Path, keys: impl Into<KnownLogKeys>) -> Self {
        let place = bucket.root().to_owned();
        let limits = JournalLimits::default();
        let mut ledger = Self::on(Arc::new(bucket), &place, keys.into(), String::new(), limits);
        ledger.local = root.to_owned();
        ledger
    }

    /// The ledger below `root` of `disk`; `boot` names the start of the machine that the disk belongs to.
    pub(crate) fn on(
        disk: Arc<dyn Disk>,
        root: &Path,
        keys: KnownLogKeys,
        boot: String,
        limits: JournalLimits,
    ) -> Self {
        let layout = Layout::below(root);
        let journal = Journal::new(&layout.journal, disk.clone(), limits);
        Self { layout, local: root.to_owned(), keys, journal, disk, boot }
    }

    /// Whether other machines may append at the same time.
    pub fn is_shared(&self) -> bool {
        self.disk.bucket().is_some()
    }

    /// The folder of the tlog-tiles files; in a bucket its name.
    pub fn root(&self) -> &Path {
        &self.layout.log
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
        let path = self.layout.checkpoint();
        let Some(note) = self.disk.read(&path, CHECKPOINT_LIMIT_BYTES)? else { return Ok(None) };
        self.opened(note, path).map(Some)
    }

    /// What the note found in `path` says, if a key of this log signed it.
    fn opened(&self, note: Vec<u8>, path: PathBuf) -> Result<Head, LedgerError> {
        let opened = self.keys.open(&note).and_then(|opened| Ok((KeyChain::of(&opened)?, opened.value)));
        let (keys, checkpoint) = opened.map_err(|source| LedgerError::Checkpoint { path, source })?;
        Ok(Head { size: checkpoint.size, root: checkpoint.root, keys, note })
    }

    /// The leaves `from..to` of a log of `size` entries.
    pub fn leaves(&self, from: u64, to: u64, size: u64) -> Result<Vec<Leaf>, LedgerError> {
        let (mut leaves, mut reader) = (Vec::new(), LeafReader::default());
        self.for_each_entry(from, to, size, &mut |position, entry| {
            leaves.push(reader.read(entry).map_err(|source| LedgerError::Leaf { position, source })?);
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

    /// The signed bytes of entry `position`, whose leaf says `expected`.
    pub fn statement(&self, position: u64, expected: &Digest) -> Result<Vec<u8>, LedgerError> {
        let mut found = Vec::new();
        self.for_each_statement(position, position + 1, &mut |_, statement| {
            found = statement.to_vec();
            Ok(())
        })?;
        self.check_statement(position, expected, &found)?;
        Ok(found)
    }

    /// Calls `visit` with the position and bytes of every statement in `from..to`, not compared with their leaves. One
    /// that was erased or lost is empty.
    pub fn for_each_statement(&self, from: u64, to: u64, visit: &mut Visitor<'_>) -> Result<(), LedgerError> {
        let mut position = from;
        while position < to {
            let index = position / WIDTH;
            let pack = self.disk.read(&self.layout.pack(index), TILE_LIMIT_BYTES)?.unwrap_or_default();
            let statements = layout::decode_pack(&pack);
            let until = ((index + 1) * WIDTH).min(to);
            for position in position..until {
                let statement = statements.get((position % WIDTH) as usize);
                visit(position, statement.copied().unwrap_or_default())?;
            }
            position = until;
        }
        Ok(())
    }

    /// Refuses bytes that are not the signed ones of entry `position`.
    pub fn check_statement(
        &self,
        position: u64,
        expected: &Digest,
        statement: &[u8],
    ) -> Result<(), LedgerError> {
        let found = Digest::of(statement);
        if found == *expected {
            return Ok(());
        }
        if statement.is_empty() {
            return Err(LedgerError::StatementMissing { position });
        }
        let path = self.layout.pack(position / WIDTH);
        Err(LedgerError::StatementDamaged { position, expected: *expected, found, path })
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
            let width = layout::bundle_width(index, size);
            let id = EntryBundleId { index, width };
            let path = self.layout.bundle(id);
            let bytes = self.read_bundle(id)?;
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

    fn subtree(&self, size: u64, level: u8, index: u64) -> Result<Hash, LedgerError> {
        tile::subtree_hash(size, level, index, |id| self.read_tile(id))
    }

    /// A tile's bytes. One that a larger one has replaced is cut from it.
    pub fn read_tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        self.read(&self.layout.tile(id), id.width, layout::cut_tile)
    }

    /// A bundle's bytes. One that a larger one has replaced is cut from it.
    pub fn read_bundle(&self, id: EntryBundleId) -> Result<Vec<u8>, LedgerError> {
        self.read(&self.layout.bundle(id), id.width, layout::cut_bundle)
    }

    fn read(
        &self,
        path: &Path,
        width: u16,
        cut: fn(&[u8], u16) -> Option<&[u8]>,
    ) -> Result<Vec<u8>, LedgerError> {
        if let Some(bytes) = self.disk.read(path, TILE_LIMIT_BYTES)? {
            return Ok(bytes);
        }
        let missing = || LedgerError::Missing(path.to_owned());
        if width == tile::TILE_WIDTH {
            return Err(missing());
        }
        // `.../000.p/12` begins `.../000`.
        let full = path.parent().ok_or_else(missing)?.with_extension("");
        let bytes = self.disk.read(&full, TILE_LIMIT_BYTES)?.ok_or_else(missing)?;
        cut(&bytes, width).map(<[u8]>::to_vec).ok_or_else(missing)
    }

    fn checkpoint_error(&self, source: CheckpointError) -> LedgerError {
        LedgerError::Checkpoint { path: self.layout.checkpoint(), source }
    }
}

#[cfg(test)]
mod tests;
