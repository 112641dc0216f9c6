//! The statements of one run on their way into the ledger.
//!
//! They are numbered when they are made and committed in that order by one task, so that the next step need not wait
//! for the disk. What a killed run leaves is its first statements without a gap.

use lineal_facts::sequence::{Sequence, SeriesEnd};
use lineal_facts::{Digest, Statement};
use lineal_store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::{Code, Failure};

/// Most statements of one commit.
const GROUP_LIMIT: usize = 64;

pub(super) struct RunRecord {
    end: Option<SeriesEnd>,
    /// `None` once it is finished.
    open: Option<Open>,
}

struct Open {
    sender: mpsc::UnboundedSender<Statement>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl RunRecord {
    /// Goes on after `end`.
    pub(super) fn begin(store: &Store, end: Option<SeriesEnd>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(commit(store.clone(), receiver));
        Self { end, open: Some(Open { sender, task }) }
    }

    /// The place of the next statement.
    pub(super) fn next(&self) -> Sequence {
        Sequence::after(self.end.as_ref())
    }

    /// Hands over the statement of the place [`RunRecord::next`]. Yields the digest that it will have in the ledger.
    pub(super) fn push(&mut self, statement: Statement) -> Result<Digest, Failure> {
        let sequence = self.next();
        let digest = statement_digest(&statement)?;
        // If the task gave up, `finish` tells why.
        if let Some(Open { sender, .. }) = &self.open {
            let _ = sender.send(statement);
        }
        self.end = Some(SeriesEnd { number: sequence.number, statement: digest, closed: false });
        Ok(digest)
    }

    /// Waits until everything that was handed over is durable and indexed.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        let Some(Open { sender, task }) = self.open.take() else { return Ok(()) };
        drop(sender);
        Ok(task.await.map_err(|e| Failure::caused(Code::Internal, &e))??)
    }
}

async fn commit(store: Store, mut receiver: mpsc::UnboundedReceiver<Statement>) -> Result<(), StoreError> {
    let mut group = Vec::new();
    while receiver.recv_many(&mut group, GROUP_LIMIT).await > 0 {
        store.append(&group, store.builder()).await?;
        group.clear();
    }
    store.indexed().await
}

/// The digest that the statement will have in the ledger.
fn statement_digest(statement: &Statement) -> Result<Digest, Failure> {
    let bytes = statement.to_bytes().map_err(|e| Failure::caused(Code::Internal, &e))?;
    Ok(Digest::of(&lineal_proof::envelope::pae(lineal_facts::statement::PAYLOAD_TYPE, &bytes)))
}
