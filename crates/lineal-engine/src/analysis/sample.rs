//! Sums that say all there is to know: small, mergeable, storable.

use serde::{Deserialize, Serialize};

use super::AnalysisError;
use crate::observation::Window;

/// Largest absolute value of one loss; larger ones would drown sums in rounding.
pub const LOSS_LIMIT: f64 = 1e12;

/// Count, mean and spread of some numbers. The empty one is all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Moments {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
    /// The least.
    pub lowest: f64,
    /// The greatest.
    pub highest: f64,
    /// How many were neither 0 nor 1. Tells a rare event that was not seen yet from a quantity that hardly varies.
    pub graded: u64,
}

/// Everything seen of one version in one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arm {
    /// Requests.
    pub requests: u64,
    /// Failed requests.
    pub errors: u64,
    /// Requests of which the time counts; less than `requests` when some fell into the warm-up.
    pub timed: u64,
    /// Those that were slow.
    pub slow: u64,
    /// Losses of requests with a known outcome.
    pub loss: Moments,
}

/// Sums to add to an analysis: what was seen since the last observation under one generation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observation {
    /// Generation of the route table that routed these requests.
    pub generation: u64,
    /// The stable version.
    pub stable: Arm,
    /// The canary.
    pub canary: Arm,
}

/// A period in which the canary's share of traffic is constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stratum {
    /// First generation of the route table with this weight.
    pub generation: u64,
    /// The canary's configured share, in percent.
    pub weight_percent: u32,
    /// The stable version.
    pub stable: Arm,
    /// The canary.
    pub canary: Arm,
}

impl Moments {
    /// Adds one number (Welford, Technometrics 1962). Refuses what is not finite or beyond [`LOSS_LIMIT`].
    pub fn add(&mut self, value: f64) -> Result<(), AnalysisError> {
        if !is_limited(value) {
            return Err(AnalysisError::Loss(value));
        }
        let graded = u64::from(value != 0.0 && value != 1.0);
        let one = Self { count: 1, mean: value, m2: 0.0, lowest: value, highest: value, graded };
        *self = self.merged(&one);
        Ok(())
    }

    /// These and `other` together (Chan, Golub & LeVeque, COMPSTAT 1982). Order changes rounding only.
    pub fn merged(&self, other: &Self) -> Self {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { *other } else { *self };
        }
        let (left, right) = (self.count as f64, other.count as f64);
        let (total, delta) = (left + right, other.mean - self.mean);
        Self {
            count: self.count.saturating_add(other.count),
            mean: self.mean + delta * (right / total),
            m2: self.m2 + other.m2 + delta * delta * (left * (right / total)),
            lowest: self.lowest.min(other.lowest),
            highest: self.highest.max(other.highest),
            graded: self.graded.saturating_add(other.graded),
        }
    }

    /// `events` ones and `count - events` zeros.
    pub fn of_events(count: u64, events: u64) -> Self {
        if count == 0 {
            return Self::default();
        }
        let mean = events as f64 / count as f64;
        let lowest = if events < count { 0.0 } else { 1.0 };
        let highest = if events > 0 { 1.0 } else { 0.0 };
        Self { count, mean, m2: events as f64 * (1.0 - mean), lowest, highest, graded: 0 }
    }

    fn check(&self) -> Result<(), &'static str> {
        let empty = Self::default();
        if !is_limited(self.mean) || !is_limited(self.lowest) || !is_limited(self.highest) {
            return Err("a loss is not a number or is beyond 1e12");
        }
        if !self.m2.is_finite() || self.m2 < 0.0 || self.graded > self.count {
            return Err("the spread of the losses is not possible");
        }
        if self.count == 0 && *self != empty {
            return Err("sums of losses without losses");
        }
        let slack = 1e-9 * (1.0 + self.lowest.abs().max(self.highest.abs()));
        if self.mean < self.lowest - slack || self.mean > self.highest + slack {
            return Err("the mean loss is outside of the losses");
        }
        Ok(())
    }
}

impl Arm {
    /// The sums of a gateway's window, without losses.
    pub fn of_window(window: &Window) -> Self {
        let Window { requests, errors, slow, .. } = *window;
        Self { requests, errors, timed: requests, slow, loss: Moments::default() }
    }

    /// These and `other` together.
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            timed: self.timed.saturating_add(other.timed),
            slow: self.slow.saturating_add(other.slow),
            loss: self.loss.merged(&other.loss),
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.errors > self.requests {
            return Err("more errors than requests");
        }
        if self.timed > self.requests || self.slow > self.timed {
            return Err("more slow requests than requests");
        }
        self.loss.check()
    }
}

impl Observation {
    pub(super) fn check(&self) -> Result<(), AnalysisError> {
        let reason = self.stable.check().and(self.canary.check());
        reason.map_err(|reason| AnalysisError::Observation { generation: self.generation, reason })
    }
}

impl Stratum {
    /// A stratum without traffic.
    pub fn new(generation: u64, weight_percent: u32) -> Self {
        Self { generation, weight_percent, stable: Arm::default(), canary: Arm::default() }
    }

    pub(super) fn merge(&mut self, other: &Observation, warm: bool) -> Result<(), AnalysisError> {
        let visible = |arm: &Arm| if warm { *arm } else { Arm { timed: 0, slow: 0, ..*arm } };
        let merged = Self {
            stable: self.stable.merged(&visible(&other.stable)),
            canary: self.canary.merged(&visible(&other.canary)),
            ..*self
        };
        merged.check()?;
        *self = merged;
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), AnalysisError> {
        let generation = self.generation;
        let error = |reason| AnalysisError::Observation { generation, reason };
        if self.weight_percent > 100 {
            return Err(error("a weight above 100 percent"));
        }
        self.stable.check().and(self.canary.check()).map_err(error)
    }
}

fn is_limited(loss: f64) -> bool {
    loss.is_finite() && loss.abs() <= LOSS_LIMIT
}
