//! `lineal ledger fsck`: the first difference, its file, and what rests on it.

use std::fs;
use std::process::Command;

use lineal_proof::{Checkpoint, KeyChain};
use serde_json::{Value, json};

use crate::project::eventually;
use crate::tampering::{Sealed, change_statement, flip, tile};
use crate::thief::{self, Thief};
use crate::witness::http;

/// What is found, in order: kind, code, position, and the nouns of what rests on it.
#[track_caller]
fn findings(sealed: &Sealed, exit: i32, code: &str) -> Vec<(String, Value, Vec<String>)> {
    let answer = sealed.project.lineal(&["ledger", "fsck", "--json"]);
    answer.failed(exit, code, &[]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let finding = |finding: &Value| {
        let nouns = finding["dependents"].as_array().unwrap().iter();
        let nouns = nouns.map(|dependent| dependent["noun"].as_str().unwrap().to_owned()).collect();
        (finding["kind"].as_str().unwrap().to_owned(), finding["position"].clone(), nouns)
    };
    report["findings"].as_array().unwrap().iter().map(finding).collect()
}

fn position(sealed: &Sealed, noun: &str) -> u64 {
    let entries = sealed.project.ledger();
    let entries = entries.as_array().unwrap().iter().rev();
    entries.into_iter().find(|entry| entry["noun"] == noun).unwrap()["position"].as_u64().unwrap()
}

#[test]
fn a_whole_project_is_whole() {
    let sealed = Sealed::new();
    let report = sealed.project.json(&["ledger", "fsck"]);
    assert_eq!((&report["ok"], &report["findings"]), (&json!(true), &json!([])));
    assert_eq!(report["entries"], sealed.project.ledger().as_array().unwrap().len());
    // Snapshot, its file, schema, profile, plan; each step: output, key document; the empty log of both.
    assert!(report["blobs"].as_u64().unwrap() >= 10, "{report}");
}

#[test]
fn a_changed_tile_and_a_changed_entry_are_told_apart() {
    let sealed = Sealed::new();
    let path = tile(&sealed.project, "0");
    let good = fs::read(&path).unwrap();
    flip(&path);
    // Nothing that was signed is accused with it.
    let found = findings(&sealed, 5, "tampered");
    assert!(found.iter().all(|(kind, ..)| kind == "tile"), "{found:?}");
    fs::write(&path, good).unwrap();
    flip(&tile(&sealed.project, "entries"));
    let found = findings(&sealed, 5, "tampered");
    assert!(found.iter().any(|(kind, ..)| kind == "entries"), "{found:?}");
}

#[test]
fn a_changed_statement_names_everything_that_rests_on_it() {
    let sealed = Sealed::new();
    let place = position(&sealed, "dataset");
    change_statement(&sealed.project, place, |statement| *statement.last_mut().unwrap() ^= 1);
    let found = findings(&sealed, 5, "tampered");
    assert_eq!(found[0].0, "statement-damaged");
    assert_eq!(found[0].1, place);

    let sealed = Sealed::new();
    let place = position(&sealed, "provenance");
    change_statement(&sealed.project, place, Vec::clear);
    let found = findings(&sealed, 1, "not-verified");
    assert_eq!(found[0], ("statement-missing".to_owned(), json!(place), vec!["run-sealed".to_owned()]));
}

#[test]
fn a_changed_file_of_a_snapshot_names_snapshot_steps_and_run() {
    let sealed = Sealed::new();
    flip(&sealed.table());
    let found = findings(&sealed, 5, "tampered");
    assert_eq!(found.len(), 1, "{found:?}");
    let (kind, place, nouns) = &found[0];
    assert_eq!((kind.as_str(), place), ("blob", &json!(position(&sealed, "dataset"))));
    assert_eq!(nouns, &["dataset", "provenance", "provenance", "run-sealed"]);
    let text = sealed.project.lineal(&["ledger", "fsck"]).stdout;
    assert!(text.contains("DAMAGED") && text.contains("on it rests: #"), "{text}");
}

#[test]
fn every_blob_that_anything_rests_on_is_hashed() {
    let sealed = Sealed::new();
    let whole = sealed.project.json(&["ledger", "fsck"])["blobs"].as_u64().unwrap();
    let mut stored = 0;
    for folder in fs::read_dir(sealed.project.path(".lineal/blobs/sha256")).unwrap() {
        for blob in fs::read_dir(folder.unwrap().path()).unwrap() {
            stored += 1;
            let (blob, aside) = (blob.unwrap().path(), sealed.project.path("aside"));
            fs::rename(&blob, &aside).unwrap();
            let found = findings(&sealed, 1, "not-verified");
            assert!(found.iter().any(|(kind, ..)| kind == "blob"), "{}: {found:?}", blob.display());
            fs::rename(&aside, &blob).unwrap();
        }
    }
    assert_eq!(stored, whole, "each blob has a statement that it belongs to");
}

#[test]
fn appends_meanwhile_are_no_damage() {
    let sealed = Sealed::new();
    for round in 0..3 {
        let add = |number: u32| {
            let tag = format!("t{round}-{number}");
            sealed.project.start(&["data", "add", "d", "table.csv", "--tag", &tag, "--json"])
        };
        let adding: Vec<_> = (0..4).map(add).collect();
        assert_eq!(sealed.project.json(&["ledger", "fsck"])["ok"], true);
        adding.into_iter().for_each(|started| assert!(started.finish().status.success()));
    }
}

#[test]
fn a_changed_row_of_the_index_is_found_and_made_again() {
    let sealed = Sealed::new();
    let edit = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(\"UPDATE runs SET pipeline = 'other'\"); c.commit()";
    let index = sealed.project.path(".lineal/index.db");
    assert!(Command::new("python3").args(["-c", edit]).arg(&index).status().unwrap().success());
    let found = findings(&sealed, 5, "tampered");
    assert_eq!(found, [("index".to_owned(), Value::Null, vec![])]);
    sealed.project.json(&["ledger", "rebuild"]);
    assert_eq!(sealed.project.json(&["ledger", "fsck"])["ok"], true);
}

#[test]
fn a_statement_by_a_key_of_another_role_is_found() {
    let sealed = Sealed::new();
    let thief = Thief::of(&sealed.project);
    let snapshot = thief::snapshot(lineal_facts::Digest::of(b"x"));
    Thief::append(&sealed.project, &snapshot, &thief.approver, &thief.log);
    let last = sealed.project.ledger()[0]["position"].clone();
    assert_eq!(findings(&sealed, 1, "untrusted-key"), [("signer".to_owned(), last, vec![])]);
}

#[test]
fn several_defects_are_told_in_ledger_order() {
    let sealed = Sealed::new();
    let thief = Thief::of(&sealed.project);
    let (snapshot, step) = (position(&sealed, "dataset"), position(&sealed, "provenance"));
    let table = sealed.table();
    let forged = thief::snapshot(lineal_facts::Digest::of(b"x"));
    Thief::append(&sealed.project, &forged, &thief.approver, &thief.log);
    let last = sealed.project.ledger()[0]["position"].as_u64().unwrap();
    change_statement(&sealed.project, step, |statement| *statement.last_mut().unwrap() ^= 1);
    flip(&table);
    let found = findings(&sealed, 5, "tampered");
    let found: Vec<_> =
        found.iter().map(|(kind, place, _)| (kind.as_str(), place.as_u64().unwrap())).collect();
    // That a step is missing in its run follows from the damage and is not told.
    assert_eq!(found, [("blob", snapshot), ("statement-damaged", step), ("signer", last)]);
}

#[test]
fn a_checkpoint_over_other_key_statements_is_found() {
    let sealed = Sealed::new();
    let log = Thief::of(&sealed.project).log;
    let head = thief::ledger(&sealed.project).head().unwrap().unwrap();
    assert_eq!(head.keys.unwrap().count(), 3);
    let mut checkpoint = Checkpoint::new(log.verifier_key().name(), head.size, head.root);
    checkpoint.extensions.push(KeyChain::default().to_line());
    sealed.project.write(".lineal/log/checkpoint", log.sign(&checkpoint).unwrap());
    assert_eq!(findings(&sealed, 5, "tampered"), [("keys".to_owned(), Value::Null, vec![])]);
    sealed.project.fails(&["verify", "d@t"], 5, "tampered", &["the checkpoint counts 0 key statements"]);
    let mut audit = lineal_app::self_audit::SelfAudit::new(thief::ledger(&sealed.project));
    assert_eq!(audit.step(false)[0].kind, "keys");
}

#[test]
fn a_running_control_plane_audits_what_is_new() {
    let sealed = Sealed::new();
    let serve = sealed.project.start(&["serve"]);
    let file = sealed.project.path(".lineal/serve.json");
    eventually("serve is ready", || file.exists().then_some(()));
    let url: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let audit = || -> Value {
        serde_json::from_slice(&http(url["url"].as_str().unwrap(), "GET", "/api/v1/audit", b"").body).unwrap()
    };
    eventually("it looked", || (audit()["size"] == position(&sealed, "run-sealed") + 1).then_some(()));
    assert_eq!(audit()["findings"], json!([]));
    // What is new is looked at with what is in one bundle with it.
    let place = position(&sealed, "dataset");
    change_statement(&sealed.project, place, |statement| *statement.last_mut().unwrap() ^= 1);
    sealed.project.write("other.csv", "a,b\n1,2\n");
    sealed.project.json(&["data", "add", "other", "other.csv"]);
    let found =
        eventually("the damage is found", || Some(audit()).filter(|found| found["findings"] != json!([])));
    assert_eq!(found["findings"][0]["position"], place);
    assert_eq!(found["findings"][0]["kind"], "statement-damaged");
    serve.terminate();
    let answer = serve.finish();
    assert!(answer.stderr.contains("self-audit: ledger position"), "{}", answer.stderr);
}
