//! Is the rate of rare events higher on the canary? An e-value, valid at every look.
//!
//! Given that an event happened, it happened on the canary with probability rho, the canary's share of requests,
//! if both rates are equal; and with theta = r rho / (r rho + 1 - rho) if the canary's rate is r times as high. The
//! e-value is the likelihood ratio, averaged over a grid of ratios r. By Ville's inequality it ever reaches 1/alpha
//! with probability at most alpha when the rates are equal. Waves of traffic and of the common rate cancel, and
//! strata with different rho multiply. Sources: Lindon & Malek, NeurIPS 2022 (arXiv:2011.03567); Turner, Ly &
//! Grünwald 2024 (arXiv:2106.02693).
//!
//! rho is observed, not configured, so that a skewed split does not look like errors. Given the requests of both
//! arms the count on the canary is then hypergeometric, which is less spread than the binomial of the formula
//! (Hoeffding, JASA 1963, theorem 4): the e-value errs on the side of patience.

/// Size of the grid of rate ratios.
const GRID_SIZE: usize = 32;
/// Least rate ratio looked for.
const LEAST_RATIO: f64 = 1.1;
/// Greatest rate ratio looked for.
const GREATEST_RATIO: f64 = 50.0;
/// Departures of the split that [`share_log_e_value`] looks for, as odds ratios. Between 1/1.5 and 1.5 is left to
/// the routing key: users who send many requests make the share of requests uneven without any fault.
const SHARE_RATIOS: [f64; 8] = [0.25, 1.0 / 3.0, 0.5, 1.0 / 1.5, 1.5, 2.0, 3.0, 4.0];

/// Events in one stratum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Events {
    /// Events on the canary.
    pub canary: u64,
    /// Events on the stable version.
    pub stable: u64,
    /// The canary's share of requests, 0 to 1.
    pub canary_share: f64,
}

/// Natural logarithm of the e-value against "the canary's rate is not higher".
pub fn log_e_value(strata: &[Events]) -> f64 {
    let step = (GREATEST_RATIO / LEAST_RATIO).ln() / (GRID_SIZE - 1) as f64;
    let ratios: Vec<f64> = (0..GRID_SIZE).map(|i| LEAST_RATIO * (step * i as f64).exp()).collect();
    log_mixture(strata, &ratios)
}

/// Natural logarithm of the e-value against "requests are split as configured" (sample ratio mismatch; the same
/// mixture over requests instead of events, as Lindon & Malek do).
pub fn share_log_e_value(canary_requests: u64, stable_requests: u64, canary_weight: f64) -> f64 {
    let requests = Events { canary: canary_requests, stable: stable_requests, canary_share: canary_weight };
    log_mixture(&[requests], &SHARE_RATIOS)
}

/// `log(theta/rho) = log r - log(1 + rho (r - 1))` and `log((1-theta)/(1-rho)) = -log(1 + rho (r - 1))`, summed over
/// events, averaged over `ratios` by log-sum-exp.
fn log_mixture(strata: &[Events], ratios: &[f64]) -> f64 {
    let log_ratio = |ratio: f64| -> f64 {
        let log = ratio.ln();
        let term = |s: &Events| {
            let (canary, stable) = (s.canary as f64, s.stable as f64);
            canary * log - (canary + stable) * (s.canary_share * (ratio - 1.0)).ln_1p()
        };
        strata.iter().map(term).sum()
    };
    let logs: Vec<f64> = ratios.iter().map(|r| log_ratio(*r)).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln() - (ratios.len() as f64).ln()
}
