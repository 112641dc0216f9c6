//! Audit folders, checked by programs that share no code with Lineal.

use std::path::Path;
use std::process::{Command, Output};

use lineal_facts::Digest;
use serde_json::Value;

use crate::audit::{Folder, NO_EVIDENCE, grown};
use crate::model::{KINDS, Model};
use crate::peers;
use crate::thief::{self, Thief};

/// What cosign says about most changes: it makes the entry again from key and envelope, and that is not in the log.
const INCLUSION: &str = "verifying inclusion";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify/verify.py");

/// What docs/verify/verify.py says, with the log's key named.
pub(crate) fn python(folder: &Folder) -> Output {
    python_with(folder, &["--log-key", &folder.log_key])
}

fn python_with(folder: &Folder, options: &[&str]) -> Output {
    Command::new(peers::python()).arg(SCRIPT).args(options).arg(folder.path()).output().unwrap()
}

/// What docs/verify/go says.
fn go(folder: &Folder) -> Output {
    go_with(folder, &folder.log_key)
}

fn go_with(folder: &Folder, log_key: &str) -> Output {
    Command::new(peers::log_check()).args(["-log-key", log_key]).arg(folder.path()).output().unwrap()
}

/// What cosign says about one line of `statements.tsv`, as README.txt has the command. A server that it may not need
/// would be asked in vain.
fn cosign(folder: &Folder, columns: &[&str]) -> Output {
    let mut command = Command::new(peers::cosign());
    command.current_dir(folder.path()).env("HOME", folder.path().parent().unwrap());
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env(proxy, "http://127.0.0.1:1");
    }
    command.args(["verify-blob-attestation", "--trusted-root", "trusted_root.json"]);
    command.args(["--bundle", columns[6], "--key", columns[4], "--type", columns[3]]);
    command.args(["--digest", columns[5], "--digestAlg", "sha256"]).output().unwrap()
}

/// cosign must refuse the line, and say why.
#[track_caller]
fn cosign_refuses(folder: &Folder, columns: &[&str], why: &str) {
    let output = cosign(folder, columns);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains(why), "no `{why}` in {output:?}");
}

/// What the sigstore project's verifier in Rust says about all statements, or about one line of the list.
fn sigstore(folder: &Folder, columns: &[&str]) -> Output {
    let mut command = Command::new(peers::sigstore_verify());
    command.arg(folder.path());
    if !columns.is_empty() {
        command.args([columns[5], columns[4], columns[6]]);
    }
    command.output().unwrap()
}

/// The lines of `statements.tsv`.
fn list(folder: &Folder) -> Vec<Vec<String>> {
    let list = String::from_utf8(folder.files()["statements.tsv"].clone()).unwrap();
    list.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Changes the JSON of a bundle.
fn edit(folder: &Folder, name: &str, change: impl FnOnce(&mut Value)) {
    let mut bundle: Value = serde_json::from_slice(&folder.files()[name]).unwrap();
    change(&mut bundle);
    folder.write(name, bundle.to_string().as_bytes());
}

/// Base64 of other bytes of the same length; of a note, the root is what changes.
fn with_another_letter(text: &str) -> String {
    let at = text.len() / 3;
    let letter = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{letter}{}", &text[..at], &text[at + 1..])
}

#[track_caller]
fn accepted(output: &Output, lines: &[&str]) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text} {}", String::from_utf8_lossy(&output.stderr));
    lines.iter().for_each(|line| assert!(text.contains(line), "no `{line}` in {text}"));
}

/// A program that does not run refuses nothing: it must say what it found.
#[track_caller]
pub(crate) fn refused(output: &Output, codes: &[i32], why: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(codes.contains(&output.status.code().unwrap()), "{why}: {output:?}");
    assert!(text.contains("NOT VERIFIED: ") && text.contains(why), "no `{why}` in {text}");
}

#[test]
fn every_kind_of_statement_is_accepted() {
    let model = Model::with_every_kind();
    let folder = Folder::of(&model.project, &[]);
    // cosign checks one statement at a time, and needs no network.
    let mut kinds = std::collections::BTreeSet::new();
    for line in list(&folder) {
        let columns: Vec<&str> = line.iter().map(String::as_str).collect();
        let output = cosign(&folder, &columns);
        assert!(output.status.success(), "{line:?} {output:?}");
        kinds.insert(line[1].clone());
    }
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), KINDS);
    let entries = model.project.ledger().as_array().unwrap().len();
    accepted(&sigstore(&folder, &[]), &[&format!("VERIFIED: {entries} bundles")]);
    // The log and all proofs, by the code of Go's checksum database.
    let (log, included) = (format!("log: {entries} entries"), format!("bundles: {entries} entries included"));
    accepted(&go(&folder), &[&log, &included, "pinned: yes", "VERIFIED: "]);
    // Everything, by the second verifier.
    let kinds: Vec<String> = KINDS.iter().map(|kind| format!(": {kind}, signed by ")).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let output = python(&folder);
    accepted(&output, &kinds);
    accepted(&output, &[&log, "whole: yes", "pinned: yes", "VERIFIED: "]);
}

#[test]
fn the_example_of_the_documentation_is_accepted() {
    let folder = Folder::example();
    accepted(&python(&folder), &["whole: yes", "pinned: yes"]);
    accepted(&go(&folder), &["log: 8 entries", "bundles: 8 entries included", "pinned: yes"]);
    accepted(&sigstore(&folder, &[]), &["VERIFIED: 8 bundles"]);
    for line in list(&folder) {
        let columns: Vec<&str> = line.iter().map(String::as_str).collect();
        assert!(cosign(&folder, &columns).status.success(), "{line:?}");
    }
}

#[test]
fn a_log_that_only_fits_itself_is_refused_by_others() {
    let (model, version, _) = grown();
    let folder = Folder::of(&model.project, &["--subject", &version]);
    folder.exchange_an_entry();
    refused(&python(&folder), &[5], "do not have the checkpoint's root");
    refused(&go(&folder), &[1], "do not have the checkpoint's root");
}

#[test]
fn python_accepts_keys_that_came_and_went_and_parts_of_a_log() {
    let (model, version, folder) = grown();
    accepted(&python(&folder), &["whole: yes", "pinned: yes"]);
    accepted(&python_with(&folder, &[]), &["pinned: no; anybody can make a whole folder"]);
    let part = Folder::of(&model.project, &["--subject", &version]);
    accepted(&python(&part), &["whole: no; every key statement is here"]);
    for changed in part.without_a_revocation() {
        refused(&python(&changed), &[1], "the checkpoint counts others");
        refused(&go(&changed), &[1], "not those that the checkpoint counts");
    }
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
fn cosign_refuses_what_was_changed() {
    let (model, _, folder) = grown();
    let lines = list(&folder);
    // Statements of one kind by one key, so that nothing but the change can be why.
    let of_kind = lines.iter().filter(|line| line[1] == "key" && line[4] == lines[0][4]).collect::<Vec<_>>();
    let columns = |line: &[String]| -> Vec<String> { line.to_vec() };
    let (first, second) = (columns(of_kind[1]), columns(of_kind[2]));
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    assert!(cosign(&folder, &first).status.success());
    // The entry of another statement.
    let other: Value = serde_json::from_slice(&folder.files()[&second[6]]).unwrap();
    let changed = folder.copy();
    edit(&changed, first[6], |bundle| bundle["verificationMaterial"] = other["verificationMaterial"].clone());
    cosign_refuses(&changed, &first, INCLUSION);
    // A flipped bit in the signature, in a hash of the proof, in the checkpoint's root.
    let flips: [(&str, &str); 3] = [
        ("/dsseEnvelope/signatures/0/sig", INCLUSION),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/hashes/0", INCLUSION),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope", "checkpoint signature"),
    ];
    for (pointer, why) in flips {
        let changed = folder.copy();
        edit(&changed, first[6], |bundle| {
            let value = bundle.pointer_mut(pointer).unwrap();
            *value = with_another_letter(value.as_str().unwrap()).into();
        });
        cosign_refuses(&changed, &first, why);
    }
    // Another statement in the envelope, under the same signature.
    let changed = folder.copy();
    edit(&changed, first[6], |bundle| {
        bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
    });
    cosign_refuses(&changed, &first, INCLUSION);
    // The root of another log, another subject, another kind, another key.
    let attacker = Folder::of(&model.project.beside(), &[]);
    let changed = folder.copy();
    changed.write("trusted_root.json", &attacker.files()["trusted_root.json"]);
    cosign_refuses(&changed, &first, "not enough verified log entries");
    let refused = |column: usize, value: &str, why: &str| {
        let mut columns = first.clone();
        columns[column] = value;
        cosign_refuses(&folder, &columns, why);
    };
    refused(5, &"0".repeat(64), "does not match any digest in statement");
    refused(3, "https://slsa.dev/provenance/v1", "invalid predicate type");
    let approver = lines.iter().find(|line| line[1] == "approval").unwrap();
    refused(4, &approver[4], INCLUSION);
}

#[test]
fn the_sigstore_crate_refuses_what_was_changed() {
    let (model, _, folder) = grown();
    let lines = list(&folder);
    let of_kind = lines.iter().filter(|line| line[1] == "key" && line[4] == lines[0][4]).collect::<Vec<_>>();
    let first: Vec<&str> = of_kind[1].iter().map(String::as_str).collect();
    accepted(&sigstore(&folder, &first), &["VERIFIED: 1 bundles"]);
    let other: Value = serde_json::from_slice(&folder.files()[&of_kind[2][6]]).unwrap();
    let entry = "/verificationMaterial/tlogEntries/0";
    let flips = [
        ("/dsseEnvelope/signatures/0/sig".to_owned(), "signature"),
        (format!("{entry}/canonicalizedBody"), "inclusion proof"),
        (format!("{entry}/inclusionProof/hashes/0"), "inclusion proof"),
        (format!("{entry}/inclusionProof/checkpoint/envelope"), "invalid checkpoint"),
    ];
    let refuses = |why: &str, change: &dyn Fn(&mut Value)| {
        let changed = folder.copy();
        edit(&changed, first[6], change);
        refused(&sigstore(&changed, &first), &[1], why);
    };
    for (pointer, why) in &flips {
        refuses(why, &|bundle| {
            let value = bundle.pointer_mut(pointer).unwrap();
            *value = with_another_letter(value.as_str().unwrap()).into();
        });
    }
    // The entry of another statement, another statement, no entry, another place in the log.
    refuses("hash mismatch", &|bundle| {
        bundle["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"].clone();
    });
    refuses("signature", &|bundle| {
        bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone()
    });
    refuses("must have an inclusion", &|bundle| {
        bundle["verificationMaterial"]["tlogEntries"] = Value::Array(Vec::new());
    });
    refuses("inclusion proof", &|bundle| {
        *bundle.pointer_mut(entry).unwrap().get_mut("logIndex").unwrap() = "0".into()
    });
    // The root of another log, another subject, another key.
    let attacker = Folder::of(&model.project.beside(), &[]);
    let changed = folder.copy();
    changed.write("trusted_root.json", &attacker.files()["trusted_root.json"]);
    refused(&sigstore(&changed, &first), &[1], "checkpoint");
    let (zeros, approver) = ("0".repeat(64), lines.iter().find(|line| line[1] == "approval").unwrap());
    for (column, value, why) in
        [(5, zeros.as_str(), "does not match any subject"), (4, &approver[4], "signature")]
    {
        let mut columns = first.clone();
        columns[column] = value;
        refused(&sigstore(&folder, &columns), &[1], why);
    }
}

#[test]
fn the_commands_that_the_folder_names_work() {
    let (_model, _, folder) = grown();
    let readme = String::from_utf8(folder.files()["README.txt"].clone()).unwrap();
    let begins = readme.find("  while read ").unwrap();
    let ends = begins + readme[begins..].find("done <statements.tsv").unwrap();
    let script = format!("{}done <statements.tsv", &readme[begins..ends]);
    let run = |folder: &Folder| {
        let path = format!("{}:/usr/bin:/bin", peers::cosign().parent().unwrap().display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(folder.path()).env("PATH", path);
        let output = command.env("HOME", folder.path().parent().unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).matches("Verified OK").count();
        (said, String::from_utf8_lossy(&output.stdout).matches("REFUSED: ").count())
    };
    let count = list(&folder).len();
    assert_eq!(run(&folder), (count, 0));
    let changed = folder.copy();
    changed.flip("log.vkey");
    changed.write("trusted_root.json", b"{}");
    assert_eq!(run(&changed), (0, count));
    // And the list of digests.
    let sums = |folder: &Folder| {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(folder.path());
        command.output().unwrap().status.success()
    };
    assert_eq!((sums(&folder), sums(&changed)), (true, false));
}

#[test]
fn go_notices_a_flipped_bit_in_any_file_of_the_log() {
    let (model, _, folder) = grown();
    let of_the_log =
        |name: &&String| name.starts_with("log") || name.starts_with("bundles/") || *name == "checkpoint";
    let names = folder.kinds();
    let names: Vec<&String> = names.iter().filter(of_the_log).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let changed = folder.copy();
        if name.starts_with("bundles/") {
            // Of a bundle, it reads the entry and its proof.
            edit(&changed, name, |bundle| {
                let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
                let hash = &mut entry["inclusionProof"]["hashes"][0];
                *hash = with_another_letter(hash.as_str().unwrap()).into();
            });
        } else {
            changed.flip(name);
        }
        refused(&go(&changed), &[1], "");
    }
    let changed = folder.copy();
    let tile = folder.files().into_keys().find(|name| name.starts_with("log/tile/0/")).unwrap();
    std::fs::remove_file(changed.path().join(tile)).unwrap();
    refused(&go(&changed), &[1], "no such file");
    let attacker = Folder::of(&model.project.beside(), &[]);
    refused(&go_with(&attacker, &folder.log_key), &[1], "not by the key that you named");
}

#[test]
fn a_log_of_several_tiles_is_derived_by_others() {
    let project = crate::project::Project::new();
    let thief = Thief::of(&project);
    // Enough for a full tile, a partial one beside it and one above.
    for number in 0..300 {
        Thief::append(&project, &thief::incident(&number.to_string()), &thief.builder, &thief.log);
    }
    let folder = Folder::of(&project, &[]);
    let tiles = ["log/tile/0/000", "log/tile/0/001.p/47", "log/tile/1/000.p/1", "log/tile/entries/001.p/47"];
    assert!(tiles.iter().all(|tile| folder.files().contains_key(*tile)), "{:?}", folder.files().keys());
    accepted(&go(&folder), &["log: 303 entries", "bundles: 303 entries included"]);
    accepted(&python(&folder), &["log: 303 entries", "whole: yes"]);
    for tile in tiles {
        let changed = folder.copy();
        changed.flip(tile);
        refused(&go(&changed), &[1], "");
        changed.seal();
        refused(&python(&changed), &[5], "");
    }
}

#[test]
fn the_python_check_stands_alone() {
    let text = std::fs::read_to_string(Path::new(SCRIPT)).unwrap();
    let imports = text.lines().filter(|line| line.starts_with("import ") || line.starts_with("from "));
    let modules: Vec<&str> = imports.map(|line| line.split([' ', '.']).nth(1).unwrap()).collect();
    let allowed = ["argparse", "base64", "cryptography", "hashlib", "json", "pathlib", "re", "sys"];
    assert!(modules.iter().all(|module| allowed.contains(module)), "{modules:?}");
}
