//! How a rollout proceeds: part of a YAML file that people write.

use serde::{Deserialize, Serialize};

/// Most steps.
pub const STEP_LIMIT: usize = 20;

/// Steps, margins and error rate of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Strategy {
    /// The canary's share of traffic, step by step, in percent; rises and ends with 100.
    pub steps: Vec<u32>,
    /// Requests that the canary must answer in each step before the next.
    pub min_requests: u64,
    /// Requests that the canary answers before slow requests count (cold caches).
    pub warm_up_requests: u64,
    /// Bound on the probability of a false abort, and on that of a false promotion, over the whole rollout.
    pub alpha: f64,
    /// How much worse the canary may be.
    pub margins: Margins,
    /// A step without a verdict for this long ends the rollout as expired. Pauses do not count.
    pub max_step_seconds: u64,
}

/// The harm that is tolerated, metric by metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Margins {
    /// Rise of the share of failed requests.
    pub errors: f64,
    /// Rise of the share of slow requests.
    pub slow: f64,
    /// Rise of the mean loss of requests with a known outcome, in the loss's unit; `null` when there are none.
    pub loss: Option<f64>,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name in evidence.
    pub name: &'static str,
    /// What is compared.
    pub kind: MetricKind,
    /// Harm below this is tolerated.
    pub margin: f64,
    /// The metric's part of the bound on false aborts.
    pub alpha: f64,
}

/// What a metric compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKind {
    /// Share of failed requests.
    Errors,
    /// Share of slow requests.
    Slow,
    /// Mean loss of requests with a known outcome.
    Loss,
}

/// Why a strategy cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StrategyError {
    /// Steps are missing, too many, out of order or do not end with 100.
    #[error(
        "steps {0:?}: give 1 to {STEP_LIMIT} rising percentages from 1 that end with 100, such as [5, 25, 50, 100]"
    )]
    Steps(Vec<u32>),
    /// Alpha is out of range.
    #[error("alpha {0}: give a probability from 0.000001 to 0.2, such as 0.01")]
    Alpha(f64),
    /// A margin is out of range.
    #[error("margin of {metric} is {margin}: give a number above 0{limit}")]
    Margin {
        /// The metric.
        metric: &'static str,
        /// What was given.
        margin: f64,
        /// The upper end, in words.
        limit: &'static str,
    },
    /// No time for a step.
    #[error("maxStepSeconds {0}: give 1 to 31536000 (a year)")]
    MaxStepSeconds(u64),
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            steps: vec![5, 25, 50, 100],
            min_requests: 100,
            warm_up_requests: 20,
            alpha: 0.01,
            margins: Margins::default(),
            max_step_seconds: 3_600,
        }
    }
}

impl Default for Margins {
    fn default() -> Self {
        Self { errors: 0.02, slow: 0.05, loss: Some(0.02) }
    }
}

impl Strategy {
    /// Checks what the analysis and the state machine rely on.
    pub fn check(&self) -> Result<(), StrategyError> {
        let rising = self.steps.windows(2).all(|pair| pair[0] < pair[1]);
        let ends = self.steps.first().is_some_and(|s| *s > 0) && self.steps.last() == Some(&100);
        if !rising || !ends || self.steps.len() > STEP_LIMIT {
            return Err(StrategyError::Steps(self.steps.clone()));
        }
        if !(0.000_001..=0.2).contains(&self.alpha) {
            return Err(StrategyError::Alpha(self.alpha));
        }
        for metric in self.metrics() {
            let (most, limit) = match metric.kind {
                MetricKind::Errors | MetricKind::Slow => (1.0, " and at most 1"),
                MetricKind::Loss => (1e9, " and at most 1e9"),
            };
            if !(metric.margin >= 1e-6 && metric.margin <= most) {
                return Err(StrategyError::Margin { metric: metric.name, margin: metric.margin, limit });
            }
        }
        if !(1..=31_536_000).contains(&self.max_step_seconds) {
            return Err(StrategyError::MaxStepSeconds(self.max_step_seconds));
        }
        Ok(())
    }

    /// The comparisons. Alpha is divided among them: one part for errors, one for slow, two for loss.
    pub fn metrics(&self) -> Vec<Metric> {
        let Margins { errors, slow, loss } = self.margins;
        let part = self.alpha / if loss.is_some() { 4.0 } else { 2.0 };
        let mut metrics = vec![
            Metric { name: "errors", kind: MetricKind::Errors, margin: errors, alpha: part },
            Metric { name: "slow", kind: MetricKind::Slow, margin: slow, alpha: part },
        ];
        if let Some(margin) = loss {
            metrics.push(Metric { name: "loss", kind: MetricKind::Loss, margin, alpha: 2.0 * part });
        }
        metrics
    }
}
