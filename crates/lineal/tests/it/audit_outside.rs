//! Audit folders, checked by programs that share no code with Lineal.

use std::path::Path;
use std::process::{Command, Output};

use lineal_facts::Digest;

use crate::audit::{Folder, NO_EVIDENCE, grown};
use crate::model::{KINDS, Model};
use crate::peers;
use crate::thief::{self, Thief};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify/verify.py");

/// What docs/verify/verify.py says, with the log's key named.
fn python(folder: &Folder) -> Output {
    python_with(folder, &["--log-key", &folder.log_key])
}

fn python_with(folder: &Folder, options: &[&str]) -> Output {
    Command::new(peers::python()).arg(SCRIPT).args(options).arg(folder.path()).output().unwrap()
}

#[track_caller]
fn accepted(output: &Output, lines: &[&str]) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text} {}", String::from_utf8_lossy(&output.stderr));
    lines.iter().for_each(|line| assert!(text.contains(line), "no `{line}` in {text}"));
}

/// A program that does not run refuses nothing: it must say what it found.
#[track_caller]
fn refused(output: &Output, codes: &[i32], why: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(codes.contains(&output.status.code().unwrap()), "{why}: {output:?}");
    assert!(text.contains("NOT VERIFIED: ") && text.contains(why), "no `{why}` in {text}");
}

#[test]
fn python_accepts_every_kind_of_statement() {
    let model = Model::with_every_kind();
    let folder = Folder::of(&model.project, &[]);
    let entries = model.project.ledger().as_array().unwrap().len();
    let kinds: Vec<String> = KINDS.iter().map(|kind| format!(": {kind}, signed by ")).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let output = python(&folder);
    accepted(&output, &kinds);
    accepted(&output, &[&format!("log: {entries} entries"), "whole: yes", "pinned: yes", "VERIFIED: "]);
}

#[test]
fn python_accepts_keys_that_came_and_went_and_parts_of_a_log() {
    let (model, version, folder) = grown();
    accepted(&python(&folder), &["whole: yes", "pinned: yes"]);
    accepted(&python_with(&folder, &[]), &["pinned: no; anybody can make a whole folder"]);
    let part = Folder::of(&model.project, &["--subject", &version]);
    accepted(&python(&part), &["whole: no; a revocation"]);
    let attacker = Folder::of(&model.project.beside(), &[]);
    refused(&python_with(&attacker, &["--log-key", &folder.log_key]), &[1], "not by yours");
}

#[test]
fn python_notices_a_flipped_bit_in_any_file() {
    let (_model, _, folder) = grown();
    for name in folder.kinds() {
        let changed = folder.copy();
        changed.flip(&name);
        refused(&python(&changed), &[1, 5], "");
        // Not only because of the list of digests.
        if NO_EVIDENCE.contains(&name.as_str()) {
            continue;
        }
        changed.seal();
        refused(&python(&changed), &[1, 5], "");
    }
}

#[test]
fn python_refuses_what_does_not_count() {
    let (model, version, folder) = grown();
    let files = folder.files();
    let names: Vec<&String> = files.keys().filter(|name| name.starts_with("bundles/")).collect();
    let changed = folder.copy();
    changed.write(names[4], &files[names[5]]);
    changed.seal();
    refused(&python(&changed), &[5], "the log entry is about another statement");
    let changed = folder.copy();
    changed.write("keys/other.pem", b"x");
    changed.seal();
    refused(&python(&changed), &[5], "no part of this evidence");
    let changed = folder.copy();
    std::fs::remove_file(changed.path().join(names[0])).unwrap();
    changed.seal();
    refused(&python(&changed), &[1], "the first entry's statement is missing");
    // An approval by a builder, then a builder's statement after the end of its key.
    let project = &model.project;
    let thief = Thief::of(project);
    Thief::append(project, &thief::approval(&version, Digest::of(b"x")), &thief.builder, &thief.log);
    refused(&python(&Folder::of(project, &[])), &[1], "signed by the builder `lineal`");
    let (model, ..) = grown();
    let project = &model.project;
    let thief = Thief::of(project);
    project.json(&["ledger", "rotate", "lineal", "builder"]);
    Thief::append(project, &thief::incident("nothing happened"), &thief.builder, &thief.log);
    refused(&python(&Folder::of(project, &[])), &[1], "the key was revoked before");
}

#[test]
fn the_python_check_stands_alone() {
    let text = std::fs::read_to_string(Path::new(SCRIPT)).unwrap();
    let imports = text.lines().filter(|line| line.starts_with("import ") || line.starts_with("from "));
    let modules: Vec<&str> = imports.map(|line| line.split([' ', '.']).nth(1).unwrap()).collect();
    let allowed = ["argparse", "base64", "cryptography", "hashlib", "json", "pathlib", "re", "sys"];
    assert!(modules.iter().all(|module| allowed.contains(module)), "{modules:?}");
}
