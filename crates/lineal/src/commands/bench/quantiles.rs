//! What many times come to.

use serde::Serialize;

/// Times in milliseconds, to a hundredth.
#[derive(Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// Zeros if there are no times.
pub(super) fn quantiles(mut times_ms: Vec<f64>) -> Quantiles {
    times_ms.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let position = ((times_ms.len() as f64 * q).ceil() as usize).max(1) - 1;
        let value = times_ms.get(position).copied().unwrap_or(0.0);
        (value * 100.0).round() / 100.0
    };
    Quantiles { count: times_ms.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
}
