//! Starting, stopping, and the death of parent and launcher.

use crate::fixture::{Step, is_alive, namespace_of, processes_in, strict, wait_until};
use lineal_sandbox::{Determinism, Exit, Network};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

const NO_GRACE: Duration = Duration::from_millis(50);
const LONG_GRACE: Duration = Duration::from_secs(60);

#[test]
fn a_running_step_has_no_report_and_an_ended_one_keeps_it() {
    let step = Step::shell("echo ready; read line < /tmp/never 2>/dev/null; sleep 1000");
    let mut running = step.start();
    step.wait_for_output("ready");
    assert_eq!(running.try_wait(), None);
    assert!(is_alive(running.pid()));
    running.kill();
    wait_until("report", || running.try_wait().is_some());
    let report = running.wait();
    assert_eq!(report.exit, Exit::Signal(9));
    assert_eq!(running.try_wait(), Some(report));
}

#[test]
fn stop_reaches_all_processes_and_lets_them_clean_up() {
    for determinism in [Determinism::Off, strict(1, 0)] {
        let script = "(trap 'echo child stopped; exit 0' TERM; echo one; while :; do sleep 0.01; done) &
            trap 'wait; echo step stopped; exit 7' TERM; echo two; while :; do sleep 0.01; done";
        let step = Step::shell(script).determinism(determinism);
        let mut running = step.start();
        step.wait_for_output("one");
        step.wait_for_output("two");
        running.stop(LONG_GRACE);
        assert_eq!(running.wait().exit, Exit::Code(7));
        assert!(step.stdout().ends_with("child stopped\nstep stopped\n"), "{}", step.stdout());
    }
}

#[test]
fn a_step_that_ignores_the_request_is_killed_after_the_grace() {
    let step = Step::shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
    let mut running = step.start();
    step.wait_for_output("ready");
    let control = running.control();
    std::thread::scope(|scope| {
        let report = scope.spawn(|| running.wait());
        control.stop(NO_GRACE);
        assert_eq!(report.join().unwrap().exit, Exit::Signal(9));
    });
    control.stop(NO_GRACE);
    control.kill();
}

#[test]
fn dropping_kills_everything() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let script = "setsid sleep 1000 & sleep 1000 & echo ready; sleep 1000";
        let step = Step::shell(script).determinism(determinism);
        let running = step.start();
        step.wait_for_output("ready");
        let (namespace, launcher) = (namespace_of(running.pid()), running.launcher_pid());
        assert!(processes_in(&namespace).len() >= 3);
        drop(running);
        assert!(processes_in(&namespace).is_empty());
        assert!(!is_alive(launcher));
    }
}

#[test]
fn processes_left_in_the_background_end_with_the_step() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let step = Step::shell("setsid sleep 1000 & exit 4").determinism(determinism);
        let mut running = step.start();
        assert_eq!(running.wait().exit, Exit::Code(4));
        assert!(!is_alive(running.pid()));
    }
}

#[test]
fn a_killed_launcher_takes_the_tree_along() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let step = Step::shell("setsid sleep 1000 & echo ready; sleep 1000").determinism(determinism);
        let mut running = step.start();
        step.wait_for_output("ready");
        let namespace = namespace_of(running.pid());
        kill_9(running.launcher_pid());
        assert_eq!(running.wait().exit, Exit::LauncherStopped);
        wait_until("end of the tree", || processes_in(&namespace).is_empty());
    }
}

#[test]
fn a_killed_parent_leaves_nothing() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetime::helper_parent", "--ignored", "--nocapture"])
        .env(HELPER, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map(Result::unwrap);
    let words = lines.map(|line| line.split_once("step and launcher ").map(|(_, pids)| pids.to_owned()));
    let pids = words.flatten().next().unwrap();
    let (step, launcher) = pids.split_once(' ').unwrap();
    let (step, launcher): (u32, u32) = (step.parse().unwrap(), launcher.parse().unwrap());
    let namespace = namespace_of(step);
    assert!(is_alive(launcher) && processes_in(&namespace).len() >= 3);
    kill_9(parent.id());
    parent.wait().unwrap();
    wait_until("end of the tree", || processes_in(&namespace).is_empty());
    wait_until("end of the launcher", || !is_alive(launcher));
}

/// Set for [`helper_parent`], which does nothing without it.
const HELPER: &str = "LINEAL_SANDBOX_TEST_HELPER";

/// Not a test: the process that [`a_killed_parent_leaves_nothing`] kills.
#[test]
#[ignore = "the helper of another test"]
fn helper_parent() {
    if std::env::var_os(HELPER).is_none() {
        return;
    }
    let step = Step::shell("setsid sleep 1000 & echo ready; sleep 1000");
    let mut running = step.start();
    step.wait_for_output("ready");
    println!("\nstep and launcher {} {}", running.pid(), running.launcher_pid());
    running.wait();
}

fn kill_9(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_server_on_the_hosts_network_serves_until_it_is_stopped() {
    // Port 0 would be chosen inside; the test needs to know it, so the server prints it.
    let script = "import socket
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100).upper())
    connection.close()";
    let mut step = Step::python(script).determinism(Determinism::Off);
    step.spec.network = Network::Host;
    step.spec.limits.timeout_ms = None;
    let mut running = step.start();
    wait_until("port", || step.stdout().ends_with('\n'));
    let port: u16 = step.stdout().trim().parse().unwrap();
    for word in ["one", "two"] {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.write_all(word.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, word.to_uppercase());
    }
    assert_eq!(running.try_wait(), None);
    running.stop(LONG_GRACE);
    assert_eq!(running.wait().exit, Exit::Signal(15));
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[test]
fn many_steps_run_at_the_same_time() {
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || Step::shell(&format!("exit {number}")).run().report.exit))
            .collect();
        for (run, number) in runs.into_iter().zip(0..) {
            assert_eq!(run.join().unwrap(), Exit::Code(number));
        }
    });
}
