//! Steps of rollouts on their way into the ledger.
//!
//! * **Guarantee**: a step is in its lane's stored state, durable, before traffic moves because of it; it leaves the
//!   outbox when it is in the ledger. So no crash between act and record goes unseen: the next start records what is
//!   due before it routes anything.
//! * A disk that takes no more writes cannot hold up a fall of weight: the step then waits in memory, and
//!   [`super::super::LaneStatus::unrecorded`] tells.
//! * A step is recorded once: a retry looks first whether the ledger has it.

use lineal_facts::predicate::{RolloutRecord, RolloutTransition};
use lineal_facts::sequence::{Sequence, Series};
use lineal_facts::statement::Subject;
use lineal_facts::{Predicate, Statement};

use super::{Controller, LaneKey};
use crate::failure::Failure;
use crate::model;
use crate::project::now;

impl Controller {
    /// Puts a step into the outbox and stores it together with the state that it led to.
    pub(super) fn post(&mut self, key: &LaneKey, record: RolloutRecord) -> Result<(), Failure> {
        let Some(lane) = self.lanes.get_mut(key) else { return Ok(()) };
        lane.outbox.push(record);
        lane.save(&self.project, self.generation)
    }

    /// Takes the latest step out again: it did not happen.
    pub(super) fn withdraw(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.outbox.pop();
            // If the disk takes this no more than the record, a crash now would make the step happen at the next start:
            // recorded first, like every rise. The next tick saves again.
            lane.dirty = lane.save(&self.project, self.generation).is_err();
        }
    }

    /// Records what is due in a lane, oldest first.
    pub(super) async fn record_due(&mut self, key: &LaneKey) -> Result<(), Failure> {
        while let Some(record) = self.lanes.get(key).and_then(|lane| lane.outbox.first().cloned()) {
            if !self.is_recorded(&record).await? {
                self.record(record).await?;
            }
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.outbox.remove(0);
                lane.dirty = true;
            }
        }
        Ok(())
    }

    /// Tries again what could not be recorded, and stores what changed since the last time.
    pub(super) async fn record_late(&mut self) {
        for key in self.lanes.keys().cloned().collect::<Vec<_>>() {
            // It stays in the outbox, and the status tells.
            let _ = self.record_due(&key).await;
            if let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.dirty) {
                // The ledger has what was decided, and a step that is due was stored when it was decided.
                let _ = lane.save(&self.project, self.generation);
            }
        }
    }

    /// A rollout that the ledger says is under way and whose state is gone cannot be continued: traffic is on the
    /// stable version, and that is recorded.
    pub(super) async fn abort_lost(&mut self) -> Result<(), Failure> {
        for row in self.project.store.index().latest_rollout_steps().await? {
            let record = row.record;
            let open = matches!(record.transition, RolloutTransition::Started | RolloutTransition::Advanced);
            let known = |lane: &super::Lane| {
                lane.rollout.as_ref().is_some_and(|rollout| rollout.progress().id == record.rollout)
            };
            if !open || record.stable.is_none() || self.lanes.values().any(known) {
                continue;
            }
            let lost = RolloutRecord {
                transition: RolloutTransition::Aborted,
                canary_weight_percent: "0".to_owned(),
                generation: self.generation.to_string(),
                cause: "the control plane's state was lost; the stable version serves".to_owned(),
                analysis: None,
                decided_at: now(),
                ..record
            };
            self.record(lost).await?;
        }
        Ok(())
    }

    /// Whether the ledger has the step, wherever it stands.
    async fn is_recorded(&self, record: &RolloutRecord) -> Result<bool, Failure> {
        let rows = self.project.store.index().rollout(&record.rollout).await?;
        let same = |found: RolloutRecord| RolloutRecord { sequence: record.sequence, ..found } == *record;
        Ok(rows.into_iter().any(|row| same(row.record)))
    }

    async fn record(&self, mut record: RolloutRecord) -> Result<(), Failure> {
        let store = &self.project.store;
        let row = model::find(&self.project, &record.canary).await?;
        let end = store.index().series_end(&Series::Rollout(record.rollout.clone())).await?;
        record.sequence = Sequence::after(end.as_ref());
        let subject = vec![Subject::new(record.canary.to_string(), row.digest)];
        let statement = Statement { subject, predicate: Predicate::Rollout(record) };
        store.commit(&[statement], store.builder()).await?;
        Ok(())
    }
}
