//! Faults while traffic moves: the stable version serves, no request is lost, the record says why.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::model::{Model, text};
use crate::project::{eventually, processes_with};
use crate::scope::doctor;

/// More requests than any rollout here needs.
const MANY: usize = 60_000;
const FINAL: [&str; 4] = ["promoted", "rolled-back", "aborted", "expired"];

/// Version 1 serves, version 2 has a fault; its rollout must end in a way that leaves version 1 serving, without one
/// failed request.
#[track_caller]
fn falls_back(model: &Model, transition: &str, cause: &str) -> Value {
    let rollout = model.rollout("toy/2");
    model.requests(MANY);
    model.send(&["--until-settled"]);
    let status = model.settled();
    serves_first(model, &status);
    let history = model.history(&rollout);
    assert_eq!(
        (history[0].as_str(), history.last().unwrap().as_str()),
        ("started", transition),
        "{history:?}"
    );
    assert_eq!(history.iter().filter(|step| FINAL.contains(&step.as_str())).count(), 1, "{history:?}");
    let told = text(&status["rollout"]["message"]);
    assert!(told.contains(cause), "no `{cause}` in: {told}");
    assert_eq!(model.project.json(&["verify", "toy/2"])["verified"], true);
    status
}

#[track_caller]
fn serves_first(model: &Model, status: &Value) {
    assert_eq!(
        (&status["serving"], &status["rollout"]["phase"]),
        (&1.into(), &"Degraded".into()),
        "{status:#}"
    );
    assert_eq!(status["rollout"]["weightPercent"], 0);
    model.requests(50);
    let sent = eventually("only the stable version answers", || {
        let sent = model.send(&[]);
        (sent["by_version"].as_object().unwrap().len() == 1).then_some(sent)
    });
    assert!(sent["by_version"].as_object().unwrap().keys().all(|version| version.ends_with('1')), "{sent:#}");
}

#[test]
fn a_good_version_goes_all_the_way() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    let second = model.promoted(&["value=0.31"]);
    let rollout = model.rollout(&second);
    model.requests(MANY);
    model.send(&["--until-settled"]);
    model.healthy(2);
    let history = model.history(&rollout);
    assert_eq!(history.first().map(String::as_str), Some("started"));
    assert_eq!(history.last().map(String::as_str), Some("promoted"));
    assert_eq!(model.project.json(&["verify", &second])["verified"], true);
}

#[test]
fn what_is_not_promoted_is_not_rolled_out() {
    let model = Model::new();
    let _roles = model.serve();
    model.register(&[]);
    let start = ["rollout", "start", "toy/1", "--to", "production"];
    model.project.refuses(
        &start,
        1,
        "refused",
        &["toy/1 is not promoted to production", "lineal promote toy/1"],
    );
    let unknown = ["rollout", "start", "toy/7", "--to", "production"];
    model.project.refuses(&unknown, 3, "not-found", &["no model version `toy/7`"]);
    model.policy("staging", &[("always", "true", "nothing")]);
    model.project.json(&["promote", "toy/1", "--to", "staging"]);
    model.project.refuses(&start, 1, "refused", &["toy/1 is not promoted to production"]);
    assert_eq!(model.project.json(&["rollout", "status"]), serde_json::json!([]));
    model.requests(1);
    let send = ["traffic", "send", "requests.jsonl"];
    model.project.refuses(&send, 3, "not-found", &["no such model is served", "lineal rollout start"]);
}

#[test]
fn a_promotion_that_only_the_index_knows_moves_no_traffic() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.register(&["value=0.31"]);
    let forged = "INSERT INTO promotions SELECT 1000, statement, environment, model, 2, \
                  (SELECT digest FROM versions WHERE version = 2), policy, promoted_at, 1 FROM promotions";
    doctor(&model.project, forged);
    let start = ["rollout", "start", "toy/2", "--to", "production"];
    model.project.refuses(&start, 1, "refused", &["toy/2 is not promoted to production"]);
}

#[test]
fn a_server_that_never_becomes_ready_gets_no_traffic() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.promoted(&["fault=silent"]);
    let rollout = model.rollout("toy/2");
    let status = model.settled();
    serves_first(&model, &status);
    let told = text(&status["rollout"]["message"]);
    assert!(told.contains("was not ready within 3000 ms"), "{told}");
    assert_eq!(model.history(&rollout), ["started", "rolled-back"]);
}

#[test]
fn a_server_that_ends_at_once_gets_no_traffic() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.promoted(&["fault=crash"]);
    let rollout = model.rollout("toy/2");
    let status = model.settled();
    serves_first(&model, &status);
    let told = text(&status["rollout"]["message"]);
    assert!(told.contains("the model does not fit"), "its last words are told: {told}");
    assert_eq!(model.history(&rollout), ["started", "rolled-back"]);
}

#[test]
fn a_first_version_that_does_not_start_serves_nothing() {
    let model = Model::new();
    let _roles = model.serve();
    model.promoted(&["fault=crash"]);
    model.promoted(&[]);
    let rollout = model.rollout("toy/1");
    let status = model.settled();
    assert_eq!(
        (&status["serving"], &status["rollout"]["phase"]),
        (&Value::Null, &"Degraded".into()),
        "{status:#}"
    );
    assert_eq!(model.history(&rollout).last().map(String::as_str), Some("rolled-back"));
    // The next version is not held up by it.
    model.rollout("toy/2");
    assert_eq!(model.settled()["serving"], 2);
}

#[test]
fn a_server_with_errors_is_rolled_back_unnoticed() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.promoted(&["fault=errors"]);
    falls_back(&model, "rolled-back", "errors");
}

#[test]
fn a_server_with_a_fault_fails_its_gate() {
    let model = Model::new();
    for fault in
        ["fault=garbage", "fault=wrong", "fault=errors", "fault=refuses", "fault=silent", "fault=crash"]
    {
        let run = model.run(&[fault]);
        let answer = model.project.lineal(&["test", "run", &run, "--json"]);
        assert_eq!(answer.status.code(), Some(1), "{fault}: {answer:#?}");
        let gates: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(gates[0]["outcome"], "FAILED", "{gates:#}");
        assert_ne!(gates[0]["failed"], serde_json::json!([]), "{gates:#}");
    }
}

#[test]
fn a_server_with_garbage_is_rolled_back() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.without_outcomes();
    model.promoted(&["fault=garbage"]);
    falls_back(&model, "rolled-back", "errors");
}

#[test]
fn a_server_that_refuses_good_requests_is_rolled_back() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.without_outcomes();
    model.promoted(&["fault=refuses"]);
    let rollout = model.rollout("toy/2");
    model.requests(MANY);
    // An answer with a client's error goes to the client, who may well be right or wrong about it.
    model.project.lineal(&["traffic", "send", "requests.jsonl", "--until-settled"]);
    let status = model.settled();
    assert_eq!(
        (&status["serving"], &status["rollout"]["phase"]),
        (&1.into(), &"Degraded".into()),
        "{status:#}"
    );
    assert_eq!(model.history(&rollout).last().map(String::as_str), Some("rolled-back"));
}

#[test]
fn a_worse_model_is_rolled_back_by_its_outcomes() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    // The outcomes are 0 and 1 in turn: 0.3 is a little wrong, 30 is off.
    model.promoted(&["value=30"]);
    falls_back(&model, "rolled-back", "loss");
}

#[test]
fn a_server_that_dies_in_its_canary_loses_no_request() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.promoted(&["fault=dies"]);
    falls_back(&model, "rolled-back", "ended");
    eventually("one model server is left", || {
        let python = |process: &&String| process.contains("python serve.py");
        (processes_with(&model.marker).iter().filter(python).count() <= 1).then_some(())
    });
}

#[test]
fn an_abort_by_hand_returns_traffic_at_once() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.promoted(&["value=0.31"]);
    model.promoted(&["value=0.32"]);
    let rollout = model.rollout("toy/2");
    eventually("the canary has traffic", || (model.status()["rollout"]["weightPercent"] == 20).then_some(()));
    let second = ["rollout", "start", "toy/3", "--to", "production"];
    let fragments = [rollout.as_str(), "toy/2 is under way", "lineal rollout abort"];
    model.project.refuses(&second, 1, "rollout-state", &fragments);
    let began = Instant::now();
    model.project.json(&["rollout", "abort", &rollout, "--reason", "on second thought"]);
    assert!(began.elapsed() < Duration::from_secs(1), "an abort takes {:?}", began.elapsed());
    let status = model.settled();
    serves_first(&model, &status);
    assert_eq!(model.history(&rollout), ["started", "advanced", "aborted"]);
    assert!(text(&status["rollout"]["message"]).contains("on second thought"), "{status:#}");
    let promote = ["rollout", "promote", &rollout, "--full", "--reason", "r"];
    model.project.refuses(&promote, 1, "rollout-state", &["has ended", "start another one"]);
    let other = ["rollout", "abort", "rollout-000000000000", "--reason", "r"];
    model.project.refuses(&other, 3, "not-found", &["no rollout `rollout-000000000000`"]);
    model.rollout("toy/3");
}

#[test]
fn a_policy_without_a_usable_strategy_starts_nothing() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.promoted(&["value=0.31"]);
    let good = fs::read_to_string(model.project.path("policy/production.yaml")).unwrap();
    model.project.write("policy/production.yaml", good.replace("[20, 50, 100]", "[50, 20]"));
    let start = ["rollout", "start", "toy/2", "--to", "production"];
    model.project.refuses(&start, 3, "policy-invalid", &["production", "steps", "rising percentages"]);
    assert_eq!(model.status()["serving"], 1);
    model.project.write("policy/production.yaml", good);
    model.rollout("toy/2");
}

#[test]
fn a_killed_control_plane_does_not_stop_the_traffic() {
    let model = Model::new();
    let mut roles = model.serve();
    model.first();
    model.promoted(&["value=0.31"]);
    let rollout = model.rollout("toy/2");
    eventually("the canary has traffic", || (model.status()["rollout"]["weightPercent"] == 20).then_some(()));
    roles.serve.take().unwrap().kill();
    roles.start_serve();
    model.requests(20);
    eventually("requests through the gateway succeed", || {
        model.project.lineal(&["traffic", "send", "requests.jsonl"]).status.success().then_some(())
    });
    // Traffic goes on until the rollout, continued or given up, has ended.
    model.requests(MANY);
    eventually("the rollout has ended", || {
        let ended = |history: &[String]| history.iter().any(|step| FINAL.contains(&step.as_str()));
        let sent = model.project.lineal(&["traffic", "send", "requests.jsonl", "--limit", "500", "--json"]);
        assert!(sent.status.success(), "{sent:#?}");
        ended(&model.history(&rollout)).then_some(())
    });
    let history = model.history(&rollout);
    assert_eq!(history.iter().filter(|step| FINAL.contains(&step.as_str())).count(), 1, "{history:?}");
    let serving = if history.last().unwrap() == "promoted" { 2 } else { 1 };
    assert_eq!(model.status()["serving"], serving, "{history:?}");
    assert_eq!(model.project.json(&["verify", "toy/2"])["verified"], true);
}

#[test]
fn a_killed_control_plane_knows_what_served() {
    let model = Model::new();
    let mut roles = model.serve();
    model.first();
    for _ in 0..3 {
        roles.serve.take().unwrap().kill();
        roles.start_serve();
        assert_eq!(model.status()["serving"], 1);
    }
    model.requests(100);
    eventually("requests through the gateway succeed", || {
        model.project.lineal(&["traffic", "send", "requests.jsonl"]).status.success().then_some(())
    });
    model.send(&[]);
}

#[test]
fn a_stable_server_that_is_killed_comes_back() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    let servers = processes_with(&model.marker);
    let server = servers.iter().find(|process| process.contains("python serve.py")).unwrap();
    let pid = server.split(' ').next().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
    model.requests(50);
    eventually("the server is there again", || {
        let sent = model.project.lineal(&["traffic", "send", "requests.jsonl", "--json"]);
        (sent.status.success() && !processes_with(&model.marker).contains(server)).then_some(())
    });
    assert_eq!(model.status()["serving"], 1);
}
