//! What can be proven afterwards, and what is found out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::{Answer, Stage};
use super::{folder, production, training};

const SUBJECT: &str = "flights-delay/2";
/// What the tree of a version in production must hold, by the beginning of the label.
const LINKS: [&str; 16] = [
    "ledger",
    "registration",
    "model",
    "run-",
    "step prepare",
    "step train",
    "step evaluate",
    "data flights@2013-01..04",
    "code",
    "environment/train",
    "gate data-contract",
    "gate quality",
    "gate inference",
    "approval by ana",
    "promotion to production",
    "promoted, canary at 100 %",
];

pub(super) fn reproduction(stage: &mut Stage) -> Result<()> {
    stage.say("Version 2 is made again from its record, in a clean place.");
    let again = stage.lineal(&["reproduce", SUBJECT])?;
    stage.check(&again, "version 2 is reproduced", |v| v["reproduced"] == true)?;
    stage.check(&again, "the digests of all five outputs of its steps are equal", |v| {
        equal_outputs(v) == Some(5)
    })?;
    stage.say("A step with an unseeded random generator: `observe` lets it be and says so.");
    let observed = stage.lineal(&["run", "random.yaml"])?;
    stage.check(&observed, "the run names the step that used randomness", |v| {
        let step = &v["steps"][0];
        let asked = step["entropy_askers"].as_array().is_some_and(|askers| !askers.is_empty());
        step["step"] == "sample" && matches!(step["entropy"].as_str(), Some("read" | "sensitive")) && asked
    })?;
    let run = training::latest_run(stage, "flights-random")?;
    let differs = stage.exits(1, &["reproduce", &run])?;
    stage.check(&differs, "it is not reproduced, and the step is named as the cause", |v| {
        v["reproduced"] == false && v["causes"][0].as_str().is_some_and(|cause| cause.contains("sample"))
    })?;
    stage.say(
        "Under `strict` the same code gets its randomness from a keyed stream, and becomes reproducible.",
    );
    let strict = stage.lineal(&["run", "random.yaml", "--set", "determinism=strict"])?;
    stage.check(&strict, "under strict the randomness is controlled", |v| {
        v["steps"][0]["entropy"] == "controlled"
    })?;
    let run = training::latest_run(stage, "flights-random")?;
    let again = stage.lineal(&["reproduce", &run])?;
    stage.check(&again, "under strict the same code is reproduced", |v| {
        v["reproduced"] == true && equal_outputs(v) == Some(1)
    })
}

/// Number of outputs, if each has the recorded digest.
fn equal_outputs(reproduction: &Value) -> Option<usize> {
    let outputs = reproduction["outputs"].as_array()?;
    outputs.iter().all(|o| o["recorded"].is_string() && o["recorded"] == o["found"]).then_some(outputs.len())
}

pub(super) fn verification(stage: &mut Stage) -> Result<()> {
    let verified = stage.lineal(&["verify", SUBJECT])?;
    stage.check(&verified, "version 2 is verified, without findings", |v| {
        v["verified"] == true && v["findings"].as_array().is_some_and(Vec::is_empty)
    })?;
    for link in LINKS {
        stage.check(&verified, &format!("the tree has a sound link `{link}...`"), |v| {
            has_link(&v["tree"], link)
        })?;
    }
    stage.check(&verified, "statements are included in the ledger", |v| {
        v["tree"].to_string().contains("entry ")
    })?;
    let graph = stage.lineal(&["lineage", SUBJECT])?;
    stage.check(&graph, "lineage leads to data, code and environment", |v| {
        let kinds: Vec<&str> =
            v["nodes"].as_object().into_iter().flatten().filter_map(|(_, n)| n["kind"].as_str()).collect();
        ["model", "step", "data", "code", "environment"].iter().all(|kind| kinds.contains(kind))
    })?;
    stage.say("Lists and tables are a projection: they can be made again from the ledger.");
    let lists: [&[&str]; 4] = [&["runs", "list"], &["model", "list"], &["data", "list"], &["ledger", "show"]];
    let read = |stage: &Stage| lists.iter().map(|list| stage.read(list)).collect::<Result<Vec<_>>>();
    let before = read(stage)?;
    stage.lineal(&["ledger", "rebuild"])?;
    let after = read(stage)?;
    stage.fact("a rebuilt index says the same", || Ok(before == after))
}

/// Whether the tree has a node that is in order and whose label begins so.
fn has_link(node: &Value, start: &str) -> bool {
    let here = node["label"].as_str().is_some_and(|label| label.starts_with(start)) && node["ok"] == true;
    here || node["children"]
        .as_array()
        .is_some_and(|children| children.iter().any(|child| has_link(child, start)))
}

/// A copy of the project, what is changed in it, and a word that must be in the finding.
struct Damage {
    copy: &'static str,
    what: &'static str,
    file: PathBuf,
    named: String,
}

/// Where the first 256 signed statements are.
const PACK: &str = "statements/000";

pub(super) fn tampering(stage: &mut Stage) -> Result<()> {
    let row = production::version_row(stage, SUBJECT)?;
    let project = stage.folder.join(".lineal");
    let file = model_file(&project, row["digest"].as_str().context("a row has digests")?)?;
    let entries = folder::largest(&project.join("log/tile/entries"))?;
    let within =
        |path: &Path| path.strip_prefix(&project).map(Path::to_owned).context("a file of the project");
    let damages = [
        Damage { copy: "ledger", what: "the ledger", file: within(&entries)?, named: "ledger".to_owned() },
        Damage { copy: "blob", what: "the model's file", file: blob(&file)?, named: file },
        Damage {
            copy: "statement",
            what: "a signed statement",
            file: PathBuf::from(PACK),
            named: PACK.to_owned(),
        },
    ];
    for damage in damages {
        let copy = format!("copies/{}", damage.copy);
        folder::copy(&project, &stage.folder.join(&copy).join(".lineal"))?;
        let flipped = folder::flip(&stage.folder.join(&copy).join(".lineal").join(&damage.file))?;
        stage.say(&format!(
            "In a copy of the project one byte of {} is flipped: {}, {flipped}.",
            damage.what,
            damage.file.display()
        ));
        let found = stage.exits(5, &["--dir", &copy, "--quiet", "verify", "--full", SUBJECT])?;
        check_found(stage, &found, &damage)?;
    }
    stage.say("The original is as it was: nothing to say.");
    let verified = stage.lineal(&["--quiet", "verify", SUBJECT])?;
    stage.check(&verified, "the original still verifies", |v| v["verified"] == true)
}

fn check_found(stage: &mut Stage, found: &Answer, damage: &Damage) -> Result<()> {
    let claim = format!("verify finds the changed byte of {} and names it", damage.what);
    stage.check(found, &claim, |v| {
        let named = |f: &Value| {
            f["code"] == "tampered" && f["message"].as_str().is_some_and(|m| m.contains(&damage.named))
        };
        v["verified"] == false && v["findings"].as_array().is_some_and(|findings| findings.iter().any(named))
    })
}

/// Where a blob is, from the project's folder.
fn blob(digest: &str) -> Result<PathBuf> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64).context("a digest")?;
    Ok(PathBuf::from(format!("blobs/sha256/{}/{}", &hex[..2], &hex[2..])))
}

/// The digest of the largest file of a model, by the model's manifest.
fn model_file(project: &Path, model: &str) -> Result<String> {
    let manifest = std::fs::read(project.join(blob(model)?)).context("cannot read the model's manifest")?;
    let manifest: Value = serde_json::from_slice(&manifest).context("the model's manifest")?;
    let files = manifest["files"].as_array().context("a manifest has files")?;
    let size = |file: &&Value| file["size"].as_str().and_then(|size| size.parse::<u64>().ok());
    let largest = files.iter().max_by_key(size).context("a model has files")?;
    Ok(format!("sha256:{}", largest["sha256"].as_str().context("a file has a digest")?))
}

pub(super) fn summary(stage: &mut Stage, elapsed: Duration) -> Result<()> {
    let count = |typed: &[&str]| Ok::<_, anyhow::Error>(stage.read(typed)?.as_array().map_or(0, Vec::len));
    let (entries, runs, versions) =
        (count(&["ledger", "show"])?, count(&["runs", "list"])?, count(&["model", "list"])?);
    let seconds = elapsed.as_secs_f64();
    stage.say(&format!(
        "{entries} signed statements in one ledger, {runs} runs, {versions} model versions, in {seconds:.0} s:
  * data, code, environment, parameters and seed of every step are pinned by digest;
  * version 2 was reproduced bit for bit, earned its traffic by evidence and serves;
  * version 3 passed its gates, harmed live requests and was rolled back by evidence alone;
  * one flipped byte in the ledger, in a blob or in a statement was found and named.

Where things are
  demo/pipeline.yaml, contract.yaml, policy/   what was asked for
  demo/.lineal/log                             the ledger: tlog-tiles, checked by tools that are not ours
  demo/.lineal/statements                      what its entries say
  demo/.lineal/blobs                           data, code and models by SHA-256
  demo/copies                                  the three damaged copies

What to try next, in demo/ with `lineal` from target/debug
  lineal ledger show                           every statement, who signed it
  lineal data show flights@2013-01..02         schema and profile
  lineal lineage flights-delay/3 --format dot  the graph for Graphviz
  lineal run --set leaves=31                   another model: what runs again, and why"
    ));
    stage.fact(&format!("the story took {seconds:.0} s of at most 180"), || {
        Ok(elapsed < Duration::from_secs(180))
    })
}
