//! Commits that wait to be written together.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineal_facts::Statement;
use tokio::sync::oneshot;

use super::StoreError;
use super::admission::Admission;
use crate::ledger::LedgerEntry;

/// Most statements in one group commit; more wait for the next one.
const GROUP_LIMIT: usize = 4096;

/// Commits that wait to be grouped. Whoever holds `leader` writes for everyone in `waiting`.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    /// Short critical sections only, never across an await.
    pub(super) waiting: Mutex<VecDeque<Waiting>>,
    /// With what the last leader knew of the ledger's end.
    pub(super) leader: tokio::sync::Mutex<Option<Admission>>,
    /// Groups that were written.
    pub(super) groups: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entries: Vec<LedgerEntry>,
    /// What the entries are about.
    pub(super) statements: Vec<Statement>,
    pub(super) answer: oneshot::Sender<Result<u64, Arc<StoreError>>>,
}

impl CommitQueue {
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_group(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        let mut group = Vec::new();
        let mut count = 0;
        while let Some(next) = waiting.front() {
            if count > 0 && count + next.entries.len() > GROUP_LIMIT {
                break;
            }
            count += next.entries.len();
            group.extend(waiting.pop_front());
        }
        group
    }
}
