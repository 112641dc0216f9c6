//! Sequential statistics: is the canary worse than the stable version, and how sure are we?
//!
//! Data arrive as strata ([`Stratum`]): periods in which the canary's share of traffic is constant. Only sums are
//! kept, so that memory does not grow with traffic, and stored sums give the same verdict again ([`replay`]).
//! Every statement holds at every look: looking often, or stopping when one likes the result, costs nothing.
//!
//! * [`strategy`]: steps, margins and alpha, as people write them. [`sample`]: the sums.
//! * [`count_test`]: ratio of event rates, as an e-value. [`mean_test`]: a confidence sequence of the harm.
//!
//! **Error rates.** `alpha` bounds two different mistakes, each for the whole rollout:
//!
//! * *False abort* (no metric is worse, yet the canary is rolled back). Any metric may abort, so alpha is divided
//!   among the metrics (Bonferroni): errors and slow get one part each, loss two. Errors and slow may abort by the
//!   count test or by the lower bound; each gets half of the metric's part.
//! * *False promotion* (some metric is worse by its margin or more, yet traffic rises). Every metric must agree, so
//!   each upper bound is used at the full alpha (intersection-union test; Berger, Technometrics 1982).
//!
//! The count test is exact for events that are independent of each other. The mean test is asymptotic: its level
//! is right once both arms hold some dozens of observations. Simulated with 4,000 runs of 160 looks at alpha 1 %, 0.05
//! to 0.18 % of healthy canaries are aborted and 0.6 to 0.9 % of those worse by exactly the margin promoted (`cargo
//! test -p lineal-engine longer -- --ignored --nocapture`). Neither test survives correlated requests: one client
//! that retries five times makes five dependent errors, so that the gateway must count a retried request once.

use lineal_facts::predicate::MetricEvidence;
use serde::{Deserialize, Deserializer, Serialize};

pub mod count_test;
pub mod mean_test;
pub mod sample;
pub mod strategy;
mod verdict;

pub use mean_test::Estimate;
pub use sample::{Arm, Moments, Observation, Stratum};
pub use strategy::{Margins, Metric, MetricKind, Strategy, StrategyError};

/// Most strata in one analysis: more than a strategy can open.
pub const STRATUM_LIMIT: usize = 64;

/// Why observations or a stored analysis are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnalysisError {
    /// The strategy cannot be used.
    #[error("strategy is not usable")]
    Strategy(#[from] StrategyError),
    /// A loss that is not a usable number.
    #[error("loss {0} is not a number from -1e12 to 1e12")]
    Loss(f64),
    /// Sums that no traffic can produce.
    #[error("observation of generation {generation} is impossible: {reason}")]
    Observation {
        /// Its generation.
        generation: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Traffic that this rollout did not route.
    #[error("generation {generation} was not routed by this rollout; drop the observation")]
    UnknownGeneration {
        /// The generation that was reported.
        generation: u64,
    },
    /// Strata must rise in generation and stay few.
    #[error("stratum of generation {generation} does not follow the ones before it, or is one too many")]
    Stratum {
        /// The generation of the stratum.
        generation: u64,
    },
    /// Stored bytes that are no analysis.
    #[error("stored analysis cannot be read: {0}")]
    Document(String),
}

/// What to do with the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Shown to be not worse than the margin allows.
    Promote,
    /// Not enough is known.
    Hold,
    /// Shown to be worse.
    Abort,
}

/// What one metric says.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricVerdict {
    /// The metric's name; `share` is the check of the traffic split.
    pub metric: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// What was observed, in a sentence; for a hold, what is missing.
    pub summary: String,
    /// Observations of the stable version.
    pub stable_count: u64,
    /// Observations of the canary.
    pub canary_count: u64,
    /// The harm, once both arms hold enough to say.
    pub estimate: Option<Estimate>,
    /// Natural logarithm of the e-value of the count test, for metrics that count events.
    pub log_e_value: Option<f64>,
}

/// What all metrics say together.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Abort if one metric aborts; promote if all promote and the step has its requests; else hold.
    pub verdict: Verdict,
    /// The cause, in a sentence that names the metric.
    pub cause: String,
    /// Metric by metric.
    pub metrics: Vec<MetricVerdict>,
}

/// A strategy and everything observed under it. Its JSON is the blob that a record points to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "StoredAnalysis")]
pub struct Analysis {
    version: String,
    strategy: Strategy,
    strata: Vec<Stratum>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredAnalysis {
    #[serde(deserialize_with = "version_one")]
    version: String,
    strategy: Strategy,
    strata: Vec<Stratum>,
}

impl Analysis {
    /// An analysis without observations.
    pub fn new(strategy: Strategy) -> Result<Self, AnalysisError> {
        strategy.check()?;
        Ok(Self { version: "1".to_owned(), strategy, strata: Vec::new() })
    }

    /// The strategy.
    pub const fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// The strata, oldest first.
    pub fn strata(&self) -> &[Stratum] {
        &self.strata
    }

    /// Begins a stratum: from `generation` on the canary gets `weight_percent` of the traffic.
    pub fn open_stratum(&mut self, generation: u64, weight_percent: u32) -> Result<(), AnalysisError> {
        let follows = self.strata.last().is_none_or(|last| last.generation < generation);
        if !follows || self.strata.len() >= STRATUM_LIMIT {
            return Err(AnalysisError::Stratum { generation });
        }
        self.strata.push(Stratum::new(generation, weight_percent));
        Ok(())
    }

    /// Adds sums to the stratum that was open at their generation, so that late ones count under the weight that
    /// routed them. Until the canary has answered the strategy's warm-up requests, slow requests of both arms are
    /// left out. That rule looks at request counts only, so it cannot favour either arm.
    pub fn observe(&mut self, observation: &Observation) -> Result<(), AnalysisError> {
        observation.check()?;
        let generation = observation.generation;
        let answered: u64 = self.strata.iter().map(|s| s.canary.requests).sum();
        let warm = answered >= self.strategy.warm_up_requests;
        let stratum = self.strata.iter_mut().rev().find(|s| s.generation <= generation);
        let stratum = stratum.ok_or(AnalysisError::UnknownGeneration { generation })?;
        stratum.merge(observation, warm)
    }

    /// The verdict on everything observed so far.
    pub fn judge(&self) -> Judgement {
        verdict::judge(&self.strategy, &self.strata)
    }

    /// The blob to store.
    pub fn to_json(&self) -> Result<Vec<u8>, AnalysisError> {
        serde_json::to_vec(self).map_err(|error| AnalysisError::Document(error.to_string()))
    }
}

/// Recomputes the verdict of a stored analysis. The same build gives the same verdict, numbers and sentences; on
/// another platform the last bit of a logarithm may differ, which the six printed decimals do not show.
pub fn replay(document: &[u8]) -> Result<Judgement, AnalysisError> {
    let analysis: Analysis =
        serde_json::from_slice(document).map_err(|error| AnalysisError::Document(error.to_string()))?;
    Ok(analysis.judge())
}

impl TryFrom<StoredAnalysis> for Analysis {
    type Error = AnalysisError;

    fn try_from(stored: StoredAnalysis) -> Result<Self, AnalysisError> {
        stored.strategy.check()?;
        if let Some(last) = stored.strata.get(STRATUM_LIMIT) {
            return Err(AnalysisError::Stratum { generation: last.generation });
        }
        for pair in stored.strata.windows(2) {
            if pair[0].generation >= pair[1].generation {
                return Err(AnalysisError::Stratum { generation: pair[1].generation });
            }
        }
        stored.strata.iter().try_for_each(Stratum::check)?;
        Ok(Self { version: stored.version, strategy: stored.strategy, strata: stored.strata })
    }
}

impl Verdict {
    /// `promote`, `hold` or `abort`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::Abort => "abort",
        }
    }
}

impl Judgement {
    /// As a record holds it. Numbers have six decimals; what is not known yet is `unknown`.
    pub fn evidence(&self) -> Vec<MetricEvidence> {
        let number = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |v| format!("{v:.6}"));
        let evidence = |metric: &MetricVerdict| MetricEvidence {
            metric: metric.metric.clone(),
            verdict: metric.verdict.as_str().to_owned(),
            summary: metric.summary.clone(),
            stable_count: metric.stable_count.to_string(),
            canary_count: metric.canary_count.to_string(),
            harm: number(metric.estimate.map(|e| e.harm)),
            harm_lower: number(metric.estimate.map(|e| e.lower)),
            harm_upper: number(metric.estimate.map(|e| e.upper)),
        };
        self.metrics.iter().map(evidence).collect()
    }
}

/// Reads a format version and refuses any but `1`.
pub(crate) fn version_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let version = String::deserialize(deserializer)?;
    if version == "1" {
        return Ok(version);
    }
    Err(serde::de::Error::custom(format!("format version `{version}` is not understood; expected `1`")))
}

#[cfg(test)]
pub(crate) mod tests;
