//! The store as a whole: open, repair, commit.

mod admission;
mod commit;
mod indexing;
mod log_end;
mod queue;
mod sick;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lineal_facts::error::chain;
use lineal_facts::json::JsonError;
use lineal_facts::predicate::{KeyRecord, KeyRole, KeyState};
use lineal_facts::sequence::SequenceError;
use lineal_facts::statement::{PAYLOAD_TYPE, Subject};
use lineal_facts::{Digest, Predicate, Statement, StatementError, Timestamp};
use lineal_proof::envelope;
use lineal_proof::key::SignError;
use lineal_proof::keyring::{Keyring, KeyringError};
use lineal_proof::{Leaf, Signer};

use crate::bucket::Bucket;
use crate::index::{Index, IndexError, IndexLocation};
use crate::keys::{KeyError, Keys, KnownLogKeys, SystemSigner};
use crate::ledger::{Head, Ledger, LedgerEntry, LedgerError, Writer};
use indexing::Indexing;
use lineal_blob::files::{self, Context, FileError};
use lineal_blob::{BlobError, BlobStore};
use log_end::LogEnd;
use queue::CommitQueue;

/// A half-written file that nobody touched for this long belongs to a dead process.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);
/// Holder of the keys of the system itself.
pub const SYSTEM_HOLDER: &str = "lineal";

/// All durable state below one folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    blobs: Arc<BlobStore>,
    ledger: Ledger,
    index: Index,
    keys: Keys,
    builder: Arc<SystemSigner>,
    /// The builder key in force, if another process replaced it since this store was opened. Locked for a moment only.
    successor: Arc<Mutex<Option<Arc<SystemSigner>>>>,
    queue: Arc<CommitQueue>,
    indexing: Arc<Indexing>,
    /// Why the index cannot be used, in a store that was opened to be checked only.
    index_trouble: Option<String>,
    /// What this process knows of the log's end. Used while holding the store's lock only.
    writer: Arc<Mutex<Writer>>,
}

/// A statement that is durable and in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Digest of the signed bytes.
    pub statement: Digest,
    /// Position in the ledger.
    pub position: u64,
}

/// Why the store could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store here.
    #[error("there is no Lineal project in `{}`; run `lineal init` there", .0.display())]
    Absent(PathBuf),
    /// There is one already.
    #[error("there is a Lineal project in `{}` already", .0.display())]
    Present(PathBuf),
    /// The bucket holds something already.
    #[error(
        "there is something in `{0}` already; name another prefix, or empty it if nothing in it is needed"
    )]
    Occupied(String),
    /// Other machines appended first, again and again.
    #[error(
        "not recorded, because other machines appended to the ledger first, {0} times in a row; try again"
    )]
    Overtaken(usize),
    /// A statement has no canonical bytes.
    #[error("a statement cannot be written: {0}")]
    Json(#[from] JsonError),
    /// A statement would not be read back.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The key refused to sign.
    #[error("a statement could not be signed: {0}")]
    Sign(#[from] SignError),
    /// The key does not count, or a key statement breaks the rules. Nothing was written.
    #[error("not recorded, because nobody would believe it: {0}")]
    Keyring(#[from] KeyringError),
    /// A statement is out of its place in its run or rollout. Nothing was written.
    #[error("not recorded, because the record would have a gap or a contradiction: {0}")]
    Sequence(#[from] SequenceError),
    /// Not in the ledger.
    #[error("statement {0} is not in the ledger")]
    UnknownStatement(Digest),
    /// It failed together with others that were written at the same time.
    #[error("{}", chain(.0))]
    Group(Arc<Self>),
    /// It is recorded for good; only the index does not have it yet.
    #[error("recorded in the ledger from entry {position} on, so do not repeat it; but the index is behind: {}", chain(.source))]
    Unindexed {
        /// Of the first statement of the group.
        position: u64,
        /// Why.
        source: Box<Self>,
    },
    /// The process that wrote the group was interrupted; the ledger tells whether it was published.
    #[error("the commit was interrupted; look in the ledger before you repeat it")]
    Interrupted,
    /// Blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The log.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Store {
    /// Makes a new, empty store in `root` with the keys of the system. The caller commits the key statements.
    pub async fn create(root: &Path, origin: &str) -> Result<Self, StoreError> {
        Self::create_with(root, origin, Keys::new(&root.join("keys"))).await
    }

    /// [`Store::create`] with these keys, which are in the folder `keys` below `root`.
    pub async fn create_with(root: &Path, origin: &str, keys: Keys) -> Result<Self, StoreError> {
        Self::create_in(root, origin, keys, None).await
    }

    /// [`Store::create_with`] whose blobs and ledger are in this bucket, where nothing may be yet.
    pub async fn create_in(
        root: &Path,
        origin: &str,
        keys: Keys,
        bucket: Option<Bucket>,
    ) -> Result<Self, StoreError> {
        if let Some(bucket) = &bucket
            && !bucket.is_empty()?
        {
            return Err(StoreError::Occupied(bucket.root().display().to_string()));
        }
        if root.join("log").exists() || root.join("keys").exists() {
            return Err(StoreError::Present(root.to_owned()));
        }
        files::create_directory(&root.join("log"))?;
        keys.create(SYSTEM_HOLDER, KeyRole::Builder)?;
        keys.create(SYSTEM_HOLDER, KeyRole::Router)?;
        keys.create_log_key(origin)?;
        Self::open_in(root, keys, &IndexLocation::File(root.join("index.db")), bucket).await
    }

    /// Opens the store in `root` and repairs what an interrupted process left behind.
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, Keys::new(&root.join("keys"))).await
    }

    /// [`Store::open`] with these keys, which are in the folder `keys` below `root`.
    pub async fn open_with(root: &Path, keys: Keys) -> Result<Self, StoreError> {
        Self::open_at(root, keys, &IndexLocation::File(root.join("index.db"))).await
    }

    /// [`Store::open_with`] whose index is in `location`.
    pub async fn open_at(root: &Path, keys: Keys, location: &IndexLocation) -> Result<Self, StoreError> {
        Self::open_in(root, keys, location, None).await
    }

    /// [`Store::open_at`] whose blobs and ledger are in this bucket; below `root` otherwise.
    pub async fn open_in(
        root: &Path,
        keys: Keys,
        location: &IndexLocation,
        bucket: Option<Bucket>,
    ) -> Result<Self, StoreError> {
        if !root.join("keys").is_dir() {
            return Err(StoreError::Absent(root.to_owned()));
        }
        if let Some(bucket) = &bucket {
            bucket.is_empty()?;
        }
        let ledger = ledger_of(root, keys.log_keys()?, bucket.as_ref());
        let blobs = Arc::new(BlobStore::cached(&root.join("blobs"), bucket.map(Bucket::remote))?);
        let index = Index::open(location, ledger.verifier().name()).await?;
        let writer = Arc::new(Mutex::new(Writer::default()));
        if let Some(cutoff) = SystemTime::now().checked_sub(ABANDONED_AFTER) {
            blobs.remove_abandoned(cutoff)?;
            for folder in [root, keys.folder()] {
                files::remove_unfinished(folder, cutoff)?;
            }
        }
        let end = LogEnd { ledger: ledger.clone(), keys: keys.clone(), writer: writer.clone() };
        repair(root, &end, &index).await?;
        let keyring = index.keyring().await?;
        let public = keyring.current(SYSTEM_HOLDER, KeyRole::Builder).map(|entry| entry.key.clone());
        let builder = Arc::new(SystemSigner::new(&keys, SYSTEM_HOLDER, public)?);
        let (root, successor) = (root.to_owned(), Arc::default());
        let (queue, indexing) = (Arc::default(), Arc::default());
        Ok(Self {
            root,
            blobs,
            ledger,
            index,
            keys,
            builder,
            successor,
            queue,
            indexing,
            index_trouble: None,
            writer,
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The blobs.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// The log.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Why the index cannot be used, if the store was opened to be checked only.
    pub fn index_trouble(&self) -> Option<&str> {
        self.index_trouble.as_deref()
    }

    /// Group commits that this store has written since it was opened: one record of the journal each.
    pub fn groups(&self) -> u64 {
        self.queue.groups.load(Ordering::Relaxed)
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The key of the system itself, as of the opening. [`Store::commit`] follows its rotation.
    pub fn builder(&self) -> &SystemSigner {
        &self.builder
    }

    /// The statement with this digest, from verified bytes.
    pub async fn statement(&self, digest: &Digest) -> Result<Statement, StoreError> {
        Ok(statement_of(&self.signed_bytes(digest).await?)?)
    }

    /// The bytes that were signed of the statement with this digest, verified.
    pub async fn signed_bytes(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let entry = self.index.entry(digest).await?.ok_or(StoreError::UnknownStatement(*digest))?;
        Ok(self.ledger.statement(entry.position, digest)?)
    }

    /// Empties the index and makes it again from the ledger.
    pub async fn rebuild_index(&self) -> Result<(), StoreError> {
        let _lock = lock(&self.root).await?;
        Ok(self.index.rebuild(&self.ledger).await?)
    }

    /// Replaces the key that signs checkpoints, and records that. The log keeps its name; the old key signs its last
    /// checkpoint together with the new one, and is gone when this returns.
    pub async fn rotate_log_key(&self, now: Timestamp) -> Result<Committed, StoreError> {
        let _lock = lock(&self.root).await?;
        let keyring = self.current_keyring().await?;
        self.settle_log_key(&keyring)?;
        let old = self.keys.load_log_key()?;
        let new = self.keys.create_next_log_key(old.verifier_key().name())?;
        let id = |hash: lineal_proof::Hash| Digest::from_bytes(*hash.as_bytes());
        let statement = Statement {
            subject: vec![Subject::new(format!("key/{}", new.verifier_key().name()), id(new.log_id()))],
            predicate: Predicate::Key(KeyRecord {
                holder: SYSTEM_HOLDER.to_owned(),
                role: KeyRole::Log,
                state: KeyState::Active,
                public_key: new.vkey(),
                replaces: Some(id(old.log_id())),
                reason: None,
                stated_at: now,
            }),
        };
        let entry = prepare(&statement, &*self.builder)?;
        let position = self.index.size().await?;
        keyring.clone().apply_statement(position, &entry.leaf.key.id(), &statement)?;
        let committed = Committed { statement: entry.leaf.data, position };
        // The checkpoint is signed by both keys, because the next one lies there.
        self.publish(vec![entry], position).await?;
        let keyring = self.current_keyring().await?;
        self.settle_log_key(&keyring)?;
        Ok(committed)
    }

    /// Makes blobs and `entries`, which are made for the place `position`, durable and publishes the checkpoint over
    /// them. The caller holds the lock.
    async fn publish(&self, entries: Vec<LedgerEntry>, position: u64) -> Result<Head, StoreError> {
        let (blobs, end) = (self.blobs.clone(), self.end());
        run_blocking(move || {
            blobs.sync()?;
            end.append(&entries, position)
        })
        .await
    }

    fn end(&self) -> LogEnd {
        LogEnd { ledger: self.ledger.clone(), keys: self.keys.clone(), writer: self.writer.clone() }
    }

    /// The keyring of the whole ledger. The caller holds the lock; another process may have appended before, or died
    /// while it did.
    async fn current_keyring(&self) -> Result<Keyring, StoreError> {
        self.repair_log().await?;
        self.index.catch_up(&self.ledger).await?;
        Ok(self.index.keyring().await?)
    }

    /// Finishes what a process that died began to append. The caller holds the lock.
    async fn repair_log(&self) -> Result<(), StoreError> {
        if self.ledger.needs_repair()? {
            let end = self.end();
            run_blocking(move || end.load()).await?;
        }
        Ok(())
    }

    /// Finishes the change of the log key that an interrupted process began: once it is recorded it is done, before it
    /// never was. The caller holds the lock.
    fn settle_log_key(&self, keyring: &Keyring) -> Result<(), StoreError> {
        let Some(next) = self.keys.next_log_key()? else { return Ok(()) };
        match keyring.log_keys().iter().find(|recorded| recorded.key == *next.verifier_key()) {
            Some(recorded) => self.keys.adopt_next_log_key(recorded.position + 1)?,
            None => self.keys.discard_next_log_key()?,
        }
        self.ledger.log_keys().reload()?;
        Ok(())
    }
}

/// The statement in signed bytes.
pub fn statement_of(pae: &[u8]) -> Result<Statement, StatementError> {
    let format = |reason: String| StatementError::Format(reason);
    let (payload_type, payload) = envelope::parse_pae(pae).map_err(|e| format(e.to_string()))?;
    if payload_type != PAYLOAD_TYPE {
        return Err(format(format!("payload type `{payload_type}`")));
    }
    Statement::from_bytes(payload)
}

/// Makes the signed bytes and the leaf.
fn prepare(statement: &Statement, signer: &dyn Signer) -> Result<LedgerEntry, StoreError> {
    let payload = statement.to_bytes()?;
    Statement::from_bytes(&payload)?;
    let pae = envelope::pae(PAYLOAD_TYPE, &payload);
    let signature = signer.sign(&pae)?;
    let leaf = Leaf { data: Digest::of(&pae), signature, key: signer.public_key().clone() };
    Ok(LedgerEntry { leaf, statement: pae })
}

/// Brings files, checkpoint and index to where the journal ends.
async fn repair(root: &Path, end: &LogEnd, index: &Index) -> Result<(), StoreError> {
    if end.ledger.needs_repair()? || !index.is_current(&end.ledger).await? {
        let _lock = lock(root).await?;
        if end.ledger.needs_repair()? {
            let end = end.clone();
            run_blocking(move || end.load()).await?;
        }
        index.catch_up(&end.ledger).await?;
    }
    Ok(())
}

/// The ledger in `bucket`, or else below `root`.
fn ledger_of(root: &Path, keys: KnownLogKeys, bucket: Option<&Bucket>) -> Ledger {
    match bucket {
        Some(bucket) => Ledger::in_bucket(bucket.clone(), root, keys),
        None => Ledger::new(root, keys),
    }
}

/// Waits for the right to append. The operating system releases it when the process dies.
async fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = File::create(&path).context("open", &path)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error).context("lock", &path)?,
    }
    let root = root.to_owned();
    run_blocking(move || wait_for_lock(&root)).await
}

fn wait_for_lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = File::create(&path).context("open", &path)?;
    file.lock().context("lock", &path)?;
    Ok(file)
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Interrupted)?
}

#[cfg(test)]
mod tests;
