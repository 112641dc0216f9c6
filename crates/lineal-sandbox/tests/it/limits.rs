//! Sizes and times.

use crate::fixture::{Step, namespace_of, processes_in, strict};
use lineal_sandbox::{Determinism, Exit};
use std::fs;

#[test]
fn a_step_that_takes_too_long_is_killed_with_all_its_processes() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let script = "trap '' TERM; setsid sleep 1000 & (trap '' TERM; sleep 1000) & sleep 1000";
        let mut step = Step::shell(script).determinism(determinism);
        step.spec.limits.timeout_ms = Some(300);
        let mut running = step.start();
        let namespace = namespace_of(running.pid());
        let report = running.wait();
        assert_eq!(report.exit, Exit::TimedOut);
        assert!((300..20_000).contains(&report.wall_ms), "{report:?}");
        assert!(processes_in(&namespace).is_empty());
    }
}

#[test]
fn a_file_that_grows_too_large_stops_its_writer() {
    let mut step = Step::new(["dd", "if=/dev/zero", "of=/out/big", "bs=65536", "count=64"]);
    let output = step.mount_output("/out");
    step.spec.limits.file_size_bytes = 1 << 20;
    assert_eq!(step.run().report.exit, Exit::Signal(25), "SIGXFSZ");
    assert_eq!(fs::metadata(output.join("big")).unwrap().len(), 1 << 20);
}

#[test]
fn the_temporary_directory_has_a_size() {
    let mut step = Step::new(["dd", "if=/dev/zero", "of=/tmp/big", "bs=65536", "count=64"]);
    step.spec.limits.tmp_size_bytes = 1 << 20;
    let outcome = step.run();
    assert_eq!(outcome.report.exit, Exit::Code(1));
    assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
}

#[test]
fn too_much_output_is_cut_and_the_step_goes_on() {
    let mut step = Step::shell("yes | head -c 3000000; echo more >&2; exit 3");
    step.spec.limits.log_size_bytes = 100_000;
    let outcome = step.run();
    assert_eq!(outcome.report.exit, Exit::Code(3));
    assert!(outcome.report.log_cut);
    let (kept, marker) = outcome.stdout.split_at(100_000);
    assert_eq!(kept, "y\n".repeat(50_000));
    assert_eq!(marker, "\n[lineal: output dropped from here, the limit is 100000 bytes]\n");
    assert!(outcome.stderr.starts_with("\n[lineal: output dropped"), "{:?}", outcome.stderr);
}
