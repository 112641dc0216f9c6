//! Which version serves a request: a versioned table and one hash.
//!
//! The hash is flagd's fractional operation, version 2 (murmur3_32 of the bucketing key with seed 0, scaled to the
//! total weight), so that the cohort of a feature flag is the cohort of a route. Shares are laid out canary first:
//! raising the canary's weight keeps every key that was already on it.

use core::net::SocketAddr;

use lineal_facts::{Digest, EnvironmentName, ModelName, Timestamp};
use serde::{Deserialize, Serialize};

/// Weights are parts of this many (basis points).
pub const WEIGHT_TOTAL: u32 = 10_000;
/// Most routes in a table.
pub const ROUTE_LIMIT: usize = 10_000;

/// What a gateway serves. Signed as a whole; a gateway never replaces a table by one of a lower generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTable {
    /// Format version, `1`.
    pub version: String,
    /// Rises with every change.
    pub generation: u64,
    /// When the control plane made it.
    pub issued_at: Timestamp,
    /// One route a model.
    pub routes: Vec<Route>,
}

/// The shares of one model's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// The model as clients call it.
    pub model: ModelName,
    /// The environment that it serves.
    pub environment: EnvironmentName,
    /// Requests slower than this count as slow.
    pub slow_after_ms: u64,
    /// The output tensor that is the prediction; recorded for the join with outcomes.
    pub output: String,
    /// Versions with weights, canary first; weights add up to [`WEIGHT_TOTAL`].
    pub shares: Vec<Share>,
}

/// One version's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Share {
    /// The version.
    pub version: u32,
    /// Digest of the bytes that the server was started from.
    pub digest: Digest,
    /// Whether it is the version that retries and aborts fall back to.
    pub role: Role,
    /// Parts of [`WEIGHT_TOTAL`].
    pub weight: u32,
    /// Where its server listens.
    pub upstream: SocketAddr,
}

/// The part a version plays in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Serves whatever the canary does not; every route has exactly one.
    Stable,
    /// The version that is rolled out.
    Canary,
}

/// Why a table is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Another format version.
    #[error("route table version `{0}` is not understood; this gateway reads version 1")]
    Version(String),
    /// Too many routes.
    #[error("{0} routes; at most {ROUTE_LIMIT}")]
    TooMany(usize),
    /// Weights, roles or order are wrong.
    #[error("route of model `{model}`: {reason}")]
    Route {
        /// The model.
        model: ModelName,
        /// What is wrong.
        reason: &'static str,
    },
}

impl RouteTable {
    /// Checks everything that serving relies on.
    pub fn check(&self) -> Result<(), RouteError> {
        if self.version != "1" {
            return Err(RouteError::Version(self.version.clone()));
        }
        if self.routes.len() > ROUTE_LIMIT {
            return Err(RouteError::TooMany(self.routes.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for route in &self.routes {
            let wrong = |reason| Err(RouteError::Route { model: route.model.clone(), reason });
            if !seen.insert(&route.model) {
                return wrong("occurs twice");
            }
            if route.shares.iter().map(|s| u64::from(s.weight)).sum::<u64>() != u64::from(WEIGHT_TOTAL) {
                return wrong("weights do not add up to 10000");
            }
            if route.shares.iter().filter(|s| s.role == Role::Stable).count() != 1 {
                return wrong("needs exactly one stable version");
            }
            if route.shares.last().is_none_or(|s| s.role != Role::Stable) {
                return wrong("the stable version must come last");
            }
        }
        Ok(())
    }

    /// The route of `model`.
    pub fn route(&self, model: &str) -> Option<&Route> {
        self.routes.iter().find(|r| r.model.as_str() == model)
    }
}

impl Route {
    /// The share that serves requests with this routing `key` (a request or user id). The same key stays on the
    /// same share while weights stand, and on the canary while its weight rises.
    pub fn share(&self, key: &str) -> Option<&Share> {
        let point = bucket(self.model.as_str(), key, WEIGHT_TOTAL);
        let mut upper = 0;
        self.shares.iter().find(|share| {
            upper += share.weight;
            point < upper
        })
    }

    /// The version that retries fall back to.
    pub fn stable(&self) -> Option<&Share> {
        self.shares.iter().find(|s| s.role == Role::Stable)
    }
}

/// flagd's fractional bucket (version 2) of `subject` + `key` in `0..total`.
pub fn bucket(subject: &str, key: &str, total: u32) -> u32 {
    let mut bytes = Vec::with_capacity(subject.len() + key.len());
    bytes.extend_from_slice(subject.as_bytes());
    bytes.extend_from_slice(key.as_bytes());
    let scaled = (u64::from(murmur3_32(&bytes)) * u64::from(total)) >> 32;
    u32::try_from(scaled).unwrap_or(0)
}

/// MurmurHash3_x86_32 with seed 0 (Austin Appleby, public domain algorithm).
fn murmur3_32(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let scramble = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = 0_u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        hash = (hash ^ scramble(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = chunks.remainder().iter().rev().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
    if !chunks.remainder().is_empty() {
        hash ^= scramble(tail);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests;
