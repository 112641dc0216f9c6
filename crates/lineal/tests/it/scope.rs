//! What `lineal verify` looks at: what the subject rests on, by proofs of inclusion, or the whole ledger; with which
//! index, on which disk. And what a policy looks at.

use std::fs;
use std::process::Command;

use lineal_facts::Digest;
use serde_json::{Value, json};

use crate::model::Model;
use crate::project::{Answer, Project, Started};
use crate::tampering::{Sealed, change_statement, flip, tile};
use crate::thief::{self, Thief};

/// Changes the project's index behind its back.
#[track_caller]
pub(crate) fn doctor(project: &Project, sql: &str) {
    let script =
        "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.executescript(sys.argv[2])\nc.commit()";
    let index = project.path(".lineal/index.db");
    assert!(Command::new("python3").args(["-c", script]).arg(index).arg(sql).status().unwrap().success());
}

#[track_caller]
fn verified(project: &Project, arguments: &[&str]) -> Value {
    let report = project.json(&[&["verify"], arguments].concat());
    assert_eq!((&report["verified"], &report["findings"]), (&json!(true), &json!([])), "{report:#}");
    report
}

/// The links whose label begins so.
fn links(report: &Value, start: &str) -> Vec<String> {
    fn collect(node: &Value, start: &str, found: &mut Vec<String>) {
        let label = node["label"].as_str().unwrap();
        if label.starts_with(start) {
            found.push(format!("{label}: {}", node["detail"].as_str().unwrap()));
        }
        node["children"].as_array().unwrap().iter().for_each(|child| collect(child, start, found));
    }
    let mut found = Vec::new();
    collect(&report["tree"], start, &mut found);
    found
}

/// The position of the last entry of this kind.
fn position(project: &Project, noun: &str) -> u64 {
    let entries = project.ledger();
    let mut entries = entries.as_array().unwrap().iter();
    entries.find(|entry| entry["noun"] == noun).unwrap()["position"].as_u64().unwrap()
}

#[test]
fn a_subject_is_verified_by_what_it_rests_on() {
    let model = Model::with_every_kind();
    let project = &model.project;
    for entry in project.ledger().as_array().unwrap() {
        verified(project, &[entry["statement"].as_str().unwrap()]);
    }
    let versions = project.json(&["model", "list"]);
    for row in versions.as_array().unwrap() {
        let version = row["version"].as_str().unwrap();
        let (part, whole) = (verified(project, &[version]), verified(project, &[version, "--full"]));
        assert_eq!((&part["scope"], &whole["scope"]), (&json!("subject"), &json!("ledger")));
        assert_eq!((&part["because"], &whole["because"]), (&Value::Null, &Value::Null));
        // The same chain: only what is said about the ledger differs.
        let chain = |report: &Value| report["tree"]["children"].as_array().unwrap()[1..].to_vec();
        assert_eq!(chain(&part), chain(&whole));
        assert!(links(&part, "ledger")[0].contains("all that it counts"), "{part:#}");
    }
}

#[test]
fn what_a_subject_does_not_rest_on_is_for_the_whole_check() {
    let sealed = Sealed::new();
    sealed.project.write("other.csv", "a,b\n3,4\n");
    sealed.project.json(&["data", "add", "other", "other.csv", "--tag", "t"]);
    let place = position(&sealed.project, "dataset");
    change_statement(&sealed.project, place, |statement| *statement.last_mut().unwrap() ^= 1);
    assert_eq!(verified(&sealed.project, &["d@t"])["scope"], "subject");
    let named = format!("ledger position {place}");
    sealed.found_by(&["verify", "d@t", "--full", "--json"], 5, "tampered", &named);
    sealed.found_by(&["verify", "other@t", "--json"], 5, "tampered", &named);
}

#[test]
fn a_doctored_index_hides_no_revocation() {
    let sealed = Sealed::new();
    let project = &sealed.project;
    let thief = Thief::of(project);
    project.json(&["ledger", "rotate", "lineal", "builder"]);
    let forged = Thief::append(project, &thief::incident("nothing"), &thief.builder, &thief.log).to_string();
    project.fails(&["verify", &forged], 1, "untrusted-key", &["was revoked at ledger position"]);
    // The last of the keys' statements ends the stolen one.
    doctor(project, "DELETE FROM keys WHERE position = (SELECT MAX(position) FROM keys)");
    let answer = project.lineal(&["verify", &forged, "--json"]);
    answer.failed(1, "untrusted-key", &["was revoked at ledger position"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let because = report["because"].as_str().unwrap();
    assert!(because.contains("the checkpoint counts 5 key statements; here are 4"), "{because}");
    // A true yes stays one.
    let report = verified(project, &["d@t"]);
    assert_eq!(report["scope"], "ledger");
}

#[test]
fn rows_of_the_index_are_never_believed() {
    let model = Model::new();
    model.policy("staging", &[("always", "true", "nothing")]);
    let version = model.admitted();
    let project = &model.project;
    project.json(&["approve", &version, "--for", "staging", "--reason", "after the promotion"]);
    let honest = verified(project, &[&version]);
    // What rows say about statements does not count; what they lead to is read from the ledger.
    doctor(
        project,
        "UPDATE gates SET outcome = 'failed', counts = 0; UPDATE approvals SET approver = 'eve', reason = 'none'; \
         UPDATE promotions SET environment = 'production'; UPDATE entries SET holder = 'eve'; \
         UPDATE runs SET pipeline = 'other'; UPDATE rollout_steps SET record = '{}'",
    );
    assert_eq!(verified(project, &[&version])["tree"], honest["tree"]);
    // An approval that nobody gave is not one because there is a row.
    doctor(
        project,
        "INSERT INTO approvals SELECT position + 100000, statement, model, version, digest, 'production', 'ana', \
         'forged', approved_at, 1 FROM approvals",
    );
    assert_eq!(verified(project, &[&version])["tree"], honest["tree"]);
    // Rows that are gone take away from what is shown, and add nothing.
    doctor(project, "DELETE FROM subjects WHERE position IN (SELECT position FROM approvals)");
    let (less, whole) = (verified(project, &[&version]), verified(project, &[&version, "--full"]));
    let approvals = |report: &Value| links(report, "approval by").len();
    // The promotion rests on the other one.
    assert_eq!((approvals(&less), approvals(&honest), approvals(&whole)), (1, 2, 2));
    // Nothing found is no answer.
    doctor(project, "DELETE FROM versions");
    assert_eq!(verified(project, &[&version])["scope"], "ledger");
    project.json(&["ledger", "rebuild"]);
    assert_eq!(verified(project, &[&version])["tree"], honest["tree"]);
}

#[test]
fn a_policy_sees_the_ledger_and_not_the_index() {
    let model = Model::new();
    let project = &model.project;
    let version = model.register(&[]);
    let digest: Digest = project.json(&["model", "list"])[0]["digest"].as_str().unwrap().parse().unwrap();
    let rules =
        [("approved", "approvals.size() > 0", "no approval"), ("clean", "incidents.size() == 0", "bad")];
    model.policy("production", &rules);
    let refused =
        |rule: &str| project.fails(&["promote", &version, "--to", "production"], 1, "refused", &[rule]);
    refused("approved: no approval");
    // A row is no approval.
    doctor(
        project,
        "INSERT INTO approvals SELECT 99, statement, model, version, digest, 'production', 'ana', 'forged', \
         registered_at, 1 FROM versions",
    );
    refused("approved: no approval");
    project.json(&["approve", &version, "--for", "production", "--reason", "fine"]);
    project.json(&["policy", "check", &version, "--for", "production"]);
    // What speaks against it stays, also without its rows.
    let thief = Thief::of(project);
    let mut incident = thief::incident("the model is bad");
    incident.subject = vec![lineal_facts::statement::Subject::new("model", digest)];
    Thief::append(project, &incident, &thief.builder, &thief.log);
    refused("clean: bad");
    doctor(
        project,
        "DELETE FROM subjects WHERE position IN (SELECT position FROM incidents); \
         DELETE FROM entries WHERE position IN (SELECT position FROM incidents); DELETE FROM incidents",
    );
    refused("clean: bad");
    // Rows that say something else of the version itself are found out.
    doctor(project, "UPDATE versions SET digest = 'sha256:' || hex(zeroblob(32))");
    project.fails(&["promote", &version, "--to", "production"], 5, "tampered", &["lineal ledger rebuild"]);
}

#[test]
fn an_index_that_cannot_lead_is_said_and_not_needed() {
    let sealed = Sealed::new();
    let project = &sealed.project;
    let because = |report: &Value| report["because"].as_str().unwrap_or_default().to_owned();
    let table = sealed.table();
    for name in ["index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(project.path(&format!(".lineal/{name}")));
    }
    project.write(".lineal/index.db", "this is no database".repeat(1000));
    let report = verified(project, &["d@t"]);
    assert_eq!(report["scope"], "ledger");
    assert!(because(&report).contains("is damaged"), "{report:#}");
    let answer = project.lineal(&["ledger", "fsck", "--json"]);
    answer.failed(3, "file", &["the index was not checked", "is damaged"]);
    // What else is damaged is still found.
    let good = fs::read(&table).unwrap();
    flip(&table);
    project.lineal(&["ledger", "fsck", "--json"]).failed(5, "tampered", &[table.to_str().unwrap()]);
    fs::write(&table, good).unwrap();
    project.json(&["ledger", "rebuild"]);
    assert_eq!(verified(project, &["d@t"])["scope"], "subject");
    assert_eq!(project.json(&["ledger", "fsck"])["ok"], true);
    // Damage within a file that opens, with nothing in a log beside it.
    doctor(project, "PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = fs::read(project.path(".lineal/index.db")).unwrap();
    let pages = bytes.len() / 4096;
    for page in 2..pages {
        bytes[page * 4096..(page + 1) * 4096].fill(0x55);
    }
    project.write(".lineal/index.db", bytes);
    assert_eq!(verified(project, &["d@t"])["scope"], "ledger");
    project.lineal(&["ledger", "fsck", "--json"]).failed(3, "file", &["the index"]);
    project.json(&["ledger", "rebuild"]);
    assert_eq!(verified(project, &["d@t"])["scope"], "subject");
    // A server that is down.
    let config = fs::read_to_string(project.path(".lineal/config.toml")).unwrap();
    let key = "index = \"postgres://nobody@127.0.0.1:1/nothing\"\n";
    let (head, tail) = config.split_once("[signers]").unwrap_or((&config, ""));
    let tail = if tail.is_empty() { String::new() } else { format!("[signers]{tail}") };
    project.write(".lineal/config.toml", format!("{head}\n{key}{tail}"));
    let report = verified(project, &["d@t"]);
    assert!(because(&report).contains("127.0.0.1:1"), "{report:#}");
    project.lineal(&["ledger", "fsck", "--json"]).failed(3, "database-unreachable", &["was not checked"]);
}

/// Runs the program where nothing below the project can be written.
fn read_only(project: &Project, arguments: &[&str]) -> Answer {
    let root = project.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    let script = format!(
        "mount --bind '{root}' '{root}' && mount -o remount,bind,ro '{root}' && cd '{root}' && \
         ! touch .lineal/x 2>/dev/null && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_lineal")]);
    command.args(arguments).env("LINEAL_IDENTITY", project.identity());
    Started::new(command).finish()
}

#[test]
fn read_only_storage_is_verified_and_checked() {
    let sealed = Sealed::new();
    for arguments in [&["verify", "d@t", "--json"][..], &["verify", sealed.id(), "--full", "--json"]] {
        let answer = read_only(&sealed.project, arguments);
        assert_eq!(answer.json()["verified"], true, "{answer:#?}");
    }
    let answer = read_only(&sealed.project, &["verify", "d@t", "--json"]);
    assert_eq!(answer.json()["scope"], "subject", "{answer:#?}");
    let answer = read_only(&sealed.project, &["ledger", "fsck", "--json"]);
    assert_eq!((&answer.json()["ok"], &answer.json()["findings"]), (&json!(true), &json!([])));
    // The last rows may be in the log beside the index, if whoever wrote them was killed.
    let script = "import os, sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.executescript(sys.argv[2])\nos._exit(0)";
    for (sql, sound) in [
        ("UPDATE state SET size = size + 1; UPDATE state SET size = size - 1", true),
        ("UPDATE runs SET pipeline = 'other'", false),
    ] {
        let index = sealed.project.path(".lineal/index.db");
        assert!(
            Command::new("python3").args(["-c", script]).arg(&index).arg(sql).status().unwrap().success()
        );
        assert!(fs::metadata(index.with_extension("db-wal")).unwrap().len() > 0);
        let answer = read_only(&sealed.project, &["verify", "d@t", "--json"]);
        assert_eq!(answer.json()["scope"], "subject", "{answer:#?}");
        let answer = read_only(&sealed.project, &["ledger", "fsck", "--json"]);
        assert_eq!(answer.status.success(), sound, "{answer:#?}");
    }
    sealed.project.json(&["ledger", "rebuild"]);
    // Whoever wrote them may have ended between removing the log's index and the log.
    let script = "import shutil, sqlite3, sys\np = sys.argv[1]\nc = sqlite3.connect(p)\n\
                  c.executescript('UPDATE state SET size = size + 1; UPDATE state SET size = size - 1')\n\
                  shutil.copy(p + '-wal', p + '.kept')\nc.close()\nshutil.move(p + '.kept', p + '-wal')";
    let index = sealed.project.path(".lineal/index.db");
    assert!(Command::new("python3").args(["-c", script]).arg(&index).status().unwrap().success());
    assert!(index.with_extension("db-wal").exists() && !index.with_extension("db-shm").exists());
    let answer = read_only(&sealed.project, &["verify", "d@t", "--json"]);
    assert_eq!(answer.json()["scope"], "subject", "{answer:#?}");
    let answer = read_only(&sealed.project, &["ledger", "fsck", "--json"]);
    assert!(answer.status.success(), "{answer:#?}");
    let table = sealed.table();
    flip(&table);
    read_only(&sealed.project, &["verify", "d@t", "--json"]).failed(5, "tampered", &["is damaged"]);
    read_only(&sealed.project, &["ledger", "fsck", "--json"]).failed(5, "tampered", &["is damaged"]);
    // What writes says why it cannot.
    let answer = read_only(&sealed.project, &["data", "add", "e", "table.csv", "--json"]);
    answer.failed(3, "file", &[]);
}

#[test]
fn what_is_missing_is_called_missing() {
    let model = Model::new();
    let version = model.register(&[]);
    let project = &model.project;
    let pack = project.path(".lineal/statements/000");
    for (path, kind) in [
        (tile(project, "0"), "tile-missing"),
        (tile(project, "entries"), "entries-missing"),
        (pack, "statement-missing"),
    ] {
        let aside = project.path("aside");
        fs::rename(&path, &aside).unwrap();
        let answer = project.lineal(&["verify", &version, "--json"]);
        answer.failed(1, "not-verified", &["is missing"]);
        let answer = project.lineal(&["ledger", "fsck", "--json"]);
        answer.failed(1, "not-verified", &["is missing"]);
        let report: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(report["findings"][0]["kind"], kind, "{report:#}");
        fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(verified(project, &[&version])["scope"], "subject");
    assert_eq!(project.json(&["ledger", "fsck"])["ok"], true);
    let nothing = Digest::of(b"nothing").to_string();
    project.fails(&["verify", &nothing], 1, "not-verified", &["is not in the ledger"]);
}
