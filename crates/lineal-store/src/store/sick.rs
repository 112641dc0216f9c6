//! Opening a store whose index is sick, or whose disk takes nothing.

use std::path::Path;
use std::sync::Arc;

use lineal_facts::error::chain;
use lineal_facts::predicate::KeyRole;

use super::{SYSTEM_HOLDER, Store, StoreError, ledger_of, lock};
use crate::bucket::Bucket;
use crate::index::{self, Index, IndexLocation};
use crate::keys::{Keys, SystemSigner};
use crate::ledger::{Ledger, LedgerError};
use lineal_blob::{BlobError, BlobStore};

impl Store {
    /// [`Store::open_in`] for who only checks. If the index cannot be used, or nothing can be written below `root`, the
    /// store is opened as it is, without repair: [`Store::index_trouble`] says what the index lacks.
    pub async fn open_to_check(
        root: &Path,
        keys: Keys,
        location: &IndexLocation,
        bucket: Option<Bucket>,
    ) -> Result<Self, StoreError> {
        match Self::open_in(root, keys.clone(), location, bucket.clone()).await {
            Err(
                error @ (StoreError::Index(_)
                | StoreError::File(_)
                | StoreError::Blob(BlobError::File(_))
                | StoreError::Ledger(LedgerError::File(_))),
            ) => Self::open_to_read(root, keys, location, bucket, &error).await,
            opened => opened,
        }
    }

    async fn open_to_read(
        root: &Path,
        keys: Keys,
        location: &IndexLocation,
        bucket: Option<Bucket>,
        error: &StoreError,
    ) -> Result<Self, StoreError> {
        let ledger = ledger_of(root, keys.log_keys()?, bucket.as_ref());
        let blobs = Arc::new(BlobStore::at(&root.join("blobs"), bucket.map(Bucket::remote)));
        // A checkpoint that was put back is found here; one that is behind the journal is what it is.
        ledger.needs_repair()?;
        let (index, index_trouble) = match location {
            IndexLocation::File(path) => match Index::open_to_read(path).await {
                Ok(index) => {
                    let trouble = trouble(&index, &ledger).await;
                    (index, trouble)
                }
                Err(error) => (Index::of_part(&[]).await?.0, Some(chain(&error))),
            },
            IndexLocation::Temporary | IndexLocation::Postgres(_) => {
                (Index::of_part(&[]).await?.0, Some(chain(error)))
            }
        };
        let keyring = index.keyring().await.unwrap_or_default();
        let current = keyring.current(SYSTEM_HOLDER, KeyRole::Builder).map(|entry| entry.key.clone());
        // Nothing is signed with it.
        let first = || ledger.leaf(0, ledger.head().ok()??.size).ok().map(|leaf| leaf.key);
        let builder = Arc::new(SystemSigner::new(&keys, SYSTEM_HOLDER, current.or_else(first))?);
        let (root, successor, writer) = (root.to_owned(), Arc::default(), Arc::default());
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
            index_trouble,
            writer,
        })
    }

    /// [`Store::open_in`] with an index that is made anew. A damaged file is replaced; processes that have it open must
    /// be started again.
    pub async fn open_rebuilt(
        root: &Path,
        keys: Keys,
        location: &IndexLocation,
        bucket: Option<Bucket>,
    ) -> Result<Self, StoreError> {
        let rebuilt = match Self::open_in(root, keys.clone(), location, bucket.clone()).await {
            Ok(store) => match store.rebuild_index().await {
                Ok(()) => return Ok(store),
                Err(error) => {
                    store.index.close().await;
                    Err(error)
                }
            },
            Err(error) => Err(error),
        };
        match (rebuilt, location) {
            (Err(StoreError::Index(error)), IndexLocation::File(path)) if error.is_damaged() => {
                let lock = lock(root).await?;
                index::remove_file(path)?;
                drop(lock);
                Self::open_in(root, keys, location, bucket).await
            }
            (rebuilt, _) => rebuilt,
        }
    }
}

/// Why the index, as it can be read, is not the ledger's. A checkpoint that cannot be read is another trouble.
async fn trouble(index: &Index, ledger: &Ledger) -> Option<String> {
    let head = ledger.head().ok()??;
    match index.covers(&head).await {
        Ok(true) => None,
        Ok(false) => Some("it does not reach the ledger's end".to_owned()),
        Err(error) => Some(chain(&error)),
    }
}
