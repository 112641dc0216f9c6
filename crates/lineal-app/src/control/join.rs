//! Joining predictions with outcomes that arrive later, earlier or never.

use std::collections::{BTreeMap, VecDeque};

use lineal_engine::observation::RequestRecord;
use lineal_engine::route::Role;
use lineal_facts::ModelName;

/// Requests and outcomes that wait for their other half; beyond it the oldest are forgotten.
pub(super) const WINDOW_LIMIT: usize = 200_000;

/// What the loss of one request counts for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Joined {
    pub(super) model: ModelName,
    pub(super) role: Role,
    pub(super) generation: u64,
    /// Squared difference of prediction and outcome: for a probability the Brier score of the request.
    pub(super) loss: f64,
}

/// Both halves, by request id. A request is joined once: a repeated id of either kind is ignored while it waits.
#[derive(Debug, Default)]
pub(super) struct Join {
    predictions: Waiting<Prediction>,
    outcomes: Waiting<f64>,
}

#[derive(Debug)]
struct Prediction {
    model: ModelName,
    role: Role,
    generation: u64,
    value: f64,
}

/// A map that forgets its oldest entries.
#[derive(Debug)]
struct Waiting<T> {
    by_id: BTreeMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl Join {
    /// Takes a request; yields its loss if the outcome is known.
    pub(super) fn request(&mut self, record: RequestRecord) -> Option<Joined> {
        let value = record.prediction.filter(|p| p.is_finite())?;
        let prediction =
            Prediction { model: record.model, role: record.role, generation: record.generation, value };
        match self.outcomes.take(&record.id) {
            Some(outcome) => Some(prediction.joined(outcome)),
            None => {
                self.predictions.insert(record.id, prediction);
                None
            }
        }
    }

    /// Takes an outcome; yields the loss if the request is known.
    pub(super) fn outcome(&mut self, id: String, outcome: f64) -> Option<Joined> {
        if !outcome.is_finite() {
            return None;
        }
        match self.predictions.take(&id) {
            Some(prediction) => Some(prediction.joined(outcome)),
            None => {
                self.outcomes.insert(id, outcome);
                None
            }
        }
    }
}

impl Prediction {
    fn joined(self, outcome: f64) -> Joined {
        let loss = (self.value - outcome).powi(2);
        Joined { model: self.model, role: self.role, generation: self.generation, loss }
    }
}

impl<T> Waiting<T> {
    fn insert(&mut self, id: String, value: T) {
        if self.by_id.contains_key(&id) {
            return;
        }
        self.order.push_back(id.clone());
        self.by_id.insert(id, value);
        // `order` also holds ids that were taken meanwhile; both stay bounded.
        while self.order.len() > WINDOW_LIMIT {
            if let Some(oldest) = self.order.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
    }

    fn take(&mut self, id: &str) -> Option<T> {
        self.by_id.remove(id)
    }
}

#[cfg(test)]
mod tests;
