//! Commits: signed by their callers, written in groups by one of them, then indexed together.
//!
//! 1. A caller signs its statements and puts them into the queue.
//! 2. Whoever gets the lead writes everything that waits: admission, one record in the journal, files, checkpoint. What
//!    admission needs of the ledger's end is kept from group to group, because the index may be behind.
//! 3. The first who waits for rows brings the index to the log's end, for all who wait (`indexing`). It keeps the lead
//!    meanwhile, so that the next group is a large one: each costs a transaction of the index. Where nobody waits, the
//!    next group is written at once, and one projection makes the rows of many.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use lineal_facts::predicate::KeyRole;
use lineal_facts::{Digest, Statement};
use lineal_proof::Signer;
use lineal_proof::keyring::KeyringError;
use tokio::sync::oneshot;

use super::admission::Admission;
use super::queue::Waiting;
use super::{Committed, SYSTEM_HOLDER, Store, StoreError, lock, prepare};
use crate::journal::JournalError;
use crate::keys::SystemSigner;
use crate::ledger::LedgerError;

/// When rows of the index must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Before the answer.
    First,
    /// Whenever.
    Later,
}

/// How often a group is tried again because other machines appended first.
const OVERTAKEN_LIMIT: usize = 32;
/// How many entries the index may be behind the log before [`Store::append`] waits for it.
const BEHIND_LIMIT: u64 = 4096;

impl Store {
    /// [`Store::append`], and waits until the statements are indexed: whoever reads the index afterwards, in this
    /// process or another one, sees their rows.
    pub async fn commit(
        &self,
        statements: &[Statement],
        signer: &dyn Signer,
    ) -> Result<Vec<Committed>, StoreError> {
        self.append_by_current(statements, signer, Rows::First).await
    }

    /// Signs `statements` with `signer` and appends them, in order and in one checkpoint. When this returns, they and
    /// every blob put before are durable and published; their rows follow soon. Concurrent calls share one group.
    ///
    /// What the keyring would not let count is refused and not written: a key that is unknown, revoked or of another
    /// role, a key statement that breaks the rules. So is a statement that does not follow the last one of its run or
    /// rollout.
    pub async fn append(
        &self,
        statements: &[Statement],
        signer: &dyn Signer,
    ) -> Result<Vec<Committed>, StoreError> {
        let committed = self.append_by_current(statements, signer, Rows::Later).await?;
        let end = committed.last().map_or(0, |last| last.position + 1);
        if self.indexing.behind(end) > BEHIND_LIMIT {
            self.wait_for_rows(&committed).await?;
        } else {
            let store = self.clone();
            // An error is met again by the next one who needs the rows.
            tokio::spawn(async move { store.indexing.through(end, &store.index, &store.ledger).await });
        }
        Ok(committed)
    }

    /// Returns when the index has everything that is in the ledger now.
    pub async fn indexed(&self) -> Result<(), StoreError> {
        let size = self.ledger.head()?.map_or(0, |head| head.size);
        self.indexing.through(size, &self.index, &self.ledger).await.map_err(StoreError::Group)
    }

    async fn wait_for_rows(&self, committed: &[Committed]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (committed.first(), committed.last()) else { return Ok(()) };
        let indexed = self.indexing.through(last.position + 1, &self.index, &self.ledger).await;
        indexed.map_err(|source| StoreError::Unindexed {
            position: first.position,
            source: Box::new(StoreError::Group(source)),
        })
    }

    /// Appends with `signer`, or with the builder key in force where `signer` is the builder.
    async fn append_by_current(
        &self,
        statements: &[Statement],
        signer: &dyn Signer,
        rows: Rows,
    ) -> Result<Vec<Committed>, StoreError> {
        // Only who passes `builder()` means the system, whatever its key is; another signer means itself.
        if !std::ptr::addr_eq(std::ptr::from_ref(signer), Arc::as_ptr(&self.builder)) {
            return self.append_by(statements, signer, rows).await;
        }
        let successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let builder = successor.unwrap_or_else(|| self.builder.clone());
        let refused = match self.append_by(statements, &*builder, rows).await {
            Err(error) if is_revoked(&error, &builder.public_key().id()) => error,
            done => return done,
        };
        // Another process may have replaced the key since this one started.
        self.index.catch_up(&self.ledger).await?;
        let keyring = self.index.keyring().await?;
        match keyring.current(SYSTEM_HOLDER, KeyRole::Builder) {
            Some(entry) if entry.key != *builder.public_key() => {
                let next = SystemSigner::new(&self.keys, SYSTEM_HOLDER, Some(entry.key.clone()))?;
                let next = Arc::new(next);
                *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(next.clone());
                self.append_by(statements, &*next, rows).await
            }
            Some(_) | None => Err(refused),
        }
    }

    async fn append_by(
        &self,
        statements: &[Statement],
        signer: &dyn Signer,
        rows: Rows,
    ) -> Result<Vec<Committed>, StoreError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let prepare_all = || statements.iter().map(|s| prepare(s, signer)).collect::<Result<Vec<_>, _>>();
        let entries = if signer.waits() { off_the_loop(prepare_all)? } else { prepare_all()? };
        let digests: Vec<Digest> = entries.iter().map(|entry| entry.leaf.data).collect();
        let (answer, mut receive) = oneshot::channel();
        self.queue.lock().push_back(Waiting { entries, statements: statements.to_vec(), answer });
        let mut known = self.queue.leader.lock().await;
        // Whoever was written by an earlier leader must not lead: it would write a group of the few who came since, and
        // the groups would never grow.
        let answered = loop {
            match receive.try_recv() {
                Ok(answered) => break answered,
                Err(oneshot::error::TryRecvError::Closed) => return Err(StoreError::Interrupted),
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.write_group(self.queue.take_group(), &mut known).await;
                }
            }
        };
        let first = answered.map_err(StoreError::Group)?;
        let place = |(position, statement)| Committed { statement, position };
        let committed: Vec<_> = (first..).zip(digests).map(place).collect();
        if rows == Rows::First {
            self.wait_for_rows(&committed).await?;
        }
        Ok(committed)
    }

    async fn write_group(&self, mut group: Vec<Waiting>, known: &mut Option<Admission>) {
        match self.write(&mut group, known).await {
            Ok(mut position) => {
                self.queue.groups.fetch_add(u64::from(!group.is_empty()), Ordering::Relaxed);
                for waiting in group {
                    let first = position;
                    position += waiting.statements.len() as u64;
                    // A caller that went away needs no answer.
                    let _ = waiting.answer.send(Ok(first));
                }
                self.end().tidy(&self.root);
            }
            Err(error) => {
                let error = Arc::new(error);
                for waiting in group {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Syncs and publishes what is admitted of the group; answers the others and takes them out. Returns the position
    /// of the first leaf. What is `known` of the ledger's end is forgotten on any error.
    async fn write(
        &self,
        group: &mut Vec<Waiting>,
        known: &mut Option<Admission>,
    ) -> Result<u64, StoreError> {
        let _lock = lock(&self.root).await?;
        for _ in 0..OVERTAKEN_LIMIT {
            let mut admission = self.admission(known.take()).await?;
            let first = admission.size();
            self.admit(group, &mut admission).await?;
            if group.is_empty() {
                *known = Some(admission);
                return Ok(first);
            }
            // On another try they are needed again.
            let shared = self.ledger.is_shared();
            let take = |waiting: &mut Waiting| {
                if shared { waiting.entries.clone() } else { std::mem::take(&mut waiting.entries) }
            };
            let entries = group.iter_mut().flat_map(take).collect();
            let head = match self.publish(entries, first).await {
                Err(StoreError::Ledger(LedgerError::Journal(JournalError::Overtaken))) if shared => continue,
                head => head?,
            };
            admission.publish(&head);
            *known = Some(admission);
            return Ok(first);
        }
        Err(StoreError::Overtaken(OVERTAKEN_LIMIT))
    }

    /// What admission needs at the ledger's end: what is `known`, if nobody else has appended since. The caller holds
    /// the lock.
    async fn admission(&self, known: Option<Admission>) -> Result<Admission, StoreError> {
        self.repair_log().await?;
        let head = self.ledger.head()?;
        let admission = match known.filter(|known| known.is_at(head.as_ref())) {
            Some(known) => known,
            None => {
                self.index.catch_up(&self.ledger).await?;
                Admission::at(head.as_ref(), self.index.keyring().await?)
            }
        };
        self.settle_log_key(admission.keyring())?;
        Ok(admission)
    }

    /// Answers those whose statements would not count, and takes them out.
    async fn admit(&self, group: &mut Vec<Waiting>, admission: &mut Admission) -> Result<(), StoreError> {
        if admission.is_full() {
            let reached = self.indexing.through(admission.size(), &self.index, &self.ledger).await;
            reached.map_err(StoreError::Group)?;
            admission.forget_series();
        }
        let statements = group.iter().flat_map(|waiting| &waiting.statements);
        admission.load_series(&self.index, statements).await?;
        for waiting in std::mem::take(group) {
            match admission.admit(&waiting.entries, &waiting.statements) {
                Ok(()) => group.push(waiting),
                Err(error) => {
                    let _ = waiting.answer.send(Err(Arc::new(error)));
                }
            }
        }
        Ok(())
    }
}

/// Whether a commit was refused because this key was revoked.
fn is_revoked(error: &StoreError, key: &Digest) -> bool {
    match error {
        StoreError::Group(inner) => is_revoked(inner, key),
        StoreError::Keyring(KeyringError::Revoked { key: revoked, .. }) => revoked == key,
        _ => false,
    }
}

/// Runs work that waits for a token, where it may, without holding up the other tasks of this thread.
fn off_the_loop<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
