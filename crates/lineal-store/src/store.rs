//! The store as a whole: open, repair, commit.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use lineal_facts::json::JsonError;
use lineal_facts::predicate::KeyRole;
use lineal_facts::statement::PAYLOAD_TYPE;
use lineal_facts::{Digest, Statement, StatementError};
use lineal_proof::envelope;
use lineal_proof::key::SignError;
use lineal_proof::{Leaf, Signer};
use tokio::sync::oneshot;

use crate::blob::{BlobError, BlobStore};
use crate::files::{self, Context, FileError};
use crate::index::{Index, IndexError};
use crate::keys::{FileSigner, KeyError, Keys};
use crate::ledger::{Head, Ledger, LedgerError};

/// Most statements in one group commit; more wait for the next one.
const GROUP_LIMIT: usize = 4096;
/// A half-written blob that nobody touched for this long belongs to a dead process.
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
    builder: Arc<FileSigner>,
    queue: Arc<CommitQueue>,
}

/// Commits that wait to be grouped. Whoever holds `leader` writes for everyone in `waiting`.
#[derive(Debug, Default)]
struct CommitQueue {
    /// Short critical sections only, never across an await.
    waiting: Mutex<VecDeque<Waiting>>,
    leader: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    leaves: Vec<Leaf>,
    answer: oneshot::Sender<Result<u64, Arc<StoreError>>>,
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
    /// A statement has no canonical bytes.
    #[error("a statement cannot be written: {0}")]
    Json(#[from] JsonError),
    /// A statement would not be read back.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The key refused to sign.
    #[error("a statement could not be signed: {0}")]
    Sign(#[from] SignError),
    /// Another commit of the same group failed, and this one with it.
    #[error("the group commit failed: {0}")]
    Group(Arc<Self>),
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
        if root.join("log").exists() || root.join("keys").exists() {
            return Err(StoreError::Present(root.to_owned()));
        }
        files::create_directory(&root.join("log"))?;
        let keys = Keys::new(&root.join("keys"));
        keys.create(SYSTEM_HOLDER, KeyRole::Builder)?;
        keys.create(SYSTEM_HOLDER, KeyRole::Router)?;
        keys.create_log_key(origin)?;
        Self::open(root).await
    }

    /// Opens the store in `root` and repairs what an interrupted process left behind.
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        if !root.join("keys").is_dir() {
            return Err(StoreError::Absent(root.to_owned()));
        }
        let blobs = BlobStore::open(&root.join("blobs"))?;
        let keys = Keys::new(&root.join("keys"));
        let ledger = Ledger::new(&root.join("log"), keys.log_verifier()?);
        let builder = Arc::new(keys.load(SYSTEM_HOLDER, KeyRole::Builder)?);
        let index = Index::open(&root.join("index.db")).await?;
        let queue = Arc::default();
        let store =
            Self { root: root.to_owned(), blobs: Arc::new(blobs), ledger, index, keys, builder, queue };
        store.repair().await?;
        Ok(store)
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

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The key of the system itself.
    pub fn builder(&self) -> &FileSigner {
        &self.builder
    }

    /// Signs `statements` with `signer` and appends them, in order and in one checkpoint. When this returns, they and
    /// every blob put before are durable and indexed. Concurrent calls share one group commit.
    pub async fn commit(
        &self,
        statements: &[Statement],
        signer: &dyn Signer,
    ) -> Result<Vec<Committed>, StoreError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let leaves = statements.iter().map(|s| self.prepare(s, signer)).collect::<Result<Vec<_>, _>>()?;
        let digests: Vec<Digest> = leaves.iter().map(|leaf| leaf.data).collect();
        let (answer, mut receive) = oneshot::channel();
        self.queue.lock().push_back(Waiting { leaves, answer });
        let answered = {
            let _leader = self.queue.leader.lock().await;
            // Whoever was written by an earlier leader must not lead: it would write a group of the few who came
            // since, and the groups would never grow.
            loop {
                match receive.try_recv() {
                    Ok(answered) => break answered,
                    Err(oneshot::error::TryRecvError::Closed) => return Err(StoreError::Interrupted),
                    Err(oneshot::error::TryRecvError::Empty) => {
                        self.write_group(self.queue.take_group()).await;
                    }
                }
            }
        };
        let first = answered.map_err(StoreError::Group)?;
        Ok((first..).zip(digests).map(|(position, statement)| Committed { statement, position }).collect())
    }

    /// The statement with this digest, from verified bytes.
    pub fn statement(&self, digest: &Digest) -> Result<Statement, StoreError> {
        let pae = self.blobs.read(digest)?;
        let (_, payload) = envelope::parse_pae(&pae).map_err(|e| StatementError::Format(e.to_string()))?;
        Ok(Statement::from_bytes(payload)?)
    }

    /// Empties the index and makes it again from ledger and blobs.
    pub async fn rebuild_index(&self) -> Result<(), StoreError> {
        let _lock = self.lock().await?;
        Ok(self.index.rebuild(&self.ledger, &self.blobs).await?)
    }

    /// Stores the signed bytes and makes the leaf.
    fn prepare(&self, statement: &Statement, signer: &dyn Signer) -> Result<Leaf, StoreError> {
        let payload = statement.to_bytes()?;
        Statement::from_bytes(&payload)?;
        let pae = envelope::pae(PAYLOAD_TYPE, &payload);
        let signature = signer.sign(&pae)?;
        let data = self.blobs.put(&pae)?;
        Ok(Leaf { data, signature, key: signer.public_key().clone() })
    }

    async fn write_group(&self, group: Vec<Waiting>) {
        let leaves: Vec<Leaf> = group.iter().flat_map(|w| w.leaves.iter().cloned()).collect();
        match self.write(leaves).await {
            Ok(mut position) => {
                for waiting in group {
                    let first = position;
                    position += waiting.leaves.len() as u64;
                    // A caller that went away needs no answer.
                    let _ = waiting.answer.send(Ok(first));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for waiting in group {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Syncs, publishes, indexes. Returns the position of the first leaf.
    async fn write(&self, leaves: Vec<Leaf>) -> Result<u64, StoreError> {
        let lock = self.lock().await?;
        let count = leaves.len() as u64;
        let (blobs, ledger, keys) = (self.blobs.clone(), self.ledger.clone(), self.keys.clone());
        let head = run_blocking(move || {
            blobs.sync()?;
            Ok::<Head, StoreError>(ledger.append(&keys.load_log_key()?, &leaves)?)
        })
        .await?;
        self.index.catch_up(&self.ledger, &self.blobs).await?;
        drop(lock);
        Ok(head.size - count)
    }

    /// Brings the index up to date and removes files that writers abandoned long ago.
    async fn repair(&self) -> Result<(), StoreError> {
        if let Some(cutoff) = SystemTime::now().checked_sub(ABANDONED_AFTER) {
            self.blobs.remove_abandoned(cutoff)?;
        }
        if self.index.size().await? != self.ledger.head()?.map_or(0, |head| head.size) {
            let _lock = self.lock().await?;
            self.index.catch_up(&self.ledger, &self.blobs).await?;
        }
        Ok(())
    }

    /// Waits for the right to append. The operating system releases it when the process dies.
    async fn lock(&self) -> Result<File, StoreError> {
        let path = self.lock_path();
        run_blocking(move || {
            let file = File::create(&path).context("open", &path)?;
            file.lock().context("lock", &path)?;
            Ok(file)
        })
        .await
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }
}

impl CommitQueue {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_group(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        let mut group = Vec::new();
        let mut count = 0;
        while let Some(next) = waiting.front() {
            if count > 0 && count + next.leaves.len() > GROUP_LIMIT {
                break;
            }
            count += next.leaves.len();
            group.extend(waiting.pop_front());
        }
        group
    }
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Interrupted)?
}

#[cfg(test)]
mod tests;
