use super::*;

#[test]
fn the_text_has_every_sample_and_cumulative_buckets() {
    let metrics = Metrics::default();
    metrics.run_begun();
    metrics.run_ended(Some(RunPhase::Failed));
    metrics.job_made();
    metrics.step_done(true, 0);
    metrics.step_done(false, 90);
    metrics.step_done(false, 700);
    metrics.step_done(false, 9_000_000);
    metrics.step_failed();
    let text = metrics.text();
    for line in [
        "lineal_runs_begun_total 1",
        "lineal_runs_ended_total{phase=\"Failed\"} 1",
        "lineal_steps_total{outcome=\"executed\"} 3",
        "lineal_steps_total{outcome=\"reused\"} 1",
        "lineal_steps_total{outcome=\"failed\"} 1",
        "lineal_step_seconds_bucket{le=\"0.1\"} 1",
        "lineal_step_seconds_bucket{le=\"0.5\"} 1",
        "lineal_step_seconds_bucket{le=\"1\"} 2",
        "lineal_step_seconds_bucket{le=\"3600\"} 2",
        "lineal_step_seconds_bucket{le=\"+Inf\"} 3",
        "lineal_step_seconds_count 3",
        "lineal_step_seconds_sum 9000.79",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
    }
}
