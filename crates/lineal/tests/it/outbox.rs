//! A control plane that is killed between what it does and the record of it: the next start makes up for it, once.

use std::fs::{self, File};

use lineal_proof::Envelope;
use serde_json::Value;

use crate::model::{Model, Roles, text};
use crate::project::{Started, eventually};
use crate::witness::http;

/// A model whose version 1 serves and whose version 2 has 20 % of the traffic; yields the rollout.
fn under_way(model: &Model) -> String {
    model.first();
    model.promoted(&["value=0.31"]);
    let rollout = model.rollout("toy/2");
    eventually("the canary has traffic", || (model.status()["rollout"]["weightPercent"] == 20).then_some(()));
    eventually("it is routed", || (routed(model) == [1, 2]).then_some(()));
    rollout
}

/// Keeps the ledger from growing until it is dropped.
fn hold_ledger(model: &Model) -> File {
    let lock = File::options().append(true).open(model.project.path(".lineal/lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// The versions that the table of this moment routes to.
fn routed(model: &Model) -> Vec<u64> {
    let serve: Value =
        serde_json::from_slice(&fs::read(model.project.path(".lineal/serve.json")).unwrap()).unwrap();
    let path = "/api/v1/route-table?after=0&wait_ms=1000";
    let answer = http(serve["url"].as_str().unwrap(), "GET", path, b"");
    let envelope = Envelope::from_bytes(&answer.body).unwrap();
    let table: Value = serde_json::from_slice(&envelope.payload).unwrap();
    let shares = table["routes"][0]["shares"].as_array().unwrap().iter();
    let mut versions: Vec<u64> = shares.map(|share| share["version"].as_u64().unwrap()).collect();
    versions.sort_unstable();
    versions
}

/// The stored state of the only lane.
fn stored(model: &Model) -> Value {
    let path = model.project.path(".lineal/control/production.toy.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn last_cause(model: &Model) -> String {
    let history = model.project.json(&["rollout", "history"]);
    text(&history.as_array().unwrap().last().unwrap()["record"]["cause"])
}

/// Kills the control plane while `command` waits for the ledger, lets go of that, and starts again.
fn kill_while_it_waits(roles: &mut Roles<'_>, command: Started, lock: File) {
    roles.serve.take().unwrap().kill();
    assert!(!command.finish().status.success(), "nobody answered");
    drop(lock);
    roles.start_serve();
}

#[test]
fn a_fall_that_a_kill_left_unrecorded_is_recorded_by_the_next_start() {
    let model = Model::new();
    let mut roles = model.serve();
    let rollout = under_way(&model);
    let lock = hold_ledger(&model);
    let abort = model.project.start(&["rollout", "abort", &rollout, "--reason", "on second thought"]);
    // Traffic goes back although nothing can be recorded.
    eventually("only the stable version is routed", || (routed(&model) == [1]).then_some(()));
    kill_while_it_waits(&mut roles, abort, lock);
    assert_eq!(model.history(&rollout), ["started", "advanced", "aborted"]);
    assert!(last_cause(&model).contains("on second thought"), "not only that the state was lost");
    assert_eq!(model.status()["serving"], 1);
    eventually("nothing is due", || (stored(&model)["outbox"] == serde_json::json!([])).then_some(()));
    assert_eq!(model.project.json(&["verify", "toy/2"])["verified"], true);
}

#[test]
fn a_rise_that_a_kill_left_unrecorded_is_recorded_before_it_is_routed() {
    let model = Model::new();
    let mut roles = model.serve();
    let rollout = under_way(&model);
    let lock = hold_ledger(&model);
    let arguments = ["rollout", "promote", &rollout, "--full", "--reason", "good enough"];
    let promote = model.project.start(&arguments);
    eventually("it is decided", || (stored(&model)["rollout"]["phase"] == "Healthy").then_some(()));
    assert_eq!(routed(&model), [1, 2], "nothing is routed that is not recorded");
    kill_while_it_waits(&mut roles, promote, lock);
    assert_eq!(model.history(&rollout), ["started", "advanced", "promoted"]);
    assert!(last_cause(&model).contains("good enough"));
    assert_eq!(model.status()["serving"], 2);
    eventually("it is routed", || (routed(&model) == [2]).then_some(()));
    assert_eq!(model.project.json(&["verify", "toy/2"])["verified"], true);
}

#[test]
fn what_was_recorded_right_before_a_kill_is_not_recorded_again() {
    let model = Model::new();
    let mut roles = model.serve();
    let rollout = under_way(&model);
    model.project.json(&["rollout", "abort", &rollout, "--reason", "r"]);
    roles.serve.take().unwrap().kill();
    // As if the kill had come before the outbox was emptied; what is in it has no place in the ledger yet.
    let history = model.project.json(&["rollout", "history"]);
    let mut record = history.as_array().unwrap().last().unwrap()["record"].clone();
    record["sequence"] = serde_json::json!({"number": "1"});
    let mut state = stored(&model);
    state["outbox"] = serde_json::json!([record]);
    model.project.write(".lineal/control/production.toy.json", state.to_string());
    roles.start_serve();
    assert_eq!(model.history(&rollout), ["started", "advanced", "aborted"]);
    assert_eq!(model.project.json(&["verify", "toy/2"])["verified"], true);
}
