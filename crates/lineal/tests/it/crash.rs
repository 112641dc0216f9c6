//! `kill -9` at any moment: what was finished is kept, the rest is repaired by the next start.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::project::{Project, eventually, processes_with};

/// Three steps; the second one takes as long as the parameter says.
const SLOW: &str = "params: {wait: 0}\nsteps:\n  \
     one: {run: [sh, -c, 'echo 1 > $LINEAL_OUT/o'], out: {o: o}}\n  \
     two: {run: [sh, -c, 'sleep $(tr -cd 0-9 < $LINEAL_PARAMS); cp $LINEAL_IN/i $LINEAL_OUT/o'], params: [wait], \
     in: {i: one.o}, out: {o: o}}\n  \
     three: {run: [sh, -c, 'cp $LINEAL_IN/i $LINEAL_OUT/o'], in: {i: two.o}, out: {o: o}}\n";

#[test]
fn a_killed_run_keeps_its_finished_steps_and_leaves_no_process() {
    let project = Project::with_pipeline(SLOW);
    let mut run = project.start(&["run", "--set", "wait=3030303"]);
    eventually("step two runs", || (!processes_with("sleep 3030303").is_empty()).then_some(()));
    // The statement about step one is committed in the background.
    eventually("step one is recorded", || (project.count("provenance") == 1).then_some(()));
    run.kill();
    eventually("step two is stopped", || processes_with("3030303").is_empty().then_some(()));
    let plan = project.json(&["plan", "--set", "wait=3030303"]);
    let reused: Vec<_> = plan.as_array().unwrap().iter().map(|step| &step["reuse"]).collect();
    assert_eq!(reused, [true, false, false]);
    assert_eq!(project.json(&["runs", "list"]), serde_json::json!([]));
    let run = project.run(&["wait=0"]);
    let reused: Vec<_> = run["steps"].as_array().unwrap().iter().map(|step| &step["reused"]).collect();
    assert_eq!(reused, [true, false, false]);
    assert_eq!(project.workspaces(), Vec::<PathBuf>::new(), "the next run cleans up");
    assert_eq!(project.json(&["verify", run["run"].as_str().unwrap()])["verified"], true);
}

#[test]
fn a_run_that_is_told_to_stop_leaves_no_process() {
    let project = Project::with_pipeline(SLOW);
    let run = project.start(&["run", "--set", "wait=3040404"]);
    eventually("step two runs", || (!processes_with("sleep 3040404").is_empty()).then_some(()));
    run.terminate();
    assert!(!run.finish().status.success());
    eventually("step two is stopped", || processes_with("3040404").is_empty().then_some(()));
    project.run(&["wait=0"]);
    assert_eq!(project.workspaces(), Vec::<PathBuf>::new());
}

/// Six steps, each after the one before.
fn chain() -> String {
    let steps = (1..=6).map(|number| {
        let input = if number == 1 { String::new() } else { format!(", in: {{i: s{}.o}}", number - 1) };
        format!(
            "  s{number}: {{run: [sh, -c, 'cat $LINEAL_PARAMS $LINEAL_IN/* > $LINEAL_OUT/o; true'], params: [salt]{input}, \
             out: {{o: o}}}}\n"
        )
    });
    format!("params: {{salt: 0}}\nsteps:\n{}", steps.collect::<String>())
}

#[test]
fn kill_at_any_moment_is_repaired_by_the_next_start() {
    const ROUNDS: u64 = 15;
    let project = Project::with_pipeline(&chain());
    let began = Instant::now();
    project.run(&[]);
    let whole = began.elapsed();
    // A linear congruential generator: moments spread over a whole run, the same ones every time.
    let mut state: u64 = 20_130_101;
    for round in 1..=ROUNDS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = whole.mul_f64((state >> 33) as f64 / f64::from(u32::MAX >> 1));
        let salt = format!("salt={round}");
        let mut run = project.start(&["run", "--set", &salt]);
        kill_after(&mut run, moment);
        let known = project.count("provenance");
        let finished = project.run(&[&salt]);
        let executed = finished["steps"].as_array().unwrap().iter().filter(|s| s["reused"] == false).count();
        assert_eq!(project.count("provenance"), known + executed, "no finished step is done twice");
        assert_eq!(project.json(&["verify", finished["run"].as_str().unwrap()])["verified"], true);
    }
    assert_eq!(project.count("provenance") as u64, 6 * (ROUNDS + 1));
    let (ledger, runs) = (project.ledger(), project.json(&["runs", "list"]));
    project.json(&["ledger", "rebuild"]);
    assert_eq!((project.ledger(), project.json(&["runs", "list"])), (ledger, runs));
    // An owner that dies while it makes its folder leaves an empty one; anything more would pile up.
    let mut left = project.workspaces();
    left.retain(|path| !std::fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_none()));
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn kill_while_data_is_added_is_repaired_by_the_next_start() {
    let project = Project::new();
    project.write("big.csv", format!("a,b\n{}", "1,2\n".repeat(400_000)));
    let began = Instant::now();
    project.json(&["data", "add", "d", "big.csv", "--tag", "whole"]);
    let whole = began.elapsed();
    for round in 1..=8_u32 {
        project.write("big.csv", format!("a,b\n{}", format!("{round},2\n").repeat(400_000)));
        let tag = format!("t{round}");
        let mut add = project.start(&["data", "add", "d", "big.csv", "--tag", &tag]);
        kill_after(&mut add, whole * round / 8);
        project.json(&["data", "add", "d", "big.csv", "--tag", &tag]);
        assert_eq!(project.json(&["verify", &format!("d@{tag}")])["verified"], true);
    }
    assert_eq!(project.count("dataset"), 9);
}

/// `kill -9` when that much time has gone by, or the process is done.
fn kill_after(started: &mut crate::project::Started, moment: Duration) {
    let began = Instant::now();
    while began.elapsed() < moment && started.is_running() {
        std::thread::sleep(Duration::from_millis(1));
    }
    started.kill();
}
