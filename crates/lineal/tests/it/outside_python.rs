//! Every kind of statement, checked by the libraries of DSSE and in-toto.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::model::{KINDS, Model, text};
use crate::peers;
use crate::project::Project;

/// Writes the bundle of every statement of the ledger into `bundles/`; yields the nouns.
fn export(project: &Project) -> BTreeSet<String> {
    let ledger = project.ledger();
    for entry in ledger.as_array().unwrap() {
        let proof = project.lineal(&["ledger", "proof", entry["statement"].as_str().unwrap()]);
        assert!(proof.status.success(), "{proof:#?}");
        project.write(&format!("bundles/{}", entry["position"]), proof.stdout);
    }
    ledger.as_array().unwrap().iter().map(|entry| text(&entry["noun"])).collect()
}

/// What the libraries say about each bundle in `bundles/`.
fn check(project: &Project) -> Value {
    let keys: Vec<Value> = project
        .json(&["ledger", "keys"])
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["public_key"].clone())
        .collect();
    peers::ask(&["check_bundles", &json!(keys).to_string(), project.path("bundles").to_str().unwrap()])
}

#[test]
fn every_kind_of_statement_is_accepted_by_the_libraries() {
    let model = Model::with_every_kind();
    let project = &model.project;
    let nouns = export(project);
    assert_eq!(nouns.iter().map(String::as_str).collect::<Vec<_>>(), KINDS);
    let kinds = check(project);
    let kinds: BTreeSet<String> = kinds.as_object().unwrap().values().map(text).collect();
    assert_eq!(kinds.len(), KINDS.len(), "{kinds:#?}");
}

#[test]
fn portable_proofs_hold_for_a_verifier_of_another_hand() {
    let project = Project::new();
    for (number, rows) in ["1,2\n", "3,4\n"].iter().enumerate() {
        project.write("table.csv", format!("a,b\n{rows}"));
        project.json(&["data", "add", "d", "table.csv", "--tag", &format!("t{number}")]);
    }
    let key = fs::read_to_string(project.path(".lineal/keys/ledger.vkey")).unwrap();
    let proof = project.path("entry.tlog-proof");
    let holds = |body: &str, text: &str| {
        fs::write(&proof, text).unwrap();
        peers::ask(&["tlog_proof", key.trim(), body, proof.to_str().unwrap()])
    };
    let mut bodies = Vec::new();
    let mut proofs = Vec::new();
    for entry in project.ledger().as_array().unwrap() {
        let statement = text(&entry["statement"]);
        let bundle: Value = project.json(&["ledger", "proof", &statement]);
        bodies.push(text(&bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"]));
        let printed = project.lineal(&["ledger", "proof", &statement, "--format", "tlog-proof"]);
        assert!(printed.status.success(), "{printed:#?}");
        proofs.push(printed.stdout);
    }
    for (body, proof) in bodies.iter().zip(&proofs) {
        assert_eq!(holds(body, proof), true, "{proof}");
    }
    assert_eq!(holds(&bodies[0], &proofs[1]), false, "the proof of another entry");
    let origin = key.split('+').next().unwrap();
    let size = format!("{origin}\n{}\n", bodies.len());
    let smaller = proofs[0].replace(&size, &format!("{origin}\n{}\n", bodies.len() - 1));
    assert_ne!(smaller, proofs[0]);
    assert_eq!(holds(&bodies[0], &smaller), false, "a size that nobody signed");
}
