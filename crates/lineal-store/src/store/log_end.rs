//! Moving the end of the log: appends, repair and tidying up, with the keys that sign.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{StoreError, wait_for_lock};
use crate::keys::Keys;
use crate::ledger::{Head, Ledger, LedgerEntry, LedgerError, Sign, Writer};

/// The end of the log, and what it takes to move it.
#[derive(Clone)]
pub(super) struct LogEnd {
    pub(super) ledger: Ledger,
    pub(super) keys: Keys,
    pub(super) writer: Arc<Mutex<Writer>>,
}

impl LogEnd {
    pub(super) fn append(&self, entries: &[LedgerEntry], position: u64) -> Result<Head, StoreError> {
        self.with_signers(|writer, sign| writer.append_at(&self.ledger, sign, entries, Some(position)))
    }

    /// Removes, when there is enough of it, what the log needs no more. In the background: it waits for the disk.
    pub(super) fn tidy(self, root: &Path) {
        let begun = self.writer().begin_tidying(&self.ledger);
        // An error is one of reading the journal's folder: the next append meets it.
        let Ok(Some(tidying)) = begun else { return };
        let root = root.to_owned();
        tokio::task::spawn_blocking(move || {
            let synced = tidying.sync(&self.ledger);
            let _lock = wait_for_lock(&root)?;
            // After an error the journal is kept and the next append begins with a repair.
            Ok::<_, StoreError>(self.writer().remove(&self.ledger, tidying, synced)?)
        });
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn load(&self) -> Result<(), StoreError> {
        self.with_signers(|writer, sign| writer.load(&self.ledger, sign))
    }

    /// While a next log key lies there, both sign: it may be the one that the entry introduces.
    fn with_signers<T>(
        &self,
        act: impl FnOnce(&mut Writer, &Sign<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, StoreError> {
        let (current, next) = (self.keys.load_log_key()?, self.keys.next_log_key()?);
        Ok(act(&mut self.writer(), &|checkpoint| match &next {
            Some(next) => current.hand_over(next, checkpoint),
            None => current.sign(checkpoint),
        })?)
    }
}
