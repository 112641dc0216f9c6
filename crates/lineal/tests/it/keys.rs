//! Keys at rest, replaced, revoked and stolen.

use std::fs;
use std::path::{Path, PathBuf};

use lineal_facts::predicate::{KeyRecord, KeyRole, KeyState};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, Predicate, Statement, Timestamp};
use lineal_proof::{Bundle, PublicKey, Signer, VerifierKey, bundle};
use serde_json::{Value, json};

use crate::model::Model;
use crate::project::Project;
use crate::thief::{self, Thief};

const ONE: &str = "params: {salt: 0}\nsteps: {a: {run: [sh, -c, 'cat $LINEAL_PARAMS > $LINEAL_OUT/o'], params: [salt], \
                   out: {o: o}}}\n";

/// A proof that somebody keeps, with what is needed to check it without the project.
struct Kept {
    bundle: String,
    key: PublicKey,
}

impl Kept {
    #[track_caller]
    fn of(project: &Project, statement: &str) -> Self {
        let answer = project.lineal(&["ledger", "proof", statement]);
        assert!(answer.status.success(), "{answer:#?}");
        let ledger = project.ledger();
        let entry = ledger.as_array().unwrap().iter().find(|entry| entry["statement"] == statement).unwrap();
        let keys = project.json(&["ledger", "keys"]);
        let key = keys.as_array().unwrap().iter().find(|key| key["id"] == entry["signer"]).unwrap();
        Self { bundle: answer.stdout, key: PublicKey::from_pem(text(&key["public_key"])).unwrap() }
    }

    fn verifies(&self, log: &VerifierKey) -> bool {
        let bundle = Bundle::from_bytes(self.bundle.trim_end().as_bytes()).unwrap();
        bundle::verify(&bundle, &self.key, std::slice::from_ref(log), None).is_ok()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn current(project: &Project, holder: &str, role: &str) -> Value {
    let keys = project.json(&["ledger", "keys"]);
    let active = |key: &&Value| key["holder"] == holder && key["role"] == role && key["revoked_at"].is_null();
    let found: Vec<&Value> = keys.as_array().unwrap().iter().filter(active).collect();
    assert_eq!(found.len(), 1, "{keys:#}");
    found[0].clone()
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

/// Every file below `folder`.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// The drill: everything is replaced once, in a project with a promoted model.
#[test]
fn every_key_is_replaced_and_what_was_proven_stays_proven() {
    let model = Model::new();
    let approved = ("approved", "approvers.size() >= 1", "an approval is needed");
    model.policy("production", &[approved]);
    let project = &model.project;
    let approve = |version| {
        let signed = project.json(&["approve", version, "--for", "production", "--reason", "r"]);
        text(&signed["statement"]).to_owned()
    };
    let version = model.register(&[]);
    let statement = approve(&version);
    project.json(&["promote", &version, "--to", "production"]);
    let old_log = thief::log_key(&thief::keys(project)).verifier_key().clone();
    let kept = Kept::of(project, &statement);
    assert!(kept.verifies(&old_log));

    let before: Vec<Value> = [("lineal", "builder"), ("ana", "approver"), ("lineal", "router")]
        .map(|(holder, role)| {
            let old = current(project, holder, role);
            let rotated = project.json(&["ledger", "rotate", holder, role]);
            let new = current(project, holder, role);
            assert_eq!((&rotated["old"], &rotated["new"]), (&old["id"], &new["id"]));
            assert_eq!(new["replaces"], old["id"]);
            old
        })
        .to_vec();
    let rotated = project.json(&["ledger", "rotate", "--log"]);
    assert_eq!(rotated["old"], old_log.to_string());
    let new_log: VerifierKey = text(&rotated["new"]).parse().unwrap();
    // The checkpoint at which the new key takes over is good under both.
    let handover = Kept::of(project, text(&rotated["statement"]));
    assert!(handover.verifies(&new_log));
    let note = fs::read(project.path(".lineal/log/checkpoint")).unwrap();
    for log in [&old_log, &new_log] {
        lineal_proof::checkpoint::open(&note, std::slice::from_ref(log)).unwrap();
    }

    let second = model.register(&["value=0.4"]);
    approve(&second);
    project.json(&["promote", &second, "--to", "production"]);
    let note = fs::read(project.path(".lineal/log/checkpoint")).unwrap();
    assert!(lineal_proof::checkpoint::open(&note, std::slice::from_ref(&old_log)).is_err());
    for subject in [version.as_str(), second.as_str(), &statement] {
        assert_eq!(project.json(&["verify", subject])["verified"], true);
    }
    assert!(kept.verifies(&old_log), "what was proven under the old key stays proven");
    let again = Kept::of(project, &statement);
    assert!(again.verifies(&new_log) && !again.verifies(&old_log));
    let keys = project.json(&["ledger", "keys"]);
    for old in before {
        let entry = keys.as_array().unwrap().iter().find(|key| key["id"] == old["id"]).unwrap();
        assert!(entry["revoked_at"].is_u64() && entry["reason"] == "replaced by a new key", "{entry}");
    }
    // Roles start with the new keys, and agree.
    let roles = model.serve();
    drop(roles);
    // A second time everything works as the first time.
    project.json(&["ledger", "rotate", "--log"]);
    project.json(&["ledger", "rotate", "lineal", "builder"]);
    model.register(&["value=0.5"]);
    assert_eq!(project.json(&["verify", &version])["verified"], true);
    let rebuilt = project.json(&["ledger", "rebuild"]);
    assert_eq!(rebuilt["entries"], project.ledger().as_array().unwrap().len());
}

#[test]
fn a_running_control_plane_goes_on_with_the_new_keys() {
    let model = Model::new();
    let _roles = model.serve();
    model.first();
    model.project.json(&["ledger", "rotate", "lineal", "builder"]);
    model.project.json(&["ledger", "rotate", "--log"]);
    let second = model.promoted(&["value=0.31"]);
    let rollout = model.rollout(&second);
    model.project.json(&["rollout", "abort", &rollout, "--reason", "drill"]);
    assert_eq!(model.history(&rollout), ["started", "aborted"]);
    assert_eq!(model.project.ledger()[0]["signer"], current(&model.project, "lineal", "builder")["id"]);
    assert_eq!(model.project.json(&["verify", &second])["verified"], true);
}

#[test]
fn a_signature_counts_before_the_revocation_and_not_after() {
    let model = Model::new();
    let approved = ("approved", "approvers.size() >= 1", "an approval is needed");
    model.policy("production", &[approved]);
    let project = &model.project;
    let first = model.register(&[]);
    let second = model.register(&["value=0.4"]);
    let thief = Thief::of(project);
    let approve = |version: &str| {
        let arguments = ["approve", version, "--for", "production", "--reason", "r"];
        text(&project.json(&arguments)["statement"]).to_owned()
    };
    let before = approve(&first);
    let revoked = project.json(&["ledger", "revoke", "ana", "approver", "--reason", "laptop stolen"]);
    let at = revoked["at"].as_u64().unwrap();
    let entries = project.ledger();
    assert_eq!(entries[1]["statement"], before, "entry i-1");
    assert_eq!(entries[0]["position"], at, "entry i");
    // The program refuses, and says why.
    let arguments = ["approve", second.as_str(), "--for", "production", "--reason", "r"];
    project.refuses(&arguments, 3, "key", &["cannot approve", "revoked"]);
    // The thief does not ask the program.
    let models = project.json(&["model", "list"]);
    let digest = models.as_array().unwrap().iter().find(|m| m["version"] == second).unwrap();
    let digest: Digest = text(&digest["digest"]).parse().unwrap();
    let forged = thief::approval(&second, digest);
    let after = Thief::append(project, &forged, &thief.approver, &thief.log).to_string();
    project.fails(&["verify", &after], 1, "untrusted-key", &["NOT verified", "revoked at ledger position"]);
    project.refuses(&["promote", &second, "--to", "production"], 1, "refused", &["an approval is needed"]);
    assert_eq!(project.json(&["verify", &before])["verified"], true);
    project.json(&["promote", &first, "--to", "production"]);
    // Her next key counts.
    project.json(&["ledger", "rotate", "ana", "approver"]);
    approve(&second);
    project.json(&["promote", &second, "--to", "production"]);
}

#[test]
fn a_thief_of_the_old_builder_key_adds_nothing_that_counts() {
    let project = Project::with_pipeline(ONE);
    project.run(&[]);
    let thief = Thief::of(&project);
    project.json(&["ledger", "rotate", "lineal", "builder"]);
    let forged = thief::incident("forged");
    let statement = Thief::append(&project, &forged, &thief.builder, &thief.log).to_string();
    project.fails(&["verify", &statement], 1, "untrusted-key", &[&statement, "revoked"]);
    assert_eq!(project.ledger()[0]["holder"], Value::Null);
    // A forged snapshot does not exist, so its tag is free.
    let snapshot = thief::snapshot(Digest::of(b"forged"));
    Thief::append(&project, &snapshot, &thief.builder, &thief.log);
    assert_eq!(project.json(&["data", "list"]), json!([]));
    project.write("table.csv", "a\n1\n");
    project.json(&["data", "add", "d", "table.csv", "--tag", "t"]);
    assert_eq!(project.json(&["verify", "d@t"])["verified"], true);
    // Everything else goes on.
    let run = project.run(&["salt=1"]);
    assert_eq!(project.json(&["verify", text(&run["run"])])["verified"], true);
    // A key that the thief wants to introduce makes the whole ledger suspect.
    let stranger = thief::keys(&project.beside()).load("ana", KeyRole::Approver).unwrap();
    let key = stranger.public_key();
    let record = Statement {
        subject: vec![Subject::new("key/ana", key.id())],
        predicate: Predicate::Key(KeyRecord {
            holder: "ana".to_owned(),
            role: KeyRole::Approver,
            state: KeyState::Active,
            public_key: key.to_pem(),
            replaces: None,
            reason: None,
            stated_at: Timestamp::from_unix_ms(0),
        }),
    };
    Thief::append(&project, &record, &thief.builder, &thief.log);
    project.fails(&["verify", text(&run["run"])], 1, "untrusted-key", &["revoked"]);
}

#[test]
fn a_thief_of_the_old_log_key_cannot_continue_the_log() {
    let project = Project::with_pipeline(ONE);
    let run = project.run(&[]);
    let thief = Thief::of(&project);
    let old_keys = fs::read(project.path(".lineal/keys/ledger.vkey")).unwrap();
    project.json(&["ledger", "rotate", "--log"]);
    let parts = ["log", "journal", "statements"];
    for part in parts {
        copy(&project.path(&format!(".lineal/{part}")), &project.path(&format!("backup-{part}")));
    }
    // With the history of the keys as it was, the forged checkpoint would pass.
    let new_keys = fs::read(project.path(".lineal/keys/ledger.vkey")).unwrap();
    fs::write(project.path(".lineal/keys/ledger.vkey"), &old_keys).unwrap();
    Thief::append(&project, &thief::incident("forged"), &thief.builder, &thief.log);
    fs::write(project.path(".lineal/keys/ledger.vkey"), &new_keys).unwrap();
    for command in [&["verify", text(&run["run"])][..], &["run"], &["ledger", "show"]] {
        project.fails(command, 1, "untrusted-key", &["ledger checkpoint", "is not signed by the log key"]);
    }
    for part in parts {
        let damaged = project.path(&format!(".lineal/{part}"));
        fs::remove_dir_all(&damaged).unwrap();
        copy(&project.path(&format!("backup-{part}")), &damaged);
    }
    assert_eq!(project.json(&["verify", text(&run["run"])])["verified"], true);
}

#[test]
fn a_log_key_that_the_ledger_did_not_introduce_is_found() {
    let project = Project::with_pipeline(ONE);
    let run = project.run(&[]);
    let stranger = thief::log_key(&thief::keys(&Project::new()));
    let path = project.path(".lineal/keys/ledger.vkey");
    let mine = fs::read_to_string(&path).unwrap();
    let name = mine.split('+').next().unwrap();
    let key = lineal_proof::LogSigner::from_seed(name, &[9; 32]).unwrap();
    assert_ne!(stranger.verifier_key().name(), name);
    fs::write(&path, format!("{mine}{} 1000\n", key.vkey())).unwrap();
    project.fails(&["verify", text(&run["run"])], 1, "untrusted-key", &["ledger.vkey"]);
    fs::write(&path, format!("{mine}{} 1000\n", stranger.vkey())).unwrap();
    project.fails(&["verify", text(&run["run"])], 3, "key", &["ledger.vkey"]);
    fs::write(&path, mine).unwrap();
    assert_eq!(project.json(&["verify", text(&run["run"])])["verified"], true);
}

#[test]
fn the_last_builder_and_what_is_not_there_cannot_be_revoked() {
    let project = Project::new();
    let revoke = |key: &str, role: &str, exit, code: &str, fragments: &[&str]| {
        let arguments = ["ledger", "revoke", key, role, "--reason", "r"];
        let arguments: Vec<&str> = arguments.into_iter().filter(|a| !a.is_empty()).collect();
        project.refuses(&arguments, exit, code, fragments);
    };
    revoke("lineal", "builder", 3, "key", &["lineal ledger rotate lineal builder"]);
    let id = text(&current(&project, "lineal", "builder")["id"]).to_owned();
    revoke(&id, "", 3, "key", &["lineal ledger rotate lineal builder"]);
    revoke("eve", "approver", 3, "not-found", &["eve", "lineal ledger keys"]);
    revoke(&id, "builder", 2, "usage", &["holder and role"]);
    revoke("ana", "", 2, "usage", &["holder and role"]);
    project.refuses(&["ledger", "revoke", "ana", "approver", "--reason", " "], 2, "usage", &["reason"]);
    project.refuses(&["ledger", "rotate", "eve", "approver"], 3, "not-found", &["eve"]);
    project.refuses(&["ledger", "rotate", "../x", "approver"], 2, "name-invalid", &["../x"]);
    let router = text(&current(&project, "lineal", "router")["id"]).to_owned();
    project.json(&["ledger", "revoke", &router, "--reason", "leaked"]);
    revoke(&router, "", 3, "not-found", &["revoked already"]);
    project.fails(&["serve"], 3, "key", &["router key does not count", "lineal ledger rotate lineal router"]);
    project.json(&["ledger", "rotate", "lineal", "router"]);
}

/// Wherever a rotation stopped, the next one ends it; what was recorded is not recorded twice.
#[test]
fn an_interrupted_rotation_goes_on() {
    let project = Project::with_pipeline(ONE);
    let keys = thief::keys(&project);
    let old = Thief::of(&project);
    // Stopped before anything was recorded: the key that waits is forgotten.
    keys.create_next("lineal", KeyRole::Builder).unwrap();
    project.run(&[]);
    let rotated = project.json(&["ledger", "rotate", "lineal", "builder"]);
    let second = keys.load("lineal", KeyRole::Builder).unwrap();
    assert_eq!(rotated["old"], old.builder.public_key().id().to_string());
    // Stopped after the new key was recorded.
    let third = keys.create_next("lineal", KeyRole::Builder).unwrap();
    let record = Statement {
        subject: vec![Subject::new("key/lineal", third.public_key().id())],
        predicate: Predicate::Key(KeyRecord {
            holder: "lineal".to_owned(),
            role: KeyRole::Builder,
            state: KeyState::Active,
            public_key: third.public_key().to_pem(),
            replaces: Some(second.public_key().id()),
            reason: None,
            stated_at: Timestamp::from_unix_ms(0),
        }),
    };
    Thief::append(&project, &record, &second, &old.log);
    project.fails(&["run", "--set", "salt=1"], 3, "key", &["lineal ledger rotate lineal builder"]);
    let before = project.ledger().as_array().unwrap().len();
    let rotated = project.json(&["ledger", "rotate", "lineal", "builder"]);
    assert_eq!(rotated["new"], third.public_key().id().to_string());
    assert_eq!(project.ledger().as_array().unwrap().len(), before + 1, "only the revocation is new");
    let run = project.run(&["salt=2"]);
    assert_eq!(project.json(&["verify", text(&run["run"])])["verified"], true);
    // A log key that waits and was never recorded is forgotten by the next writer.
    keys.create_next_log_key(old.log.verifier_key().name()).unwrap();
    project.run(&["salt=3"]);
    assert!(keys.next_log_key().unwrap().is_none());
}

#[test]
fn a_copy_of_the_project_cannot_sign_but_can_be_verified() {
    let project = Project::with_pipeline(ONE);
    let run = project.run(&[]);
    let names: Vec<String> = files(&project.path(".lineal/keys"))
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !name.ends_with(".age"))
        .collect();
    assert_eq!(names, ["ledger.vkey"]);
    // Elsewhere there is no identity, or another one.
    let elsewhere = tempfile::tempdir().unwrap();
    project.set_variable("LINEAL_IDENTITY", elsewhere.path().join("identity.txt"));
    assert_eq!(project.json(&["verify", text(&run["run"])])["verified"], true);
    project.refuses(&["run", "--set", "salt=1"], 3, "key", &["no identity file", "LINEAL_IDENTITY"]);
    let other = Project::new();
    fs::copy(other.identity(), elsewhere.path().join("identity.txt")).unwrap();
    project.refuses(&["run", "--set", "salt=1"], 3, "key", &["does not open the key file"]);
    let secret = fs::read_to_string(other.identity()).unwrap();
    let shown = project.lineal(&["run", "--set", "salt=1"]);
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    assert!(!shown.stderr.contains(secret) && !shown.stdout.contains(secret));
    // In the project itself it would be copied along.
    project.set_variable("LINEAL_IDENTITY", project.path(".lineal/identity.txt"));
    project.fails(&["ledger", "show"], 3, "key", &["must not be in `.lineal`"]);
}

#[test]
fn a_project_can_have_an_identity_of_its_own() {
    let project = Project::absent();
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("own.txt");
    let lineal = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env_remove("LINEAL_IDENTITY").env("XDG_CONFIG_HOME", own.path().join("config"));
        crate::project::Started::new(command).finish().json()
    };
    lineal(&["init", "--approver", "ana", "--identity", file.to_str().unwrap(), "--json"]);
    assert!(file.exists());
    // Without one, it is the user's.
    lineal(&["ledger", "rotate", "ana", "approver", "--json"]);
    assert!(!own.path().join("config").exists());
    fs::remove_dir_all(project.path(".lineal")).unwrap();
    lineal(&["init", "--approver", "ana", "--json"]);
    assert!(own.path().join("config/lineal/identity.txt").exists());
    lineal(&["ledger", "rotate", "ana", "approver", "--json"]);
}

#[test]
fn keys_of_an_earlier_build_work_and_can_be_encrypted() {
    let project = Project::with_pipeline(ONE);
    let keys = thief::keys(&project);
    for path in files(&project.path(".lineal/keys")) {
        if path.extension().is_some_and(|extension| extension == "age") {
            let plain = path.with_extension("");
            lineal_blob::files::replace(&plain, thief::secret(&keys, &path).as_bytes()).unwrap();
            fs::remove_file(path).unwrap();
        }
    }
    project.run(&[]);
    let done = project.json(&["ledger", "keys", "encrypt"]);
    assert_eq!(done.as_array().unwrap().len(), 4, "{done:#}");
    assert_eq!(project.json(&["ledger", "keys", "encrypt"]), json!([]));
    project.run(&["salt=1"]);
    project.json(&["ledger", "rotate", "--log"]);
    project.run(&["salt=2"]);
}

#[test]
fn a_step_sees_neither_keys_nor_identity() {
    let project = Project::new();
    let identity = project.identity();
    let (keys, home) = (project.path(".lineal/keys"), identity.parent().unwrap());
    let looks_for = |place: &Path| {
        let place = place.display();
        let script = format!(
            "test -e {place} && exit 4; cat {place}* 2> /dev/null && exit 5; \
             env | grep -i identity && exit 6; echo gone > $LINEAL_OUT/o"
        );
        project.pipeline(&format!("steps: {{a: {{run: [sh, -c, '{script}'], out: {{o: o}}}}}}\n"));
    };
    for place in [keys.as_path(), home, &identity, &project.path(".lineal/config.toml")] {
        looks_for(place);
        project.run(&[]);
    }
    // What is there is found in this way.
    looks_for(Path::new("/usr"));
    project.refuses(&["run"], 1, "step-failed", &["exit code 4"]);
}

/// What a backup, a bug report or a look into the store would give away.
#[test]
fn no_secret_is_in_the_store_or_in_what_is_printed() {
    let model = Model::new();
    let project = &model.project;
    let version = model.register(&[]);
    let mut printed = String::new();
    for command in [
        &["approve", version.as_str(), "--for", "production", "--reason", "r"][..],
        &["promote", &version, "--to", "production"],
        &["ledger", "rotate", "lineal", "builder"],
        &["ledger", "rotate", "--log"],
        &["ledger", "keys"],
        &["ledger", "keys", "--json"],
        &["ledger", "show", "--json"],
        &["verify", &version, "--json"],
        &["doctor"],
    ] {
        let answer = project.lineal(command);
        assert!(answer.status.success(), "{answer:#?}");
        printed.push_str(&answer.stdout);
        printed.push_str(&answer.stderr);
    }
    let canaries = canaries(project);
    assert!(canaries.len() > 20, "{}", canaries.len());
    let holds = |bytes: &[u8], canary: &[u8]| bytes.windows(canary.len()).any(|window| window == canary);
    for (what, canary) in &canaries {
        assert!(!holds(printed.as_bytes(), canary), "{what} is printed");
    }
    for path in files(&project.path(".lineal")) {
        let bytes = fs::read(&path).unwrap();
        for (what, canary) in &canaries {
            assert!(!holds(&bytes, canary), "{what} is in {}", path.display());
        }
    }
    // The search would find them: the identity is where it belongs.
    let identity = fs::read(project.identity()).unwrap();
    assert!(canaries.iter().any(|(_, canary)| holds(&identity, canary)));
}

#[test]
fn a_secret_of_whoever_runs_a_pipeline_is_recorded_nowhere() {
    const CANARY: &str = "canary-5f0c2a9e77";
    let project = Project::with_pipeline(
        "steps: {one: {run: [sh, -c, 'env > $LINEAL_OUT/o; cat /proc/[0-9]*/environ >> $LINEAL_OUT/o; true'], out: {o: o}}}\n",
    );
    project.set_variable("DEPLOY_TOKEN", CANARY.into());
    let run = project.json(&["run"]);
    project.json(&["verify", run["run"].as_str().unwrap()]);
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let files = files(&project.path(".lineal"));
    for path in &files {
        assert!(!holds(&fs::read(path).unwrap(), CANARY), "the secret is in {}", path.display());
    }
    // The search would find it: what the step saw is there.
    assert!(files.iter().any(|path| holds(&fs::read(path).unwrap(), "LINEAL_OUT=/lineal/out")));
}

/// Every secret of the project in each form that it could have: text, lines of it, and decoded bytes.
fn canaries(project: &Project) -> Vec<(String, Vec<u8>)> {
    let keys = thief::keys(project);
    let mut found = Vec::new();
    let identity = fs::read_to_string(project.identity()).unwrap();
    let line = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    found.push(("the identity".to_owned(), line.as_bytes().to_vec()));
    found.push(("the identity".to_owned(), line.to_lowercase().into_bytes()));
    for path in files(&project.path(".lineal/keys")) {
        if path.extension().is_none_or(|extension| extension != "age") {
            continue;
        }
        let what = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = thief::secret(&keys, &path);
        // The third line of PKCS #8 is the public key.
        for line in text.lines().filter(|line| !line.starts_with("-----") && line.len() >= 40).take(2) {
            found.push((what.clone(), line.as_bytes().to_vec()));
        }
        let secret = if what.starts_with("ledger") {
            let hex = text.lines().nth(1).unwrap();
            found.push((what.clone(), hex.as_bytes().to_vec()));
            unhex(hex)
        } else {
            let scalar = scalar(&text);
            found.push((what.clone(), hex(&scalar).into_bytes()));
            scalar
        };
        found.push((what.clone(), hex(&secret).to_uppercase().into_bytes()));
        found.push((what, secret));
    }
    found
}

/// The 32 secret bytes in PKCS #8 of a P-256 key: an octet string of that length, after version and algorithm.
fn scalar(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = unbase64(&body);
    let at = der.windows(5).position(|window| window == [2, 1, 1, 4, 32]).unwrap() + 5;
    der[at..at + 32].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unbase64(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.chars().filter(|digit| *digit != '=') {
        bits = bits << 6 | u32::try_from(ALPHABET.find(digit).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}
