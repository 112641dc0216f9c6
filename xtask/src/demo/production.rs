//! From a tested model to production, and back when the evidence says so.

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::{Answer, Stage};
use super::training::{self, PIPELINE};
use crate::roles::wait_until;

/// Requests that version 1 answers alone.
const FIRST_REQUESTS: &str = "2000";
/// Where version 3's traffic begins: the harm shows once delays of the day have built up.
const THIRD_SKIP: &str = "20000";
const FOUR_MONTHS: &str = "data.flights=flights@2013-01..04";

pub(super) fn promotion(stage: &mut Stage) -> Result<()> {
    let run = training::first_run(stage)?;
    let registered = stage.lineal(&["model", "register", "flights-delay", "--run", &run])?;
    stage
        .check(&registered, "the first version is flights-delay/1", |v| v["version"] == "flights-delay/1")?;
    stage
        .say("The policy is a file. It wants passed gates, provenance and an approval; the last is missing.");
    let refused = stage.exits(1, &["promote", "flights-delay/1", "--to", "production"])?;
    stage.check(&refused, "promotion is refused, and says that an approval is missing", |v| {
        v["code"] == "refused" && v["error"].as_str().is_some_and(|e| e.contains("approv"))
    })?;
    approve_and_promote(stage, "flights-delay/1", "first model, slices look good")
}

fn approve_and_promote(stage: &mut Stage, version: &str, reason: &str) -> Result<()> {
    let approved = stage.lineal(&["approve", version, "--for", "production", "--reason", reason])?;
    stage.check(&approved, "the approval is signed for this version", |v| v["version"] == version)?;
    let promoted = stage.lineal(&["promote", version, "--to", "production"])?;
    stage.check(&promoted, "every rule of the policy held", |v| {
        v["version"] == version && v["rules"].as_array().is_some_and(|rules| rules.len() >= 3)
    })
}

pub(super) fn serving(stage: &mut Stage) -> Result<()> {
    stage.say(
        "Two processes of the same binary. Lineal starts the model's own server from the verified bytes.",
    );
    stage.start("serve")?;
    stage.start("gateway")?;
    stage.lineal(&["rollout", "start", "flights-delay/1", "--to", "production"])?;
    wait_until("version 1 serves", || Ok(server_state(&status(stage)?, 1).as_deref() == Some("running")))?;
    let status = stage.lineal(&["rollout", "status"])?;
    stage.check(&status, "the first version goes live at once", |v| v[0]["serving"] == 1)
}

pub(super) fn traffic(stage: &mut Stage) -> Result<()> {
    stage.lineal(&["data", "add", "flights", "months/*-2013-0[5-7].csv", "--tag", "2013-05..07"])?;
    stage.lineal(&["run", "traffic.yaml"])?;
    stage.say(
        "Every request goes through the gateway; the true outcome is reported afterwards, by request id.",
    );
    let sent = send(stage, &["--limit", FIRST_REQUESTS])?;
    stage.check(&sent, "2,000 requests were answered, none failed", |v| {
        v["requests"] == 2000 && v["failed"] == 0
    })?;
    stage.check(&sent, "each outcome was reported", |v| v["outcomes"] == 2000)
}

/// Replays recorded requests through the gateway.
fn send(stage: &mut Stage, options: &[&str]) -> Result<Answer> {
    let requests = format!("{}:requests.requests", training::latest_run(stage, "flights-traffic")?);
    stage.lineal(&[&["traffic", "send", requests.as_str()], options].concat())
}

/// Moving traffic costs no request.
fn check_none_lost(stage: &mut Stage, sent: &Answer) -> Result<()> {
    stage.check(sent, "the rollout settled and no request was lost on the way", |v| {
        v["settled"].is_string() && v["failed"] == 0
    })
}

pub(super) fn second(stage: &mut Stage) -> Result<()> {
    stage.lineal(&["data", "add", "flights", "months/*-2013-0[1-4].csv", "--tag", "2013-01..04"])?;
    stage.lineal(&["run", "--set", FOUR_MONTHS])?;
    release(stage, "flights-delay/2", "trained on four months instead of two")?;
    stage.say("5 %, 25 %, 50 %, 100 %: each step waits for evidence on errors, latency and the quality of outcomes.");
    stage.lineal(&["rollout", "start", "flights-delay/2", "--to", "production"])?;
    let sent = send(stage, &["--skip", FIRST_REQUESTS, "--until-settled"])?;
    check_none_lost(stage, &sent)?;
    let history = stage.lineal(&["rollout", "history", "flights-delay"])?;
    stage.check(&history, "its weights were 5, 25, 50 and 100 percent", |v| {
        let steps = steps_of(v, "flights-delay/2");
        let moved = steps.iter().filter(|step| step["transition"] != "started");
        let weights: Vec<&str> = moved.filter_map(|step| step["canaryWeightPercent"].as_str()).collect();
        weights == ["5", "25", "50", "100"]
    })?;
    stage.check(&history, "evidence promoted it", |v| {
        steps_of(v, "flights-delay/2").last().is_some_and(|s| s["transition"] == "promoted")
    })?;
    let status = stage.lineal(&["rollout", "status"])?;
    stage.check(&status, "version 2 serves", |v| v[0]["serving"] == 2)
}

pub(super) fn third(stage: &mut Stage) -> Result<()> {
    stage.say(
        "Its training table has one feature in hours; callers send minutes. Its report is as good as before.",
    );
    stage.lineal(&["run", "--set", FOUR_MONTHS, "--set", "delay_unit=hours"])?;
    release(stage, "flights-delay/3", "delays in hours now")?;
    stage.lineal(&["rollout", "start", "flights-delay/3", "--to", "production"])?;
    let sent = send(stage, &["--skip", THIRD_SKIP, "--until-settled"])?;
    check_none_lost(stage, &sent)?;
    let status = stage.lineal(&["rollout", "status"])?;
    stage.check(&status, "version 2 serves again", |v| v[0]["serving"] == 2)?;
    stage.check(&status, "the rollout is degraded", |v| v[0]["rollout"]["phase"] == "Degraded")?;
    let history = stage.lineal(&["rollout", "history", "flights-delay"])?;
    stage.check(&history, "version 3 was rolled back because of the loss", |v| {
        steps_of(v, "flights-delay/3").last().is_some_and(|step| {
            let cause = step["cause"].as_str().unwrap_or_default();
            step["transition"] == "rolled-back"
                && step["canaryWeightPercent"] == "0"
                && cause.contains("loss")
        })
    })?;
    stage.say("The processes end; from here on nothing is needed but the folder.");
    stage.roles.stop()
}

/// Tests, registers, approves and promotes the newest run.
fn release(stage: &mut Stage, version: &str, reason: &str) -> Result<()> {
    let run = training::latest_run(stage, PIPELINE)?;
    let tested = stage.lineal(&["test", "run", &run])?;
    training::check_gates(stage, &tested)?;
    let registered = stage.lineal(&["model", "register", "flights-delay", "--run", &run])?;
    stage.check(&registered, "it is the next version", |v| v["version"] == version)?;
    approve_and_promote(stage, version, reason)
}

fn status(stage: &Stage) -> Result<Value> {
    stage.read(&["rollout", "status"])
}

/// `starting`, `running`, or why not.
fn server_state(status: &Value, version: u64) -> Option<String> {
    let servers = status[0]["servers"].as_array()?;
    let server = servers.iter().find(|server| server["version"] == version)?;
    server["state"].as_str().map(str::to_owned)
}

/// What was recorded about a version's rollout, oldest first.
fn steps_of<'a>(history: &'a Value, version: &str) -> Vec<&'a Value> {
    let rows = history.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut steps: Vec<&Value> =
        rows.iter().map(|row| &row["record"]).filter(|r| r["canary"] == version).collect();
    steps.sort_by_key(|step| step["decidedAt"].as_str());
    steps
}

/// The digest of a version, by its row in the list of models.
pub(super) fn version_row(stage: &Stage, version: &str) -> Result<Value> {
    let listed = stage.read(&["model", "list"])?;
    let rows = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .find(|row| row["version"] == version)
        .cloned()
        .with_context(|| format!("{version} is not listed"))
}
