//! Data that has no certain identity or is no table: refused; what is frozen stays frozen.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::project::{Project, Started};

#[track_caller]
fn refused(project: &Project, path: &str, fragments: &[&str]) {
    project.refuses(&["data", "add", "d", path, "--tag", "t"], 3, "data-unreadable", fragments);
    assert_eq!(project.json(&["data", "list"]), serde_json::json!([]));
}

#[test]
fn a_missing_path_is_named() {
    let project = Project::new();
    refused(&project, "nowhere.csv", &["nowhere.csv", "No such file"]);
    fs::create_dir(project.path("empty")).unwrap();
    refused(&project, "empty", &["nothing to freeze"]);
}

#[test]
fn an_unreadable_file_is_named() {
    let project = Project::new();
    project.write("d/good.csv", "a\n1\n");
    project.write("d/secret.csv", "a\n1\n");
    let before = project.ledger();
    fs::set_permissions(project.path("d/secret.csv"), fs::Permissions::from_mode(0o000)).unwrap();
    let arguments = ["data", "add", "d", "d", "--json"];
    let answer = if rustix::process::geteuid().is_root() {
        // Root reads everything, so somebody else has to try: with a copy of the binary that they can reach.
        let binary = project.path("lineal");
        fs::copy(env!("CARGO_BIN_EXE_lineal"), &binary).unwrap();
        let everything = project.root().to_str().unwrap();
        let given = Command::new("chown").args(["-R", "65534:65534", everything]).status().unwrap();
        assert!(given.success());
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary).args(arguments);
        command.current_dir(project.root());
        Started::new(command).finish()
    } else {
        project.lineal(&arguments)
    };
    answer.failed(3, "data-unreadable", &["d/secret.csv", "Permission denied"]);
    assert_eq!(project.ledger(), before);
}

#[test]
fn links_are_followed_only_inside_the_tree() {
    let project = Project::new();
    project.write("outside.csv", "a\n1\n");
    project.write("d/real.csv", "a\n1\n");
    symlink("../outside.csv", project.path("d/link.csv")).unwrap();
    refused(&project, "d", &["d/link.csv", "symbolic link that leads out of the tree", "copy the file in"]);
    fs::remove_file(project.path("d/link.csv")).unwrap();
    symlink("nowhere", project.path("d/link.csv")).unwrap();
    refused(&project, "d", &["d/link.csv", "to nothing"]);
    fs::remove_file(project.path("d/link.csv")).unwrap();
    symlink("..", project.path("d/up")).unwrap();
    refused(&project, "d", &["d/up", "symbolic link"]);
    fs::remove_file(project.path("d/up")).unwrap();
    symlink("real.csv", project.path("d/link.csv")).unwrap();
    let added = project.json(&["data", "add", "d", "d", "--tag", "t"]);
    assert_eq!(added["files"], 2);
}

#[test]
fn what_is_no_file_is_named() {
    let project = Project::new();
    fs::create_dir(project.path("d")).unwrap();
    assert!(Command::new("mkfifo").arg(project.path("d/pipe")).status().unwrap().success());
    refused(&project, "d", &["d/pipe", "neither a file nor a directory"]);
    let _socket = std::os::unix::net::UnixListener::bind(project.path("socket")).unwrap();
    refused(&project, "socket", &["socket"]);
}

#[test]
fn a_name_that_is_not_utf8_is_told() {
    let project = Project::new();
    project.write("d/good.csv", "a\n1\n");
    fs::write(project.path("d").join(OsStr::from_bytes(b"bad-\xff.csv")), "a\n1\n").unwrap();
    refused(&project, "d", &["bad-", "not UTF-8", "rename it"]);
}

#[test]
fn empty_files_are_files_but_no_tables() {
    let project = Project::new();
    project.write("empty.csv", "");
    refused(&project, "empty.csv", &["`empty.csv` is not a table"]);
    project.write("empty.bin", "");
    let added = project.json(&["data", "add", "d", "empty.bin", "--tag", "t"]);
    assert_eq!((&added["files"], &added["size_bytes"], &added["rows"]), (&1.into(), &0.into(), &"0".into()));
    assert_eq!(project.json(&["verify", "d@t"])["verified"], true);
    project.write("head.csv", "a,b\n");
    let added = project.json(&["data", "add", "h", "head.csv", "--tag", "t"]);
    assert_eq!(added["rows"], "0");
}

#[test]
fn a_ragged_table_is_refused_with_its_line() {
    let project = Project::new();
    project.write("ragged.csv", "a,b\n1,2\n3\n");
    refused(&project, "ragged.csv", &["`ragged.csv` is not a table", "row 2: 1 columns, the header has 2"]);
    project.write("wide.csv", "a,b\n1,2\n3,4,5\n");
    refused(&project, "wide.csv", &["`wide.csv` is not a table", "row 2: 3 columns, the header has 2"]);
    project.write("latin.csv", b"a,b\n1,\xe9\n");
    refused(&project, "latin.csv", &["`latin.csv` is not a table", "UTF-8"]);
}

#[test]
fn a_tag_never_moves() {
    let project = Project::new();
    project.write("a.csv", "a\n1\n");
    let first = project.json(&["data", "add", "d", "a.csv", "--tag", "t"]);
    assert_eq!(first["unchanged"], false);
    let again = project.json(&["data", "add", "d", "a.csv", "--tag", "t"]);
    assert_eq!((&again["unchanged"], &again["snapshot"]), (&true.into(), &first["snapshot"]));
    assert_eq!(again["statement"], first["statement"]);
    project.write("a.csv", "a\n2\n");
    let fragments =
        ["tag `t` of dataset `d`", "never moves", "choose another tag", first["snapshot"].as_str().unwrap()];
    project.refuses(&["data", "add", "d", "a.csv", "--tag", "t"], 3, "taken", &fragments);
    let other = project.json(&["data", "add", "d", "a.csv", "--tag", "u"]);
    assert_ne!(other["snapshot"], first["snapshot"]);
    assert_eq!(project.count("dataset"), 2);
}

#[test]
fn a_snapshot_does_not_follow_its_source() {
    let project = Project::new();
    project.write("d/a.csv", "a\n1\n");
    let added = project.json(&["data", "add", "d", "d", "--tag", "t"]);
    let shown = project.json(&["data", "show", "d@t"]);
    project.write("d/a.csv", "a\n2\n");
    project.write("d/b.csv", "a\n3\n");
    assert_eq!(project.json(&["data", "show", "d@t"]), shown);
    assert_eq!(project.json(&["verify", "d@t"])["verified"], true);
    fs::remove_dir_all(project.path("d")).unwrap();
    assert_eq!(project.json(&["verify", "d@t"])["verified"], true);
    let content = fs::read_to_string(project.blob(&shown["files"][0]["digest"])).unwrap();
    assert_eq!((content.as_str(), &shown["snapshot"]["digest"]), ("a\n1\n", &added["snapshot"]));
}

#[test]
fn a_change_within_the_clocks_grain_is_noticed() {
    let project = Project::new();
    for content in 0..20 {
        project.write("a.csv", format!("a\n{content}\n"));
        let added = project.json(&["data", "add", "d", "a.csv"]);
        let digest = &project.json(&["data", "show", &format!("d@{}", added["snapshot"].as_str().unwrap())]);
        let frozen = fs::read_to_string(project.blob(&digest["files"][0]["digest"])).unwrap();
        assert_eq!(frozen, format!("a\n{content}\n"));
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    const SIZE: usize = 16 << 20;
    let project = Project::new();
    project.write("big.bin", vec![0; SIZE]);
    let path = project.path("big.bin");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    // Writes the same number at the beginning and then at the end, again and again.
    let writer = std::thread::spawn(move || {
        let file = fs::File::options().write(true).open(path).unwrap();
        for number in 1_u64.. {
            if stopped.try_recv().is_ok() {
                return;
            }
            for offset in [0, SIZE as u64 - 8] {
                std::os::unix::fs::FileExt::write_all_at(&file, &number.to_le_bytes(), offset).unwrap();
            }
        }
    });
    let mut refusals = 0;
    for _ in 0..5 {
        let answer = project.lineal(&["data", "add", "d", "big.bin", "--json"]);
        if answer.status.success() {
            // The writer had no turn meanwhile: then the content is one that the file had at some moment.
            let snapshot = format!("d@{}", answer.json()["snapshot"].as_str().unwrap());
            let shown = project.json(&["data", "show", &snapshot]);
            let frozen = fs::read(project.blob(&shown["files"][0]["digest"])).unwrap();
            let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
            let (first, last) = (number(&frozen[..8]), number(&frozen[SIZE - 8..]));
            assert!(first == last || first == last + 1, "a mixture was frozen: {first} and {last}");
        } else {
            refusals += 1;
            answer.failed(3, "data-unreadable", &["big.bin", "changed while it was read", "try again"]);
        }
    }
    stop.send(()).unwrap();
    writer.join().unwrap();
    assert!(refusals > 0, "a writer that never rests was not noticed once");
}

#[test]
fn wrong_names_are_told() {
    let project = Project::new();
    project.write("a.csv", "a\n1\n");
    project.refuses(&["data", "add", "Not A Name", "a.csv"], 2, "name-invalid", &["Not A Name"]);
    project.refuses(&["data", "add", "d", "a.csv", "--tag", "../x"], 2, "name-invalid", &["../x"]);
    project.refuses(&["data", "show", "d@missing"], 3, "not-found", &["d@missing", "lineal data list"]);
    project.refuses(&["data", "show", "d"], 2, "name-invalid", &["`d`"]);
}
