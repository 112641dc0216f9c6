//! The command line: wrong use, help, JSON.

use serde_json::Value;

use crate::project::Project;

#[test]
fn wrong_use_exits_with_2_and_says_what_is_right() {
    let project = Project::new();
    for arguments in [
        &["frobnicate"][..],
        &["data"],
        &["data", "remove"],
        &["run", "--fast"],
        &["promote", "m/1"],
        &["lineage", "m/1", "--format", "png"],
        &["approve", "m/1", "--for", "p", "--reason", "r", "--as", "ana", "--key", "k"],
        &[],
    ] {
        let answer = project.lineal(arguments);
        assert_eq!(answer.status.code(), Some(2), "{answer:#?}");
        assert!(
            answer.stderr.contains("Usage: lineal") || answer.stderr.contains("try '--help'"),
            "{answer:#?}"
        );
        assert_eq!(answer.stdout, "");
    }
}

#[test]
fn wrong_use_is_json_for_who_asks_for_json() {
    let project = Project::absent();
    for arguments in [
        &["frobnicate", "--json"][..],
        &["--json", "data", "remove"],
        &["--json", "promote", "m/1"],
        &["verify", "--json", "--bundle"],
        &["--json"],
    ] {
        let answer = project.lineal(arguments);
        let text = answer.failed(2, "usage", &[]);
        assert!(!text.is_empty() && !text.starts_with("error:"), "{text}");
        assert_eq!((answer.stdout.as_str(), answer.stderr.lines().count()), ("", 1), "{answer:#?}");
    }
    // What stands behind `--` is no option.
    assert!(project.lineal(&["frobnicate", "--", "--json"]).stderr.starts_with("error: "));
    let help = project.lineal(&["run", "--help", "--json"]);
    assert!(help.status.success() && help.stdout.contains("Usage: lineal run"), "{help:#?}");
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let project = Project::absent();
    assert!(project.lineal(&["man", "pages/man1"]).status.success());
    let page = |name: &str| std::fs::read_to_string(project.path("pages/man1").join(name)).unwrap();
    assert!(page("lineal.1").contains(".TH lineal"));
    assert!(page("lineal-verify.1").contains("bundle") && page("lineal-model-sign.1").contains("force"));
    let hidden = project.path("pages/man1/lineal-reference.1");
    assert!(!hidden.exists(), "what is hidden has no page");
}

#[test]
fn the_machine_is_described() {
    let facts = Project::absent().json(&["doctor"])["facts"].clone();
    let fact = |name: &str| {
        let facts = facts.as_array().unwrap();
        facts.iter().find(|fact| fact[0] == name).map(|fact| fact[1].as_str().unwrap().to_owned()).unwrap()
    };
    assert!(!fact("kernel").is_empty());
    assert!(fact("openat2").starts_with("works"), "{}", fact("openat2"));
}

#[test]
fn help_explains_exit_codes() {
    let project = Project::absent();
    for arguments in [&["--help"][..], &["-h"], &["help"], &["run", "--help"], &["data", "add", "--help"]] {
        let answer = project.lineal(arguments);
        assert_eq!(answer.status.code(), Some(0), "{answer:#?}");
        assert!(answer.stdout.contains("Usage: lineal"), "{answer:#?}");
        assert_eq!(answer.stderr, "");
    }
    let help = project.lineal(&["--help"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("1 the answer is no") && help.contains("5 tampering found"), "{help}");
    assert!(project.lineal(&["data", "add", "--help"]).stdout.contains("Example: lineal data add"));
    let version = project.lineal(&["--version"]);
    assert!(version.stdout.starts_with("lineal "), "{version:#?}");
}

#[test]
fn every_read_command_prints_json() {
    let project = Project::with_pipeline(
        "data: {d: 'dataset://d@t'}\n\
         steps: {one: {run: [sh, -c, 'cp -r $LINEAL_IN/d $LINEAL_OUT/one'], in: {d: data.d}, out: {one: one}}}\n",
    );
    project.write("a.csv", "a\n1\n");
    project.json(&["data", "add", "d", "a.csv", "--tag", "t"]);
    let run = project.run(&[]);
    let (run, statement) = (run["run"].as_str().unwrap(), run["statement"].as_str().unwrap());
    for arguments in [
        &["data", "list"][..],
        &["data", "show", "d@t"],
        &["plan"],
        &["explain", "one"],
        &["runs", "list"],
        &["runs", "show", run],
        &["model", "list"],
        &["rollout", "history"],
        &["verify", run],
        &["verify", "d@t"],
        &["verify", statement],
        &["lineage", run],
        &["lineage", "d@t", "--down"],
        &["lineage", run, "--format", "json"],
        &["ledger", "show"],
        &["ledger", "keys"],
        &["ledger", "proof", statement],
        &["reproduce", run],
        &["doctor"],
    ] {
        let value = project.json(arguments);
        assert!(value.is_array() || value.is_object(), "{arguments:?}: {value}");
    }
    let dot = project.lineal(&["lineage", run, "--format", "dot"]);
    assert!(dot.stdout.starts_with("digraph"), "{dot:#?}");
}

#[test]
fn quiet_prints_nothing_but_errors() {
    let project = Project::new();
    let answer = project.lineal(&["ledger", "show", "--quiet"]);
    assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), ("", ""));
    let answer = project.lineal(&["run", "--quiet"]);
    assert_eq!(answer.status.code(), Some(3));
    assert!(answer.stderr.ends_with("[pipeline-invalid]\n"), "{answer:#?}");
    let _: Value = project.json(&["ledger", "show", "--quiet"]);
}

#[test]
fn names_that_nothing_has_are_told_with_where_to_look() {
    let project = Project::new();
    for (arguments, code, fragments) in [
        (
            &["runs", "show", "run-000000000000"][..],
            "not-found",
            ["no run `run-000000000000`", "lineal runs list"],
        ),
        (
            &["test", "run", "run-000000000000"],
            "not-found",
            ["no run `run-000000000000`", "lineal runs list"],
        ),
        (&["test", "show", "m/1"], "not-found", ["no model version `m/1`", "lineal model list"]),
        (
            &["model", "register", "m", "--run", "run-000000000000"],
            "not-found",
            ["no run", "lineal runs list"],
        ),
        (&["verify", "m/1"], "not-found", ["no model version `m/1`", "lineal model list"]),
        (&["lineage", "m/1"], "not-found", ["no model version `m/1`", "lineal model list"]),
        (&["reproduce", "m/1"], "not-found", ["no model version `m/1`", "lineal model list"]),
        (&["verify", "d@t"], "not-found", ["no snapshot `d@t`", "lineal data list"]),
    ] {
        project.refuses(arguments, 3, code, &fragments);
    }
    project.refuses(&["verify", "what is this"], 2, "usage", &["is no subject", "model/2"]);
    project.refuses(&["runs", "show", "5"], 2, "name-invalid", &["`5`"]);
    let unknown = format!("sha256:{}", "0".repeat(64));
    project.refuses(&["verify", &unknown], 1, "not-verified", &["is not in the ledger"]);
    project.refuses(&["ledger", "proof", &unknown], 3, "not-found", &["is not in the ledger"]);
}
