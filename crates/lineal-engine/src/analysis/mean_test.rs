//! How much worse is the canary in the mean? A confidence sequence, valid at every look.
//!
//! **Strata.** Harm is mean(canary) - mean(stable). Stratum j has n canary and m stable observations; its estimate
//! d gets the weight h = n m / (n + m), the inverse variance under a common variance (Cochran, Biometrics 1954).
//! These weights look at counts only. Weights by estimated variance would follow the outcomes: losses are skewed,
//! a lucky stratum has both a low mean and a low variance, and would count too much. With a constant split the sum
//! of h d is a random walk with drift harm x sum(h), which is what makes stopping at any time harmless.
//!
//! **Boundary.** The variance of sum(h d) is V = sum of n (m/(n+m))^2 s^2 over strata, and likewise for the stable
//! arm; information is I = sum(h)^2 / V (Jennison & Turnbull 2000, chapter 3). In information time the one-sided
//! normal mixture of Robbins gives the half-width
//! `u(I)/I`, `u(I) = sqrt(2 (I + r) ln(1 + sqrt((I + r)/r) / (2 alpha)))` (Howard et al., Ann. Stat. 2021,
//! arXiv:1810.08240; with estimated variance Waudby-Smith et al., Ann. Stat. 2024, arXiv:2103.06476, the one-sided
//! case; Johari et al., arXiv:1512.04922).
//!
//! **Tuning.** r = I*/x with x = -2 ln(2 alpha) + ln(1 - 2 ln(2 alpha)) makes the half-width smallest at information
//! I* (Waudby-Smith et al., section 3.5). I* is where the half-width equals the target effect: the margin for the
//! upper bound (promotion), [`ABORT_TARGET_MARGINS`] margins for the lower one. Any r is valid; this one is quick.
//!
//! **Few observations.** A stratum counts once each arm has [`STRATUM_MINIMUM`] observations in it, a bound is given
//! once each arm has [`ARM_MINIMUM`]. To V are added pseudo-observations at the full range: ln(1/alpha) for data
//! of 0 and 1 (no error seen in n requests leaves room for a rate of ln(1/alpha)/n), one for other data.

use super::sample::Moments;

/// Observations that each arm needs in a stratum for the stratum to count.
pub const STRATUM_MINIMUM: u64 = 20;
/// Observations that each arm needs before a bound is given.
pub const ARM_MINIMUM: u64 = 50;
/// The lower bound is tuned for a harm of this many margins.
pub const ABORT_TARGET_MARGINS: f64 = 2.0;
/// How far ahead [`Comparison::growth_until`] looks: this many times the present data.
const GROWTH_LIMIT: f64 = 1_000.0;

/// The harm of the canary: mean(canary) - mean(stable).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Weighted over strata.
    pub harm: f64,
    /// Below the true harm at every look, except with the probability given for aborts.
    pub lower: f64,
    /// Above the true harm at every look, except with probability alpha.
    pub upper: f64,
}

/// What the two bounds are for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// Probability that the lower bound ever fails.
    pub lower_alpha: f64,
    /// Probability that the upper bound ever fails.
    pub upper_alpha: f64,
    /// The tolerated harm; tunes both bounds.
    pub margin: f64,
}

/// Both arms in one stratum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The canary.
    pub canary: Moments,
    /// The stable version.
    pub stable: Moments,
}

/// Strata put together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    harm: f64,
    weight: f64,
    variance: f64,
    /// What one pseudo-observation adds to the variance.
    pseudo_variance: f64,
    binary: bool,
}

/// Why there is no estimate yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// An arm has fewer than [`ARM_MINIMUM`] observations in strata that count.
    TooFew,
    /// Everything observed is one and the same number, which says nothing about the spread.
    NoSpread,
}

impl Pair {
    /// Whether the stratum counts.
    pub const fn counts(&self) -> bool {
        self.canary.count >= STRATUM_MINIMUM && self.stable.count >= STRATUM_MINIMUM
    }

    /// The stratum's own estimate, without any statement of certainty.
    pub fn harm(&self) -> f64 {
        self.canary.mean - self.stable.mean
    }
}

impl Comparison {
    /// Puts strata together.
    pub fn of(pairs: &[Pair]) -> Result<Self, Gap> {
        let used: Vec<&Pair> = pairs.iter().filter(|pair| pair.counts()).collect();
        let all = |arm: fn(&Pair) -> Moments| {
            used.iter().fold(Moments::default(), |sum, pair| sum.merged(&arm(pair)))
        };
        let (canary, stable) = (all(|p| p.canary), all(|p| p.stable));
        if canary.count < ARM_MINIMUM || stable.count < ARM_MINIMUM {
            return Err(Gap::TooFew);
        }
        let both = canary.merged(&stable);
        let binary = both.graded == 0;
        let range = if binary { 1.0 } else { both.highest - both.lowest };
        let (mut score, mut weight, mut variance, mut per_observation) = (0.0, 0.0, 0.0, 0.0);
        for pair in used {
            let (n, m) = (pair.canary.count as f64, pair.stable.count as f64);
            let (canary_part, stable_part) = (m / (n + m), n / (n + m));
            let stratum_weight = n * canary_part;
            score += stratum_weight * pair.harm();
            weight += stratum_weight;
            variance += canary_part * canary_part * pair.canary.m2 * (n / (n - 1.0));
            variance += stable_part * stable_part * pair.stable.m2 * (m / (m - 1.0));
            per_observation += canary_part * canary_part * n / canary.count as f64;
            per_observation += stable_part * stable_part * m / stable.count as f64;
        }
        let pseudo_variance = per_observation * range * range;
        if variance + pseudo_variance > 0.0 {
            Ok(Self { harm: score / weight, weight, variance, pseudo_variance, binary })
        } else {
            Err(Gap::NoSpread)
        }
    }

    /// The harm and its bounds.
    pub fn estimate(&self, levels: &Levels) -> Estimate {
        let down = self.half_width(levels.lower_alpha, ABORT_TARGET_MARGINS * levels.margin, 1.0);
        let up = self.half_width(levels.upper_alpha, levels.margin, 1.0);
        let (mut lower, mut upper) = (self.harm - down, self.harm + up);
        if self.binary {
            (lower, upper) = (lower.max(-1.0), upper.min(1.0));
        }
        Estimate { harm: self.harm, lower, upper }
    }

    /// By which factor the data must grow until the upper bound is below the margin, if the harm stays as it is
    /// estimated. `None`: not within a thousandfold growth.
    pub fn growth_until(&self, levels: &Levels) -> Option<f64> {
        let enough = |growth: f64| {
            self.harm + self.half_width(levels.upper_alpha, levels.margin, growth) < levels.margin
        };
        let (mut low, mut high) = (1.0, GROWTH_LIMIT);
        if !enough(high) {
            return None;
        }
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if enough(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    fn half_width(&self, alpha: f64, target: f64, growth: f64) -> f64 {
        let pseudo_count = if self.binary { (1.0 / alpha).ln() } else { 1.0 };
        let variance = self.variance * growth + pseudo_count * self.pseudo_variance;
        let weight = self.weight * growth;
        half_width(weight * weight / variance, alpha, target)
    }
}

/// `u(I)/I` of the module's text, tuned for `target`.
fn half_width(information: f64, alpha: f64, target: f64) -> f64 {
    let log = -2.0 * (2.0 * alpha).ln();
    let best = log + log.ln_1p();
    let boundary = |i_over_r: f64| 2.0 * (i_over_r + 1.0) * ((i_over_r + 1.0).sqrt() / (2.0 * alpha)).ln_1p();
    // Half-width^2 = boundary(I/r) r / I^2; at I = best r it is to be target^2.
    let scale = boundary(best) / (best * best * target * target);
    (boundary(information / scale) * scale).sqrt() / information
}
