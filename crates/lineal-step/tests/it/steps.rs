//! What is told of steps that do not end well, or whose outputs cannot be kept.

use lineal_sandbox::Exit;
use lineal_step::{Finished, Outcome, Refusal};

use crate::pod::{Pod, order, sent, with_output};
use crate::server::Server;

fn outcome(script: &str, timeout_ms: u64) -> (Server, Outcome) {
    let server = Server::start();
    let mut step = with_output(order(&server, "train", script), "result", "result");
    step.limits.timeout_ms = Some(timeout_ms);
    server.order(&step);
    let ended = Pod::new(&server).run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
    let outcome = server.result().outcome;
    (server, outcome)
}

fn failed(script: &str, timeout_ms: u64) -> (Server, Finished) {
    match outcome(script, timeout_ms) {
        (server, Outcome::Finished(finished)) => (server, *finished),
        (_, Outcome::Refused(refusal)) => panic!("{refusal:?}"),
    }
}

fn refused(script: &str) -> Refusal {
    match outcome(script, 30_000).1 {
        Outcome::Refused(refusal) => refusal,
        Outcome::Finished(finished) => panic!("{finished:?}"),
    }
}

#[test]
fn a_step_that_fails_is_told_with_its_log_and_without_outputs() {
    let (server, finished) = failed("echo half > $LINEAL_OUT/result; echo broken; exit 3", 30_000);
    assert_eq!(finished.report.exit, Exit::Code(3));
    assert!(finished.outputs.is_empty());
    assert_eq!(sent(&server, &finished.log.unwrap()), "broken\n");
    assert_eq!(server.state().sent.len(), 1, "nothing but the log");
}

#[test]
fn a_step_that_is_killed_is_told() {
    let (_, finished) = failed("kill -9 $$", 30_000);
    assert_eq!(finished.report.exit, Exit::Signal(9));
}

#[test]
fn a_step_that_runs_too_long_is_ended() {
    let (_, finished) = failed("while :; do :; done", 300);
    assert_eq!(finished.report.exit, Exit::TimedOut);
}

#[test]
fn an_undeclared_output_is_told_by_the_path_that_the_step_knows() {
    let refusal = refused("echo a > $LINEAL_OUT/result; echo b > $LINEAL_OUT/more");
    assert_eq!(refusal.code, "step-output");
    assert!(refusal.message.contains("step `train` wrote `$LINEAL_OUT/more`"), "{}", refusal.message);
}

#[test]
fn a_missing_output_is_told() {
    let refusal = refused("true");
    assert_eq!(refusal.code, "step-output");
    assert!(refusal.message.contains("did not write its output `result`"), "{}", refusal.message);
}

#[test]
fn an_output_that_is_a_link_to_outside_is_not_followed() {
    for script in [
        "ln -s /etc/passwd $LINEAL_OUT/result",
        "mkdir $LINEAL_OUT/result; ln -s /etc/passwd $LINEAL_OUT/result/x",
    ] {
        let refusal = refused(script);
        assert_eq!(refusal.code, "step-output");
        assert!(refusal.message.contains("$LINEAL_OUT/result"), "{}", refusal.message);
        assert!(refusal.message.contains("symbolic link"), "{}", refusal.message);
    }
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let server = Server::start();
    let mut step = order(&server, "train", "");
    step.run = vec!["no-such-program".to_owned()];
    server.order(&step);
    assert_eq!(Pod::new(&server).run().exit, Exit::Code(0));
    match server.result().outcome {
        Outcome::Refused(refusal) => {
            assert_eq!(refusal.code, "sandbox");
            assert!(refusal.message.contains("no-such-program"), "{}", refusal.message);
        }
        Outcome::Finished(finished) => panic!("{finished:?}"),
    }
}
