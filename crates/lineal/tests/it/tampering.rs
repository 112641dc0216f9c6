//! Changed and missing bytes: found, named, never used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::project::Project;

const TWO: &str = "params: {salt: 0}\ndata: {d: 'dataset://d@t'}\nsteps:\n  \
     one: {run: [sh, -c, '(echo one; cat $LINEAL_IN/d/*) > $LINEAL_OUT/one'], in: {d: data.d}, out: {one: one}}\n  \
     two: {run: [sh, -c, 'cat $LINEAL_IN/i $LINEAL_PARAMS > $LINEAL_OUT/two'], in: {i: one.one}, params: [salt], \
     out: {two: two}}\n";

/// A project with a snapshot `d@t` and a run of two steps.
pub(crate) struct Sealed {
    pub(crate) project: Project,
    pub(crate) run: Value,
}

impl Sealed {
    pub(crate) fn new() -> Self {
        Self::of(Project::new())
    }

    /// The snapshot and the run in a fresh project.
    pub(crate) fn of(project: Project) -> Self {
        project.pipeline(TWO);
        project.write("table.csv", "a,b\n1,2\n");
        project.json(&["data", "add", "d", "table.csv", "--tag", "t"]);
        let run = project.run(&[]);
        Self { project, run }
    }

    pub(crate) fn id(&self) -> &str {
        self.run["run"].as_str().unwrap()
    }

    /// The blob of a step's only output.
    pub(crate) fn output(&self, step: usize) -> PathBuf {
        let outputs = self.run["steps"][step]["outputs"].as_object().unwrap();
        self.project.blob(&outputs.values().next().unwrap()["digest"])
    }

    /// The blob of the snapshot's only file.
    pub(crate) fn table(&self) -> PathBuf {
        self.project.blob(&self.project.json(&["data", "show", "d@t"])["files"][0]["digest"])
    }

    /// What `verify` finds, which must be of this kind and name the file.
    #[track_caller]
    pub(crate) fn found(&self, subject: &str, exit: i32, code: &str, named: &str) {
        self.found_by(&["verify", subject, "--json"], exit, code, named);
    }

    #[track_caller]
    pub(crate) fn found_by(&self, arguments: &[&str], exit: i32, code: &str, named: &str) {
        let answer = self.project.lineal(arguments);
        answer.failed(exit, code, &["NOT verified", named]);
        let report: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(report["verified"], false);
        let finding =
            |finding: &Value| finding["code"] == code && finding["message"].as_str().unwrap().contains(named);
        assert!(report["findings"].as_array().unwrap().iter().any(finding), "{report:#}");
    }

    /// Which steps the next run reuses.
    pub(crate) fn reused(&self) -> Vec<Value> {
        let run = self.project.run(&[]);
        run["steps"].as_array().unwrap().iter().map(|step| step["reused"].clone()).collect()
    }
}

pub(crate) fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The last file below a folder of the log.
pub(crate) fn tile(project: &Project, folder: &str) -> PathBuf {
    let partial = project.path(&format!(".lineal/log/tile/{folder}/000.p"));
    let files = fs::read_dir(partial).unwrap().map(|entry| entry.unwrap().path());
    let width = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u16>().unwrap();
    files.max_by_key(width).unwrap()
}

/// The statements of the first 256 entries.
fn pack(project: &Project) -> PathBuf {
    project.path(".lineal/statements/000")
}

/// Puts `change` of the statement at `position` in its place.
pub(crate) fn change_statement(project: &Project, position: u64, change: impl Fn(&mut Vec<u8>)) {
    let bytes = fs::read(pack(project)).unwrap();
    let (mut rest, mut changed) = (bytes.as_slice(), Vec::new());
    for number in 0.. {
        let Some((length, tail)) = rest.split_first_chunk::<4>() else { break };
        let (statement, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
        let mut statement = statement.to_vec();
        if number == position {
            change(&mut statement);
        }
        changed.extend_from_slice(&(statement.len() as u32).to_be_bytes());
        changed.extend(statement);
        rest = tail;
    }
    assert_ne!(bytes, changed);
    // At once: who reads at the same time finds this damage and no other.
    let fresh = project.path("changed");
    fs::write(&fresh, changed).unwrap();
    fs::rename(fresh, pack(project)).unwrap();
}

#[test]
fn untouched_everything_is_verified() {
    let sealed = Sealed::new();
    for subject in [sealed.id(), "d@t", sealed.run["statement"].as_str().unwrap()] {
        let verified = sealed.project.json(&["verify", subject]);
        assert_eq!((&verified["verified"], &verified["findings"]), (&json!(true), &json!([])));
    }
}

#[test]
fn a_changed_tile_is_found() {
    let sealed = Sealed::new();
    flip(&tile(&sealed.project, "0"));
    sealed.found(sealed.id(), 5, "tampered", "tile/0/000.p");
}

#[test]
fn a_changed_entry_bundle_is_found() {
    let sealed = Sealed::new();
    flip(&tile(&sealed.project, "entries"));
    sealed.found(sealed.id(), 5, "tampered", "entr");
    // What comes after it does not cover it up.
    let appended = sealed.project.lineal(&["run", "--set", "salt=1", "--json"]);
    sealed.found(sealed.id(), 5, "tampered", "entr");
    assert!(appended.status.code() == Some(5) || appended.json()["unchanged"] == false);
}

#[test]
fn a_changed_checkpoint_is_found_by_every_command() {
    let sealed = Sealed::new();
    flip(&sealed.project.path(".lineal/log/checkpoint"));
    let fragments = ["ledger checkpoint", "log/checkpoint"];
    sealed.project.fails(&["verify", "d@t"], 5, "tampered", &fragments);
    sealed.project.fails(&["run"], 5, "tampered", &fragments);
}

#[test]
fn a_rolled_back_checkpoint_is_found() {
    let sealed = Sealed::new();
    let checkpoint = sealed.project.path(".lineal/log/checkpoint");
    let old = fs::read(&checkpoint).unwrap();
    sealed.project.run(&["salt=1"]);
    fs::write(&checkpoint, old).unwrap();
    let answer = sealed.project.lineal(&["verify", sealed.id(), "--json"]);
    answer.failed(5, "tampered", &["ledger"]);
}

#[test]
fn a_changed_snapshot_file_is_found_and_never_read() {
    let sealed = Sealed::new();
    let table = sealed.table();
    flip(&table);
    sealed.found("d@t", 5, "tampered", table.to_str().unwrap());
    sealed.found(sealed.id(), 5, "tampered", table.to_str().unwrap());
    // A step that has to read it does not run.
    sealed.project.pipeline(&TWO.replace("cat $LINEAL_IN/d/*", "cat $LINEAL_IN/d/table.csv"));
    sealed.project.refuses(&["run"], 5, "tampered", &["is damaged", table.to_str().unwrap()]);
    // The source is still there: adding it again heals.
    sealed.project.json(&["data", "add", "e", "table.csv", "--tag", "t"]);
    assert_eq!(sealed.project.json(&["verify", "d@t"])["verified"], true);
}

#[test]
fn a_changed_statement_is_found() {
    let sealed = Sealed::new();
    for entry in sealed.project.ledger().as_array().unwrap() {
        let pack = pack(&sealed.project);
        let good = fs::read(&pack).unwrap();
        let flip = |statement: &mut Vec<u8>| *statement.last_mut().unwrap() ^= 1;
        change_statement(&sealed.project, entry["position"].as_u64().unwrap(), flip);
        sealed.found(sealed.id(), 5, "tampered", &format!("ledger position {}", entry["position"]));
        sealed.found(sealed.id(), 5, "tampered", pack.to_str().unwrap());
        fs::write(&pack, good).unwrap();
    }
    assert_eq!(sealed.project.json(&["verify", sealed.id()])["verified"], true);
}

#[test]
fn a_missing_blob_is_a_gap() {
    let sealed = Sealed::new();
    let table = sealed.table();
    fs::remove_file(&table).unwrap();
    sealed.found("d@t", 1, "not-verified", "is missing");
    let output = sealed.output(0);
    fs::remove_file(&output).unwrap();
    sealed.found(sealed.id(), 1, "not-verified", "is missing");
    let entries = sealed.project.ledger();
    let run = entries.as_array().unwrap().iter().find(|entry| entry["statement"] == sealed.run["statement"]);
    change_statement(&sealed.project, run.unwrap()["position"].as_u64().unwrap(), Vec::clear);
    sealed.found_by(&["verify", "d@t", "--full", "--json"], 1, "not-verified", "ledger position");
}

#[test]
fn a_step_whose_output_is_gone_runs_again() {
    let sealed = Sealed::new();
    fs::remove_file(sealed.output(0)).unwrap();
    assert_eq!(sealed.project.json(&["plan"])[0]["reuse"], false);
    assert_eq!(sealed.reused(), [false, true]);
    assert_eq!(sealed.reused(), [true, true]);
    assert_eq!(sealed.project.json(&["verify", sealed.id()])["verified"], true);
}

#[test]
fn a_damaged_output_is_not_reused() {
    let sealed = Sealed::new();
    let good = fs::read(sealed.output(1)).unwrap();
    flip(&sealed.output(1));
    sealed.found(sealed.id(), 5, "tampered", sealed.output(1).to_str().unwrap());
    assert_eq!(sealed.reused(), [true, false]);
    assert_eq!(fs::read(sealed.output(1)).unwrap(), good, "the run healed it");
    assert_eq!(sealed.project.json(&["verify", sealed.id()])["verified"], true);
}

#[test]
fn a_lost_explanation_does_not_stop_a_run() {
    let sealed = Sealed::new();
    // What determined the earlier result is gone, so that nothing can be compared with it.
    fs::remove_file(sealed.project.blob(&sealed.run["steps"][1]["cache_key"])).unwrap();
    let run = sealed.project.run(&["salt=1"]);
    let reused: Vec<_> = run["steps"].as_array().unwrap().iter().map(|step| &step["reused"]).collect();
    assert_eq!(reused, [true, false]);
}

#[test]
fn a_lost_index_is_made_again() {
    let sealed = Sealed::new();
    let before = (sealed.project.ledger(), sealed.project.json(&["runs", "list"]));
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        // The last two exist only while something is open.
        let _ = fs::remove_file(sealed.project.path(&format!(".lineal/{name}")));
    }
    assert_eq!((sealed.project.ledger(), sealed.project.json(&["runs", "list"])), before);
    assert_eq!(sealed.reused(), [true, true]);
}

#[test]
fn a_damaged_index_says_how_to_get_a_new_one() {
    let sealed = Sealed::new();
    let before = sealed.project.ledger();
    for name in ["index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(sealed.project.path(&format!(".lineal/{name}")));
    }
    sealed.project.write(".lineal/index.db", "this is no database".repeat(1000));
    let fragments = ["index.db", "is damaged", "`lineal ledger rebuild`"];
    sealed.project.fails(&["ledger", "show"], 3, "file", &fragments);
    sealed.project.fails(&["run"], 3, "file", &fragments);
    sealed.project.json(&["ledger", "rebuild"]);
    assert_eq!(sealed.project.ledger(), before);
    assert_eq!(sealed.reused(), [true, true]);
}
