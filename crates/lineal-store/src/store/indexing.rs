//! Who waits for rows: one of them projects, for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;
use crate::index::Index;
use crate::ledger::Ledger;

/// How far this process knows the index to reach, and the right to bring it further.
#[derive(Debug, Default)]
pub(super) struct Indexing {
    reached: AtomicU64,
    /// Attempts that have begun.
    begun: AtomicU64,
    turn: tokio::sync::Mutex<Failed>,
}

/// The last attempt, if it failed: its number, and why.
type Failed = Option<(u64, Arc<StoreError>)>;

impl Indexing {
    /// How many of the ledger's first `size` entries may have no rows yet.
    pub(super) fn behind(&self, size: u64) -> u64 {
        size.saturating_sub(self.reached.load(Ordering::Acquire))
    }

    /// Returns when the index has the ledger's first `size` entries, which are published. Those who wait at the same
    /// time share one projection, and its error.
    pub(super) async fn through(
        &self,
        size: u64,
        index: &Index,
        ledger: &Ledger,
    ) -> Result<(), Arc<StoreError>> {
        if self.behind(size) == 0 {
            return Ok(());
        }
        let arrived = self.begun.load(Ordering::Acquire);
        let mut failed = self.turn.lock().await;
        if self.behind(size) == 0 {
            return Ok(());
        }
        // An attempt that began after the entries were published would have made their rows too.
        if let Some((number, error)) = &*failed
            && *number > arrived
        {
            return Err(error.clone());
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        match index.catch_up(ledger).await {
            Ok(reached) => {
                self.reached.fetch_max(reached, Ordering::AcqRel);
                *failed = None;
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(StoreError::from(error));
                *failed = Some((number, error.clone()));
                Err(error)
            }
        }
    }
}
