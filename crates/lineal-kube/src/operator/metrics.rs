//! What the operator counts, for Prometheus.
//!
//! Text format: <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::resource::RunPhase;

/// Upper bounds of the times of steps, in milliseconds.
const STEP_BOUNDS_MS: [u64; 8] = [100, 500, 1_000, 5_000, 30_000, 120_000, 600_000, 3_600_000];

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    runs_begun: AtomicU64,
    runs_succeeded: AtomicU64,
    runs_failed: AtomicU64,
    runs_in_error: AtomicU64,
    jobs_made: AtomicU64,
    steps_executed: AtomicU64,
    steps_reused: AtomicU64,
    steps_failed: AtomicU64,
    /// Of executed steps, each in the first bound that is not smaller.
    step_times: [AtomicU64; STEP_BOUNDS_MS.len()],
    step_time_ms: AtomicU64,
}

impl Metrics {
    pub(super) fn run_begun(&self) {
        add(&self.runs_begun, 1);
    }

    pub(super) fn run_ended(&self, phase: Option<RunPhase>) {
        match phase {
            Some(RunPhase::Succeeded) => add(&self.runs_succeeded, 1),
            Some(RunPhase::Failed) => add(&self.runs_failed, 1),
            Some(RunPhase::Error | RunPhase::Pending | RunPhase::Running) | None => {
                add(&self.runs_in_error, 1);
            }
        }
    }

    pub(super) fn job_made(&self) {
        add(&self.jobs_made, 1);
    }

    pub(super) fn step_done(&self, reused: bool, wall_ms: u64) {
        if reused {
            return add(&self.steps_reused, 1);
        }
        add(&self.steps_executed, 1);
        add(&self.step_time_ms, wall_ms);
        if let Some(place) = STEP_BOUNDS_MS.iter().position(|bound| wall_ms <= *bound) {
            add(&self.step_times[place], 1);
        }
    }

    pub(super) fn step_failed(&self) {
        add(&self.steps_failed, 1);
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        let mut family = |name: &str, help: &str, samples: &[(&str, u64)]| {
            let _ = writeln!(text, "# TYPE lineal_{name} counter\n# HELP lineal_{name} {help}");
            for (labels, value) in samples {
                let _ = writeln!(text, "lineal_{name}_total{labels} {value}");
            }
        };
        family(
            "runs_begun",
            "Pipeline runs that were begun or taken up again.",
            &[("", get(&self.runs_begun))],
        );
        let ended = [
            ("{phase=\"Succeeded\"}", get(&self.runs_succeeded)),
            ("{phase=\"Failed\"}", get(&self.runs_failed)),
            ("{phase=\"Error\"}", get(&self.runs_in_error)),
        ];
        family("runs_ended", "Pipeline runs that ended, by phase.", &ended);
        let steps = [
            ("{outcome=\"executed\"}", get(&self.steps_executed)),
            ("{outcome=\"reused\"}", get(&self.steps_reused)),
            ("{outcome=\"failed\"}", get(&self.steps_failed)),
        ];
        family("steps", "Steps that ended, by outcome.", &steps);
        family("jobs_made", "Jobs that were made or found.", &[("", get(&self.jobs_made))]);
        let name = "lineal_step_seconds";
        let _ = writeln!(text, "# TYPE {name} histogram\n# HELP {name} How long executed steps took.");
        let mut below = 0;
        for (bound, counter) in STEP_BOUNDS_MS.iter().zip(&self.step_times) {
            below += get(counter);
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1000.0);
        }
        let count = get(&self.steps_executed);
        let sum = get(&self.step_time_ms) as f64 / 1000.0;
        let _ = writeln!(
            text,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_count {count}\n{name}_sum {sum}\n# EOF"
        );
        text
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
