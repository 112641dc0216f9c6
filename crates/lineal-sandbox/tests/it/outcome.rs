//! How a step ends and what it prints.

use crate::fixture::{Step, strict};
use lineal_sandbox::{Determinism, Exit};

#[test]
fn codes_and_signals_are_told_in_every_mode() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        for (script, exit) in [
            ("exit 0", Exit::Code(0)),
            ("exit 7", Exit::Code(7)),
            ("exit 127", Exit::Code(127)),
            ("kill -SEGV $$", Exit::Signal(11)),
            ("kill -KILL $$", Exit::Signal(9)),
            ("sh -c 'kill -TERM $$'; exit $((1 + $?))", Exit::Code(144)),
        ] {
            let outcome = Step::shell(script).determinism(determinism.clone()).run();
            assert_eq!(outcome.report.exit, exit, "{script} in {determinism:?}: {outcome:?}");
        }
    }
}

#[test]
fn the_two_streams_go_to_their_files_and_are_appended() {
    let step = Step::shell("echo out; echo err >&2");
    step.run();
    let outcome = step.run();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\nout\n", "err\nerr\n"));
    assert!(!outcome.report.log_cut);
}

#[test]
fn both_streams_may_go_to_one_file() {
    let mut step = Step::shell("echo out; echo err >&2");
    step.spec.stderr = step.spec.stdout.clone();
    let mut lines: Vec<String> = step.run().stdout.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
}

#[test]
fn output_just_before_the_end_is_complete() {
    let step = Step::shell("head -c 1000000 /dev/zero | tr '\\0' x");
    assert_eq!(step.output().len(), 1_000_000);
}

#[test]
fn resources_are_measured() {
    let report = Step::python("x = bytearray(80_000_000); sum(range(3_000_000))").run().report;
    assert!(report.max_rss_bytes > 80_000_000, "{report:?}");
    assert!(report.cpu_ms >= 10 && report.wall_ms >= 10, "{report:?}");
}

#[test]
fn a_stopped_process_can_be_continued_under_strict() {
    // A tracer that mixes up group stops loses the stop, or the continuation.
    let script = "import os, select, signal
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    os.write(writer, b'x')
    os._exit(3)
_, status = os.waitpid(child, os.WUNTRACED)
print(os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP)
print('stays stopped', not select.select([reader], [], [], 0.3)[0])
os.kill(child, signal.SIGCONT)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))";
    let output = Step::python(script).determinism(strict(1, 0)).output();
    assert_eq!(output, "True\nstays stopped True\n3\n");
}
