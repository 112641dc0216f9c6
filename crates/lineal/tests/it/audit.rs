//! Audit folders: written from a project, checked by Lineal without one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lineal_facts::Digest;
use lineal_proof::Bundle;
use lineal_proof::tile::{decode_bundle, encode_bundle, encode_tile};
use lineal_proof::tree::leaf_hash;
use serde_json::Value;
use tempfile::TempDir;

use crate::model::{Model, text};
use crate::project::{Answer, Project};
use crate::thief::{self, Thief};

/// Files that only the list of digests protects, and that list.
pub(crate) const NO_EVIDENCE: [&str; 2] = ["README.txt", "SHA256SUMS"];

/// A copy of an audit folder, to be changed.
pub(crate) struct Folder {
    folder: TempDir,
    /// The key that signed the checkpoint.
    pub(crate) log_key: String,
}

/// The folder that docs/formats/audit.md describes, and the log key that it names.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/audit-example");
const EXPLAINED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/audit.md");

/// Somebody who has no project.
pub(crate) struct Stranger(Project);

impl Folder {
    /// What the project exports.
    #[track_caller]
    pub(crate) fn of(project: &Project, options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("lineal-it-").tempdir().unwrap();
        let target = folder.path().join("audit");
        let arguments: Vec<&str> =
            ["ledger", "export", target.to_str().unwrap()].iter().chain(options).copied().collect();
        let log_key = text(&project.json(&arguments)["log_key"]);
        Self { folder, log_key }
    }

    /// The example of the documentation.
    pub(crate) fn example() -> Self {
        let text = fs::read_to_string(EXPLAINED).unwrap();
        let log_key = text.lines().find(|line| line.contains(".lineal.local+")).unwrap();
        Self::with(files(Path::new(EXAMPLE)), log_key)
    }

    /// The same files in another place.
    pub(crate) fn copy(&self) -> Self {
        Self::with(self.files(), &self.log_key)
    }

    fn with(files: BTreeMap<String, Vec<u8>>, log_key: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lineal-it-").tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join("audit").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Self { folder, log_key: log_key.to_owned() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub(crate) fn argument(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// Every file by its name in the folder.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.path())
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Makes the list of digests fit again, as whoever changes a file would.
    pub(crate) fn seal(&self) {
        let sums = self.files().into_iter().filter(|(name, _)| name != "SHA256SUMS");
        let sums: String =
            sums.map(|(name, bytes)| format!("{}  {name}\n", Digest::of(&bytes).hex())).collect();
        self.write("SHA256SUMS", sums.as_bytes());
    }

    /// The names of one file of each kind.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds = BTreeMap::new();
        for name in self.files().into_keys() {
            let kind = match name.rsplit_once('/') {
                Some(("bundles", file)) => format!("bundles/{}", file.split('-').nth(1).unwrap()),
                Some(("keys", file)) => format!("keys/{}", file.split('-').next().unwrap()),
                Some(_) | None => name.clone(),
            };
            kinds.insert(kind, name);
        }
        kinds.into_values().collect()
    }

    /// Replaces an entry whose statement is not here by another, and makes tile and list of digests fit. The log must be
    /// one of a single tile.
    pub(crate) fn exchange_an_entry(&self) {
        let files = self.files();
        let name = |start: &str| files.keys().find(|name| name.starts_with(start)).unwrap();
        let (bundle, tile) = (name("log/tile/entries/"), name("log/tile/0/"));
        let width: u16 = tile.rsplit('/').next().unwrap().parse().unwrap();
        let mut entries = decode_bundle(&files[bundle], width).unwrap();
        let is_here = |at: &usize| files.keys().any(|name| name.starts_with(&format!("bundles/{at:09}-")));
        let free = (0..entries.len()).find(|at| !is_here(at)).unwrap();
        entries[free] = entries[0];
        let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        self.write(bundle, &encode_bundle(&entries).unwrap());
        self.write(tile, &encode_tile(&hashes));
        self.seal();
    }

    /// The folder without one of the statements that end a key, for each of them, as somebody would make it who has
    /// none of the keys: everything that follows from the rest fits.
    pub(crate) fn without_a_revocation(&self) -> Vec<Self> {
        let files = self.files();
        let mut changed = Vec::new();
        for (name, bytes) in files.iter().filter(|(name, _)| name.contains("-key-")) {
            let bundle = Bundle::from_bytes(bytes).unwrap();
            let statement: Value = serde_json::from_slice(&bundle.envelope.payload).unwrap();
            if statement["predicate"]["state"] != "revoked" {
                continue;
            }
            let folder = self.copy();
            fs::remove_file(folder.path().join(name)).unwrap();
            let list = String::from_utf8(files["statements.tsv"].clone()).unwrap();
            let list: String =
                list.split_inclusive('\n').filter(|line| !line.contains(name.as_str())).collect();
            folder.write("statements.tsv", list.as_bytes());
            let mut keyring: Value = serde_json::from_slice(&files["keys/keyring.json"]).unwrap();
            let id = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
            let keys = keyring["keys"].as_array_mut().unwrap();
            let key = keys.iter_mut().find(|key| key["id"] == format!("sha256:{id}")).unwrap();
            key.as_object_mut().unwrap().shift_remove("until").unwrap();
            folder.write("keys/keyring.json", keyring.to_string().as_bytes());
            folder.seal();
            changed.push(folder);
        }
        changed
    }

    /// Flips one bit in the middle of a file.
    pub(crate) fn flip(&self, name: &str) {
        let mut bytes = self.files().remove(name).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.write(name, &bytes);
    }
}

impl Stranger {
    pub(crate) fn new() -> Self {
        Self(Project::absent())
    }

    /// What `lineal verify --bundle` says.
    pub(crate) fn verify(&self, path: &Path, options: &[&str]) -> Answer {
        let path = path.to_str().unwrap();
        let arguments: Vec<&str> =
            ["verify", "--bundle", path, "--json"].iter().chain(options).copied().collect();
        self.0.lineal(&arguments)
    }

    /// The report about a folder that must verify with its log's key pinned.
    #[track_caller]
    fn accepts(&self, folder: &Folder) -> Value {
        let report = self.verify(&folder.path(), &["--log-key", &folder.log_key]).json();
        assert_eq!((&report["verified"], &report["findings"]), (&true.into(), &Value::Array(Vec::new())));
        report
    }

    #[track_caller]
    pub(crate) fn refuses(&self, folder: &Folder, exit: i32, code: &str, fragments: &[&str]) {
        self.verify(&folder.path(), &["--log-key", &folder.log_key]).failed(exit, code, fragments);
    }
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut folders, mut files) = (vec![root.to_owned()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

/// A project with keys that came and went, and what its ledger exports.
pub(crate) fn grown() -> (Model, String, Folder) {
    let model = Model::new();
    model.policy("staging", &[("always", "true", "nothing")]);
    let version = model.admitted();
    for rotation in [&["lineal", "builder"][..], &["ana", "approver"], &["--log"]] {
        model.project.json(&[&["ledger", "rotate"], rotation].concat());
    }
    model.project.json(&["approve", &version, "--for", "staging", "--reason", "with the new key"]);
    let folder = Folder::of(&model.project, &[]);
    (model, version, folder)
}

#[test]
fn a_whole_export_verifies_without_a_project() {
    let (model, _, folder) = grown();
    let stranger = Stranger::new();
    let report = stranger.accepts(&folder);
    assert_eq!((&report["complete"], &report["log_pinned"]), (&true.into(), &true.into()));
    let entries = model.project.ledger().as_array().unwrap().len();
    let links = report["tree"]["children"].as_array().unwrap();
    let statements = links.iter().filter(|link| text(&link["label"]).starts_with("entry "));
    assert_eq!(statements.count(), entries);
    // Without a key from elsewhere, it is said that this shows nothing about whose log it is.
    let unpinned = stranger.verify(&folder.path(), &[]);
    assert_eq!(unpinned.json()["log_pinned"], false);
    assert!(unpinned.stderr.contains("whose log this is was not checked"), "{unpinned:#?}");
    // Exactly the same bytes again, and never over something else.
    let again = Folder::of(&model.project, &[]);
    assert!(again.files() == folder.files());
    model.project.refuses(&["ledger", "export", &folder.argument()], 3, "taken", &["is there already"]);
}

#[test]
fn a_log_that_only_fits_itself_is_refused() {
    let (model, version, _) = grown();
    let folder = Folder::of(&model.project, &["--subject", &version]);
    folder.exchange_an_entry();
    Stranger::new().refuses(&folder, 5, "tampered", &["do not have the root"]);
}

#[test]
fn the_example_of_the_documentation_verifies() {
    let report = Stranger::new().accepts(&Folder::example());
    assert_eq!(report["complete"], true);
}

#[test]
fn a_subject_brings_what_it_rests_on_and_every_key() {
    let (model, version, whole) = grown();
    let folder = Folder::of(&model.project, &["--subject", &version]);
    let report = Stranger::new().accepts(&folder);
    assert_eq!(report["complete"], false);
    assert_eq!(report["keys_complete"], true);
    assert!(report["tree"].to_string().contains("some statements only, but every one about keys"));
    let bundles = |folder: &Folder, noun: &str| -> usize {
        folder.files().keys().filter(|name| name.contains(&format!("-{noun}-"))).count()
    };
    assert_eq!(bundles(&folder, "key"), bundles(&whole, "key"));
    for noun in ["model-version", "run-sealed", "provenance", "test-result", "approval", "promotion"] {
        assert!(bundles(&folder, noun) > 0, "no {noun}");
    }
    assert_eq!((bundles(&folder, "dataset"), bundles(&whole, "dataset")), (0, 1), "nothing was made from it");
    let names = ["log/checkpoint", "keys/keyring.json", "trusted_root.json"];
    assert!(names.iter().all(|name| folder.files()[*name] == whole.files()[*name]));
    // What a statement rests on may not be taken away.
    let files = folder.files();
    let provenance = files.keys().find(|name| name.contains("-provenance-")).unwrap();
    fs::remove_file(folder.path().join(provenance)).unwrap();
    let list = String::from_utf8(files["statements.tsv"].clone()).unwrap();
    let list: String = list.split_inclusive('\n').filter(|line| !line.contains(provenance)).collect();
    folder.write("statements.tsv", list.as_bytes());
    folder.seal();
    let answer = Stranger::new().verify(&folder.path(), &["--log-key", &folder.log_key]);
    // The place in its run is empty, and what rests on it says so too.
    answer.failed(1, "incomplete", &["is missing: number 2 follows"]);
    assert!(answer.stdout.contains("rests on statement"), "{answer:#?}");
}

#[test]
fn a_revocation_cannot_be_left_out() {
    let (model, version, _) = grown();
    let folder = Folder::of(&model.project, &["--subject", &version]);
    let revocations = folder.without_a_revocation();
    for changed in &revocations {
        let answer = Stranger::new().verify(&changed.path(), &["--log-key", &folder.log_key]);
        answer.failed(1, "incomplete", &["the checkpoint counts"]);
    }
    assert!(!revocations.is_empty());
}

#[test]
fn a_flipped_bit_in_any_file_is_noticed() {
    let (_model, _, folder) = grown();
    let stranger = Stranger::new();
    for name in folder.kinds() {
        let changed = folder.copy();
        changed.flip(&name);
        let answer = stranger.verify(&changed.path(), &["--log-key", &folder.log_key]);
        assert!([1, 5].contains(&answer.status.code().unwrap()), "{name}: {answer:#?}");
        // Not only because of the list of digests.
        if NO_EVIDENCE.contains(&name.as_str()) {
            continue;
        }
        changed.seal();
        let answer = stranger.verify(&changed.path(), &["--log-key", &folder.log_key]);
        assert!([1, 5].contains(&answer.status.code().unwrap()), "{name}: {answer:#?}");
    }
}

#[test]
fn missing_and_additional_files_are_noticed() {
    let (_model, _, folder) = grown();
    let stranger = Stranger::new();
    for name in folder.kinds() {
        let changed = folder.copy();
        fs::remove_file(changed.path().join(&name)).unwrap();
        if name != "SHA256SUMS" {
            changed.seal();
        }
        let answer = stranger.verify(&changed.path(), &["--log-key", &folder.log_key]);
        // The file for people may be missing.
        let expected = if name == "README.txt" { 0..=0 } else { 1..=5 };
        assert!(expected.contains(&answer.status.code().unwrap()), "{name}: {answer:#?}");
    }
    let changed = folder.copy();
    changed.write("keys/other.pem", b"-----BEGIN PUBLIC KEY-----\n");
    changed.seal();
    stranger.refuses(&changed, 5, "tampered", &["keys/other.pem", "no part of this evidence"]);
    let changed = folder.copy();
    std::os::unix::fs::symlink("README.txt", changed.path().join("link")).unwrap();
    stranger.refuses(&changed, 3, "data-unreadable", &["link"]);
}

#[test]
fn a_missing_file_of_the_log_is_blamed_and_no_other() {
    let folder = Folder::example();
    for kind in ["log/tile/0/000.p/8", "log/tile/entries/000.p/8"] {
        for sealed in [false, true] {
            let changed = folder.copy();
            fs::remove_file(changed.path().join(kind)).unwrap();
            if sealed {
                changed.seal();
            }
            let answer = Stranger::new().verify(&changed.path(), &["--log-key", &folder.log_key]);
            answer.failed(1, "not-verified", &[kind, "is missing"]);
            let found: Value = serde_json::from_str(&answer.stdout).unwrap();
            let found = found["findings"].as_array().unwrap().clone();
            assert!(found.iter().all(|one| text(&one["message"]).contains(kind)), "{found:#?}");
        }
    }
}

#[test]
fn links_in_a_folder_and_folders_that_are_not_there_have_one_answer() {
    let folder = Folder::example();
    let stranger = Stranger::new();
    let aside = folder.copy();
    for name in ["README.txt", "checkpoint", "bundles", "log/tile"] {
        let changed = folder.copy();
        fs::rename(changed.path().join(name), changed.path().parent().unwrap().join("aside")).unwrap();
        std::os::unix::fs::symlink(aside.path().join(name), changed.path().join(name)).unwrap();
        stranger.refuses(&changed, 3, "data-unreadable", &[name, "symbolic link"]);
    }
    let absent = folder.path().join("nothing");
    let answer = stranger.verify(&absent, &["--log-key", &folder.log_key]);
    answer.failed(3, "file", &["there is no folder and no bundle", "nothing"]);
}

#[test]
fn bundles_of_other_entries_and_other_checkpoints_are_refused() {
    let (model, _, folder) = grown();
    let stranger = Stranger::new();
    let files = folder.files();
    let names: Vec<&String> = files.keys().filter(|name| name.starts_with("bundles/")).collect();
    // One statement in the place of another.
    let changed = folder.copy();
    changed.write(names[4], &files[names[5]]);
    changed.seal();
    stranger.refuses(&changed, 5, "tampered", &[names[4]]);
    // A proof under a later checkpoint of the same log.
    model.project.json(&["data", "add", "e", "table.csv", "--tag", "t"]);
    let later = Folder::of(&model.project, &[]);
    let changed = folder.copy();
    changed.write(names[4], &later.files()[names[4]]);
    changed.seal();
    stranger.refuses(&changed, 5, "tampered", &[names[4], "under this checkpoint"]);
    // A bundle with another hint of its key, which nothing authenticates.
    let mut hinted: Value = serde_json::from_slice(&files[names[4]]).unwrap();
    hinted["verificationMaterial"]["publicKey"]["hint"] = "".into();
    let changed = folder.copy();
    changed.write(names[4], hinted.to_string().as_bytes());
    changed.seal();
    stranger.refuses(&changed, 5, "tampered", &[names[4], "form of an export"]);
    // The statement of one bundle with the log entry of another.
    let parse = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
    let mut mixed = parse(names[4]);
    mixed["verificationMaterial"] = parse(names[5])["verificationMaterial"].clone();
    let changed = folder.copy();
    changed.write(names[4], mixed.to_string().as_bytes());
    changed.seal();
    stranger.refuses(&changed, 5, "tampered", &[names[4]]);
}

#[test]
fn what_a_revoked_key_signed_later_is_refused() {
    let (model, _, _) = grown();
    let project = &model.project;
    let thief = Thief::of(project);
    project.json(&["ledger", "rotate", "lineal", "builder"]);
    let forged = Thief::append(project, &thief::incident("nothing happened"), &thief.builder, &thief.log);
    let folder = Folder::of(project, &[]);
    let named = format!("statement {forged}");
    Stranger::new().refuses(&folder, 1, "untrusted-key", &[&named, "was revoked at ledger position"]);
}

#[test]
fn an_approval_needs_an_approvers_key() {
    let (model, version, _) = grown();
    let project = &model.project;
    let thief = Thief::of(project);
    let forged = thief::approval(&version, Digest::of(b"x"));
    let forged = Thief::append(project, &forged, &thief.builder, &thief.log);
    let folder = Folder::of(project, &[]);
    Stranger::new().refuses(&folder, 1, "untrusted-key", &[&forged.to_string(), "not Approver"]);
}

#[test]
fn the_log_of_somebody_else_is_refused() {
    let (model, _, folder) = grown();
    let stranger = Stranger::new();
    // A whole folder by an attacker, with everything in it that belongs there.
    let attacker = Folder::of(&model.project.beside(), &[]);
    stranger.accepts(&attacker);
    let key = &folder.log_key;
    let pinned = stranger.verify(&attacker.path(), &["--log-key", key]);
    pinned.failed(1, "untrusted-key", &["is not the one that you named"]);
    let root = folder.path().join("trusted_root.json");
    let root = root.to_str().unwrap();
    assert_eq!(stranger.verify(&folder.path(), &["--trusted-root", root]).json()["log_pinned"], true);
    let pinned = stranger.verify(&attacker.path(), &["--trusted-root", root]);
    pinned.failed(1, "untrusted-key", &["is not the one that you named"]);
    // A key of the log that is no longer in force does not sign this checkpoint.
    let history = String::from_utf8(folder.files()["log.vkey"].clone()).unwrap();
    let old = stranger.verify(&folder.path(), &["--log-key", history.lines().next().unwrap()]);
    old.failed(1, "untrusted-key", &["is not the one that you named"]);
    // The first builder key pins the keyring.
    let first = |folder: &Folder| -> PathBuf {
        let keyring: Value = serde_json::from_slice(&folder.files()["keys/keyring.json"]).unwrap();
        folder.path().join(text(&keyring["keys"][0]["file"]))
    };
    let key = first(&folder);
    let report = stranger.verify(&folder.path(), &["--key", key.to_str().unwrap()]).json();
    assert_eq!((&report["keys_pinned"], &report["log_pinned"]), (&true.into(), &false.into()));
    let other = stranger.verify(&attacker.path(), &["--key", key.to_str().unwrap()]);
    other.failed(1, "untrusted-key", &["begins with the builder key"]);
}

#[test]
fn one_bundle_verifies_with_the_keys_that_are_named() {
    let (_model, _, folder) = grown();
    let stranger = Stranger::new();
    let list = String::from_utf8(folder.files()["statements.tsv"].clone()).unwrap();
    let line: Vec<&str> = list.lines().last().unwrap().split('\t').collect();
    let (key, bundle) = (folder.path().join(line[4]), folder.path().join(line[6]));
    let key = key.to_str().unwrap();
    let report = stranger.verify(&bundle, &["--key", key]).json();
    assert_eq!((&report["verified"], &report["log_pinned"]), (&true.into(), &false.into()));
    let report = stranger.verify(&bundle, &["--key", key, "--log-key", &folder.log_key]).json();
    assert_eq!((&report["verified"], &report["log_pinned"]), (&true.into(), &true.into()));
    stranger.verify(&bundle, &[]).failed(2, "usage", &["--key"]);
    let first: Vec<&str> = list.lines().next().unwrap().split('\t').collect();
    let other = folder.path().join(first[4]);
    let answer = stranger.verify(&bundle, &["--key", other.to_str().unwrap()]);
    answer.failed(1, "untrusted-key", &["another key"]);
    let origin = folder.log_key.split('+').next().unwrap();
    let old = String::from_utf8(folder.files()["log.vkey"].clone()).unwrap();
    let old = old.lines().next().unwrap();
    let answer = stranger.verify(&bundle, &["--key", key, "--log-key", old]);
    answer.failed(1, "untrusted-key", &[origin]);
    let mut changed: Value = serde_json::from_slice(&fs::read(&bundle).unwrap()).unwrap();
    changed["dsseEnvelope"]["payload"] = "e30=".into();
    let file = folder.path().join("changed.json");
    fs::write(&file, changed.to_string()).unwrap();
    stranger.verify(&file, &["--key", key]).failed(5, "tampered", &["does not fit"]);
    fs::write(&file, "{}").unwrap();
    stranger.verify(&file, &["--key", key]).failed(3, "signature-invalid", &["cannot be read"]);
}
