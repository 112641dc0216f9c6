//! What a gateway reports: mergeable summaries of windows, and one record a request for the join with outcomes.

use lineal_facts::{ModelName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::route::Role;

/// Most request records in one report.
pub const RECORD_LIMIT: usize = 10_000;

/// One report. Reports are sent at least once; (`gateway`, `sequence`) tells a repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// Which gateway process, unique per start.
    pub gateway: String,
    /// Counts up from 1.
    pub sequence: u64,
    /// Generation of the route table that the gateway serves now.
    pub generation: u64,
    /// Requests that could not be recorded because a buffer was full.
    pub dropped_records: u64,
    /// Sums since the last report.
    pub windows: Vec<Window>,
    /// Requests since the last report.
    pub records: Vec<RequestRecord>,
}

/// Sums over the requests of one version under one generation. Adding two windows of the same key is exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// The model.
    pub model: ModelName,
    /// The version that was chosen first (a retry on the stable version counts against the version that failed).
    pub version: u32,
    /// Its role at that time.
    pub role: Role,
    /// Generation of the route table that routed them.
    pub generation: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that the chosen version failed: no connection, no answer, status 4xx or 5xx, or no finite number in the
    /// promised output tensor.
    pub errors: u64,
    /// Requests slower than the route's `slow_after_ms`.
    pub slow: u64,
    /// Sum of latencies in milliseconds.
    pub latency_sum_ms: f64,
}

impl Window {
    /// Adds `other`, which must have the same model, version, role and generation.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.slow += other.slow;
        self.latency_sum_ms += other.latency_sum_ms;
    }
}

/// One answered request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRecord {
    /// The request id, by which an outcome is joined.
    pub id: String,
    /// The model.
    pub model: ModelName,
    /// The version that answered.
    pub version: u32,
    /// Its role.
    pub role: Role,
    /// Generation of the route table.
    pub generation: u64,
    /// The prediction, if the answer held one number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<f64>,
    /// When it was answered.
    pub answered_at: Timestamp,
}

/// The true outcome of a request, reported later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutcomeReport {
    /// The request id.
    pub id: String,
    /// What turned out to be true, as a number (0 or 1 for a class).
    pub outcome: f64,
}
