//! The project folder: settings, several processes at a time, addresses.

use std::fs;
use std::net::TcpListener;

use crate::project::{Project, Started, eventually};

const TWO: &str = "steps:\n  one: {run: [sh, -c, 'echo 1 > $LINEAL_OUT/o'], out: {o: o}}\n  \
                   two: {run: [sh, -c, 'cp $LINEAL_IN/i $LINEAL_OUT/o'], in: {i: one.o}, out: {o: o}}\n";

/// `lineal serve` on a free port, when it is ready.
fn serve(project: &Project) -> Started {
    let started = project.start(&["serve", "--json"]);
    eventually("serve is ready", || project.path(".lineal/serve.json").exists().then_some(()));
    started
}

#[test]
fn without_a_project_it_says_how_to_begin() {
    let project = Project::absent();
    for arguments in [&["ledger", "show"][..], &["run"], &["data", "list"], &["serve"], &["gateway"]] {
        let fragments = ["no Lineal project in", project.root().to_str().unwrap(), "lineal init"];
        project.fails(arguments, 3, "project-absent", &fragments);
    }
    project.fails(&["ledger", "show", "--dir", "nowhere"], 3, "file", &["nowhere"]);
}

#[test]
fn init_does_not_touch_what_is_there() {
    let project = Project::new();
    let keys = project.json(&["ledger", "keys"]);
    project.refuses(
        &["init", "--approver", "eve"],
        3,
        "project-present",
        &["a Lineal project in", "already"],
    );
    assert_eq!(project.json(&["ledger", "keys"]), keys);
    let other = Project::absent();
    other.fails(&["init", "--approver", "../eve"], 2, "name-invalid", &["`../eve`", "lower-case letters"]);
    assert!(!other.path(".lineal").exists());
    // What an init that was killed left behind does not look like a project, and does not hinder the next one.
    fs::create_dir_all(other.path(".lineal.init/keys")).unwrap();
    other.fails(&["run"], 3, "project-absent", &["lineal init"]);
    other.json(&["init"]);
    assert!(!other.path(".lineal.init").exists());
}

#[test]
fn broken_settings_are_named_with_their_line() {
    let project = Project::new();
    let good = fs::read_to_string(project.path(".lineal/config.toml")).unwrap();
    let broken = [
        ("origin = \n".to_owned(), ["config.toml", "line 1"]),
        (good.replace("version = 1", "version = 2"), ["version 2 is not understood", "reads version 1"]),
        (format!("{good}colour = 'red'\n"), ["config.toml", "unknown field `colour`"]),
        (good.replace("approver", "aprover"), ["config.toml", "aprover"]),
        (good.replace("version = 1", "version = 'one'"), ["config.toml", "invalid type"]),
        (String::new(), ["config.toml", "missing field"]),
    ];
    for (text, fragments) in broken {
        project.write(".lineal/config.toml", text);
        project.fails(&["ledger", "show"], 3, "config-invalid", &fragments);
    }
    project.write(".lineal/config.toml", [0xff, 0xfe]);
    project.fails(&["ledger", "show"], 3, "config-invalid", &["config.toml", "UTF-8"]);
    fs::remove_file(project.path(".lineal/config.toml")).unwrap();
    project.fails(&["ledger", "show"], 3, "config-invalid", &["config.toml", "No such file"]);
    project.write(".lineal/config.toml", good);
    assert_eq!(project.ledger().as_array().unwrap().len(), 3);
}

#[test]
fn two_runs_at_the_same_time_both_succeed() {
    let project = Project::with_pipeline(TWO);
    let runs: Vec<Started> = (0..4).map(|_| project.start(&["run", "--json"])).collect();
    let runs: Vec<_> = runs.into_iter().map(|run| run.finish().json()).collect();
    for run in &runs {
        assert_eq!(project.json(&["verify", run["run"].as_str().unwrap()])["verified"], true);
        assert_eq!(run["steps"][1]["outputs"], runs[0]["steps"][1]["outputs"]);
    }
    let ledger = project.ledger();
    project.json(&["ledger", "rebuild"]);
    assert_eq!(project.ledger(), ledger);
    assert_eq!(project.run(&[])["unchanged"], true);
}

#[test]
fn writers_of_different_kinds_at_the_same_time_lose_nothing() {
    let project = Project::with_pipeline(TWO);
    let before = project.ledger().as_array().unwrap().len();
    let adds: Vec<Started> = (0..8)
        .map(|number| {
            let file = format!("{number}.csv");
            project.write(&file, format!("a\n{number}\n"));
            project.start(&["data", "add", "d", &file, "--tag", &format!("t{number}"), "--json"])
        })
        .collect();
    let run = project.start(&["run", "--json"]);
    adds.into_iter().for_each(|add| drop(add.finish().json()));
    run.finish().json();
    // Eight snapshots, two steps, one seal.
    assert_eq!(project.ledger().as_array().unwrap().len(), before + 11);
    (0..8).for_each(|n| assert_eq!(project.json(&["verify", &format!("d@t{n}")])["verified"], true));
}

#[test]
fn one_tag_goes_to_one_of_two_writers() {
    let project = Project::new();
    project.write("a.csv", "a\n1\n");
    project.write("b.csv", "a\n2\n");
    let add = |file| project.start(&["data", "add", "d", file, "--tag", "t", "--json"]);
    let answers = [add("a.csv"), add("b.csv")].map(Started::finish);
    let won: Vec<_> = answers.iter().filter(|answer| answer.status.success()).collect();
    assert_eq!(won.len(), 1, "{answers:#?}");
    let lost = answers.iter().find(|answer| !answer.status.success()).unwrap();
    lost.failed(3, "taken", &["tag `t`"]);
    assert_eq!(project.json(&["data", "show", "d@t"])["snapshot"]["digest"], won[0].json()["snapshot"]);
}

#[test]
fn a_role_runs_once() {
    let project = Project::new();
    let first = serve(&project);
    project.refuses(&["serve"], 3, "already-running", &["`lineal serve` already runs", "stop it first"]);
    let listen = ["gateway", "--listen", "127.0.0.1:0", "--json"];
    let gateway = project.start(&listen);
    eventually("the gateway is ready", || project.path(".lineal/gateway.json").exists().then_some(()));
    project.refuses(&["gateway"], 3, "already-running", &["`lineal gateway` already runs"]);
    gateway.terminate();
    assert!(gateway.finish().status.success());
    first.terminate();
    assert!(first.finish().status.success());
    assert!(!project.path(".lineal/serve.json").exists());
    // After `kill -9` nothing has to be cleaned up by hand.
    let mut killed = serve(&project);
    killed.kill();
    fs::remove_file(project.path(".lineal/serve.json")).unwrap();
    drop(serve(&project));
}

#[test]
fn addresses_that_cannot_be_used_are_named() {
    let project = Project::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let fragments = ["cannot listen on", address.as_str(), "in use", "another port"];
    project.refuses(&["serve", "--listen", &address], 3, "address", &fragments);
    assert!(!project.path(".lineal/serve.json").exists());
    project.refuses(
        &["serve", "--listen", "0.0.0.0:0"],
        3,
        "address",
        &["0.0.0.0:0", "no authentication", "127.0.0.1"],
    );
    project.refuses(&["serve", "--listen", "localhost"], 2, "usage", &["`localhost` is not an address"]);
    let _serve = serve(&project);
    project.refuses(&["gateway", "--listen", &address], 3, "address", &[address.as_str(), "in use"]);
    project.refuses(&["gateway", "--listen", "0.0.0.0:0"], 3, "address", &["0.0.0.0:0"]);
    assert!(!project.path(".lineal/gateway.json").exists());
}

#[test]
fn what_needs_a_server_says_so() {
    let project = Project::new();
    let fragments = ["`lineal serve` is not running", "start it"];
    project.refuses(&["rollout", "status"], 3, "server-unreachable", &fragments);
    project.refuses(&["gateway"], 3, "server-unreachable", &fragments);
    project.refuses(&["rollout", "start", "m/1", "--to", "production"], 3, "server-unreachable", &fragments);
    // A file that a killed server left names nobody.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.write(".lineal/serve.json", format!("{{\"url\": \"http://{free}\", \"pid\": 1}}"));
    project.refuses(&["rollout", "status"], 3, "server-unreachable", &[&free.to_string(), "does not answer"]);
}
