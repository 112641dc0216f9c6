//! A clock that jumps a year: order and evidence do not follow it.

use serde_json::Value;

use crate::model::{Model, text};
use crate::project::{Project, eventually};

const YEAR_DAYS: i32 = 365;
const PIPELINE: &str = "params: {n: 0}\nsteps:\n  one: {run: [sh, -c, 'cp $LINEAL_PARAMS $LINEAL_OUT/o'], params: [n], out: {o: o}}\n";

/// Adds the snapshot `d@TAG`.
#[track_caller]
fn grow(project: &Project, tag: &str) {
    project.write("d.csv", format!("a\n{tag}\n"));
    project.json(&["data", "add", "d", "d.csv", "--tag", tag]);
}

/// The year in which the newest snapshot says that it was frozen.
#[track_caller]
fn year(project: &Project, tag: &str) -> i32 {
    let shown = project.json(&["data", "show", &format!("d@{tag}")]).to_string();
    let at = shown.find("T").and_then(|_| shown.find("\"20")).unwrap_or_else(|| panic!("no time in {shown}"));
    shown[at + 1..at + 5].parse().unwrap()
}

#[test]
fn order_and_evidence_do_not_follow_the_clock() {
    let project = Project::with_pipeline(PIPELINE);
    grow(&project, "before");
    let kept = project.ledger().as_array().unwrap().clone();
    project.set_clock(-YEAR_DAYS);
    grow(&project, "behind");
    let run = text(&project.run(&["n=1"])["run"]);
    project.set_clock(YEAR_DAYS);
    grow(&project, "ahead");
    project.set_clock(0);
    grow(&project, "after");
    // The clock was another one.
    let years: Vec<i32> =
        ["before", "behind", "ahead", "after"].iter().map(|tag| year(&project, tag)).collect();
    assert!(years[1] < years[0] && years[0] < years[2] && years[3] < years[2], "{years:?}");
    // Order is that of the entries, and nothing that was acknowledged is gone or elsewhere.
    let entries: Vec<Value> = project.ledger().as_array().unwrap().iter().rev().cloned().collect();
    let positions: Vec<u64> = entries.iter().map(|entry| entry["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, (0..entries.len() as u64).collect::<Vec<_>>());
    assert!(kept.iter().rev().zip(&entries).all(|(before, now)| before == now));
    for days in [-YEAR_DAYS, YEAR_DAYS, 0] {
        project.set_clock(days);
        for subject in ["d@before", "d@behind", "d@ahead", "d@after", &run] {
            assert_eq!(project.json(&["verify", subject])["verified"], true, "{subject} at {days} days");
        }
        project.json(&["ledger", "fsck"]);
        // What a run made is reused, whatever the time.
        assert_eq!(project.run(&["n=1"])["steps"][0]["reused"], true);
    }
    let ledger = project.ledger();
    project.json(&["ledger", "rebuild"]);
    assert_eq!(project.ledger(), ledger);
}

#[test]
fn an_approval_is_neither_young_before_it_was_given_nor_old_enough_by_a_jump() {
    let model = Model::new();
    let project = &model.project;
    let rule = "approvals.exists(a, a.age_seconds < 3600)";
    model.policy("production", &[("fresh", rule, "approve again")]);
    let version = model.register(&[]);
    project.json(&["approve", &version, "--for", "production", "--reason", "r"]);
    let promote = ["promote", version.as_str(), "--to", "production"];
    for days in [YEAR_DAYS, -YEAR_DAYS] {
        project.set_clock(days);
        project.refuses(&promote, 1, "refused", &["fresh"]);
    }
    project.set_clock(0);
    project.json(&promote);
}

#[test]
fn a_control_plane_whose_clock_was_set_back_still_moves_the_traffic() {
    let model = Model::new();
    let mut roles = model.serve();
    model.first();
    roles.serve.take().unwrap().kill();
    model.project.set_clock(-YEAR_DAYS);
    roles.start_serve();
    assert_eq!(model.status()["serving"], 1);
    // The gateway was not told of the clock, and takes newer tables only.
    let second = model.promoted(&["value=0.31"]);
    model.rollout(&second);
    model.requests(60_000);
    model.send(&["--until-settled"]);
    model.healthy(2);
    model.requests(50);
    eventually("only the new version answers", || {
        let sent = model.send(&[]);
        let versions: Vec<&String> = sent["by_version"].as_object().unwrap().keys().collect();
        (versions.len() == 1 && versions[0].ends_with('2')).then_some(())
    });
}
