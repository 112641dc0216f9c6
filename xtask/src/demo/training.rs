//! From nothing to a tested model.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::folder;
use super::stage::{Answer, Stage};

/// What nobody waits for.
const INSTANT: Duration = Duration::from_secs(1);
/// A run that has nothing to do.
const NOTHING: Duration = Duration::from_secs(2);

pub(super) const PIPELINE: &str = "flights-delay";
const TWO_MONTHS: &str = "months/*-2013-0[12].csv";

pub(super) fn init(stage: &mut Stage) -> Result<()> {
    let made = stage.lineal(&["init", "--approver", "ana"])?;
    stage.check(&made, "a project has a ledger with a key and an approver", |v| {
        v["approver"] == "ana"
            && v["ledger_key"].as_str().is_some_and(|key| key.contains('+'))
            && v["entries"] == 3
    })
}

pub(super) fn data(stage: &mut Stage) -> Result<()> {
    stage.say("Two months of flights and weather become a snapshot: a SHA-256 a file, a schema, a profile.");
    let added = stage.lineal(&["data", "add", "flights", TWO_MONTHS, "--tag", "2013-01..02"])?;
    stage.check(&added, "the snapshot has four files", |v| v["files"] == 4 && v["unchanged"] == false)?;
    stage.say("Unchanged data is recognised.");
    let again = stage.lineal(&["data", "add", "flights", TWO_MONTHS, "--tag", "2013-01..02"])?;
    stage.check(&again, "unchanged data is recognised", |v| v["unchanged"] == true)?;
    stage.check(&again, "the same data has the same identity", |v| {
        v["snapshot"] == added.json()["snapshot"]
    })?;
    stage.check_time(&again, "recognising it is instant", INSTANT)?;

    let source = stage.folder.join("months/flights-2013-02.csv");
    let flipped = folder::flip(&source)?;
    stage.say(&format!(
        "Someone changes the source, months/flights-2013-02.csv, {flipped}. The snapshot holds."
    ));
    let verified = stage.lineal(&["verify", "flights@2013-01..02"])?;
    stage.check(&verified, "a snapshot does not follow its source", |v| v["verified"] == true)?;
    stage.say("What the source is now is another snapshot.");
    let changed = stage.lineal(&["data", "add", "flights", TWO_MONTHS])?;
    stage.check(&changed, "one changed byte is another identity", |v| {
        v["unchanged"] == false && v["snapshot"] != added.json()["snapshot"]
    })?;
    folder::flip(&source)?;
    Ok(())
}

pub(super) fn run(stage: &mut Stage) -> Result<()> {
    stage.say(
        "Steps run in a sandbox: declared inputs only, no network, a clean environment, a derived seed.",
    );
    let first = stage.lineal(&["run"])?;
    stage.check(&first, "a first run executes every step", |v| ran(v) == ["prepare", "train", "evaluate"])?;
    stage.say("A second run has nothing to do.");
    let again = stage.lineal(&["run"])?;
    stage.check(&again, "a second run does nothing", |v| v["unchanged"] == true && ran(v).is_empty())?;
    stage.check(&again, "it names the earlier run", |v| v["run"] == first.json()["run"])?;
    stage.check_time(&again, "doing nothing takes no time", NOTHING)?;
    stage.say("A changed parameter re-runs exactly what depends on it.");
    let explained = stage.lineal(&["explain", "train", "--set", "trees=120"])?;
    stage.check(&explained, "explain names the field that changed", |v| {
        v[0]["reuse"] == false && v[0]["why"].as_str().is_some_and(|why| why.contains("trees"))
    })?;
    let changed = stage.lineal(&["run", "--set", "trees=120"])?;
    stage.check(&changed, "only train and evaluate run again", |v| ran(v) == ["train", "evaluate"])
}

pub(super) fn gates(stage: &mut Stage) -> Result<()> {
    stage.say("Data contract, quality overall and by slice, and real requests to the served model.");
    let run = first_run(stage)?;
    let tested = stage.lineal(&["test", "run", &run])?;
    check_gates(stage, &tested)
}

/// All three gates passed, each with something checked.
pub(super) fn check_gates(stage: &mut Stage, tested: &Answer) -> Result<()> {
    stage.check(tested, "three gates passed: data contract, quality, inference", |v| {
        let passed = |gate: &Value| {
            gate["outcome"].as_str().is_some_and(|o| o.eq_ignore_ascii_case("passed"))
                && gate["passed"].as_array().is_some_and(|checks| !checks.is_empty())
        };
        v.as_array().is_some_and(|gates| gates.len() == 3 && gates.iter().all(passed))
    })
}

/// Names of the steps that a run executed, in order.
fn ran(outcome: &Value) -> Vec<&str> {
    let steps = outcome["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    steps.iter().filter(|step| step["reused"] == false).filter_map(|step| step["step"].as_str()).collect()
}

/// The first run of the pipeline: the one with the file's own parameters.
pub(super) fn first_run(stage: &Stage) -> Result<String> {
    runs(stage, PIPELINE)?.into_iter().next().context("there is no run")
}

/// The newest run of a pipeline.
pub(super) fn latest_run(stage: &Stage, pipeline: &str) -> Result<String> {
    runs(stage, pipeline)?.pop().context("there is no run")
}

/// Sealed runs of a pipeline, oldest first.
fn runs(stage: &Stage, pipeline: &str) -> Result<Vec<String>> {
    let listed = stage.read(&["runs", "list"])?;
    let rows = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut rows: Vec<&Value> = rows.iter().filter(|row| row["pipeline"] == pipeline).collect();
    rows.sort_by_key(|row| row["started_at"].as_str());
    Ok(rows.iter().filter_map(|row| row["run"].as_str()).map(str::to_owned).collect())
}
