//! Approvals, keys, policies: what is missing is listed, what does not fit does not count.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::model::Model;

const APPROVED: (&str, &str, &str) = (
    "approved",
    "approvers.size() >= 1",
    "one approval is missing: lineal approve {{subject}} --for {{environment}}",
);
const TESTED: (&str, &str, &str) =
    ("tested", "gates.exists(g, g.name == 'inference' && g.passed)", "the gate inference must have passed");

/// A model whose production policy asks for a passed gate and an approval.
fn guarded() -> Model {
    let model = Model::new();
    model.policy("production", &[TESTED, APPROVED]);
    model
}

#[track_caller]
fn approve(model: &Model, version: &str, environment: &str) {
    model.project.json(&["approve", version, "--for", environment, "--reason", "looks good"]);
}

#[test]
fn a_refusal_lists_what_is_missing() {
    let model = guarded();
    let run = model.run(&[]);
    model.project.json(&["model", "register", "toy", "--run", &run]);
    let promote = ["promote", "toy/1", "--to", "production"];
    let both = [
        "toy/1 may not go to production; missing:",
        "tested: the gate inference",
        "lineal approve toy/1 --for production",
    ];
    model.project.refuses(&promote, 1, "refused", &both);
    approve(&model, "toy/1", "production");
    let answer = model.project.lineal(&["promote", "toy/1", "--to", "production", "--json"]);
    let text = answer.failed(1, "refused", &["tested: the gate inference"]);
    assert!(!text.contains("lineal approve"), "{text}");
    let check = model.project.lineal(&["policy", "check", "toy/1", "--for", "production", "--json"]);
    assert_eq!(check.status.code(), Some(1));
    model.project.json(&["test", "run", &run]);
    let promoted = model.project.json(&promote);
    assert_eq!(promoted["rules"], serde_json::json!(["tested", "approved"]));
    assert_eq!(model.project.json(&["verify", "toy/1"])["verified"], true);
}

#[test]
fn an_approval_counts_for_its_environment_only() {
    let model = guarded();
    model.policy("staging", &[APPROVED]);
    model.policy("production", &[APPROVED]);
    model.register(&[]);
    approve(&model, "toy/1", "staging");
    let production = ["promote", "toy/1", "--to", "production"];
    model.project.refuses(&production, 1, "refused", &["lineal approve toy/1 --for production"]);
    model.project.json(&["promote", "toy/1", "--to", "staging"]);
    // Promotion somewhere else is no approval either.
    model.project.refuses(&production, 1, "refused", &["lineal approve toy/1 --for production"]);
}

#[test]
fn an_approval_counts_for_its_bytes_only() {
    let model = guarded();
    model.policy("production", &[APPROVED]);
    model.register(&[]);
    model.register(&["value=0.4"]);
    approve(&model, "toy/1", "production");
    let second = ["promote", "toy/2", "--to", "production"];
    model.project.refuses(
        &second,
        1,
        "refused",
        &["toy/2 may not go", "lineal approve toy/2 --for production"],
    );
    model.project.json(&["promote", "toy/1", "--to", "production"]);
    model.project.refuses(
        &["approve", "toy/3", "--for", "production", "--reason", "r"],
        3,
        "not-found",
        &["toy/3"],
    );
}

#[test]
fn a_failed_gate_does_not_pass_later_by_itself() {
    let model = guarded();
    let run = model.run(&["fault=wrong"]);
    model.project.json(&["model", "register", "toy", "--run", &run]);
    let tested = model.project.lineal(&["test", "run", &run, "--json"]);
    assert_eq!(tested.status.code(), Some(1), "{tested:#?}");
    approve(&model, "toy/1", "production");
    let promote = ["promote", "toy/1", "--to", "production"];
    model.project.refuses(&promote, 1, "refused", &["tested: the gate inference"]);
}

#[test]
fn a_wrong_key_cannot_approve() {
    let model = guarded();
    model.register(&[]);
    let with = |key: &str| {
        let key = model.project.path(key).display().to_string();
        ["approve", "toy/1", "--for", "production", "--reason", "r", "--key", &key].map(str::to_owned)
    };
    let refuses = |key: &str, fragments: &[&str]| {
        let arguments = with(key);
        model.project.refuses(&arguments.each_ref().map(String::as_str), 3, "key", fragments);
    };
    // A key of another project has the right form and is not registered here.
    let other = model.project.beside();
    fs::copy(other.path(".lineal/keys/ana.approver.pem.age"), model.project.path("stranger.age")).unwrap();
    refuses("stranger.age", &["cannot approve", "lineal ledger keys"]);
    // A key of another role is registered and may not approve.
    refuses(".lineal/keys/lineal.builder.pem.age", &["cannot approve"]);
    refuses("nowhere.pem", &["no key file", "nowhere.pem"]);
    model.project.write("text.pem", "no key");
    fs::set_permissions(model.project.path("text.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    refuses("text.pem", &["text.pem", "does not hold a key"]);
    let mine = model.project.path(".lineal/keys/ana.approver.pem.age");
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o644)).unwrap();
    refuses(".lineal/keys/ana.approver.pem.age", &["can be read by others", "chmod 600"]);
    let approve = ["approve", "toy/1", "--for", "production", "--reason", "r"];
    model.project.refuses(&approve, 3, "key", &["ana.approver.pem", "chmod 600"]);
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o600)).unwrap();
    model.project.refuses(
        &[&approve[..], &["--as", "eve"]].concat(),
        3,
        "key",
        &["no key file", "eve.approver.pem"],
    );
    model.project.json(&approve);
}

#[test]
fn an_approval_needs_a_reason() {
    let model = guarded();
    model.register(&[]);
    for reason in ["", "  ", "\n"] {
        let approve = ["approve", "toy/1", "--for", "production", "--reason", reason];
        model.project.refuses(&approve, 2, "usage", &["needs a reason"]);
    }
}

#[test]
fn a_policy_that_cannot_be_used_admits_nothing() {
    let model = guarded();
    model.register(&[]);
    let promote = ["promote", "toy/1", "--to", "production"];
    let good = fs::read_to_string(model.project.path("policy/production.yaml")).unwrap();
    for (text, fragments) in [
        (good.replace("approvers.size() >= 1", "approvers.size( >= 1"), ["rule `approved`", "expr"]),
        (good.replace("production", "staging"), ["policy of `staging`", "not of `production`"]),
        (good.replace("rules:", "rule:"), ["policy/production.yaml", "rule"]),
        ("rules: []".to_owned(), ["policy/production.yaml", "apiVersion"]),
        (String::new(), ["policy/production.yaml", "empty"]),
    ] {
        model.project.write("policy/production.yaml", text);
        model.project.refuses(&promote, 3, "policy-invalid", &fragments);
    }
    // A rule that cannot be decided does not hold.
    model.policy("production", &[("odd", "run.params.nothing > 1", "odd must hold")]);
    model.project.refuses(&promote, 1, "refused", &["odd must hold", "could not be decided"]);
    fs::remove_file(model.project.path("policy/production.yaml")).unwrap();
    model.project.refuses(&promote, 3, "not-found", &["no policy", "policy/production.yaml"]);
}

#[test]
fn what_cannot_be_served_cannot_be_registered() {
    let model = guarded();
    let run = model.run(&[]);
    fs::remove_dir_all(model.project.path(".venv")).unwrap();
    let register = ["model", "register", "toy", "--run", &run];
    model.project.refuses(&register, 3, "environment", &[".venv", "python3 -m venv"]);
    model.project.pipeline("steps: {a: {run: [sh, -c, 'echo > $LINEAL_OUT/o'], out: {o: o}}}\n");
    let run = model.run(&[]);
    let register = ["model", "register", "toy", "--run", &run];
    model.project.refuses(&register, 2, "usage", &["no `serve` section"]);
}
