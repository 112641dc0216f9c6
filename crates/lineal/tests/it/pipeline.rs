//! Pipeline files and values that cannot be: refused before anything runs.

use crate::project::{HEAD, Project};

const ONE: &str = "steps: {one: {run: [sh, -c, 'echo 1 > $LINEAL_OUT/one'], out: {one: one}}}\n";

/// A pipeline whose body is refused with these words; what earlier runs gave is still there and reused.
#[track_caller]
fn refused(body: &str, code: &str, fragments: &[&str]) {
    let project = Project::with_pipeline(ONE);
    let run = project.run(&[]);
    project.pipeline(body);
    project.refuses(&["run"], 3, code, fragments);
    project.refuses(&["plan"], 3, code, fragments);
    project.pipeline(ONE);
    let again = project.run(&[]);
    assert_eq!((&again["run"], &again["unchanged"]), (&run["run"], &true.into()));
}

#[test]
fn an_unknown_step_is_named_with_a_hint() {
    let body = "steps:\n  prepare: {run: [sh, -c, ':'], out: {table: t}}\n  \
                train: {run: [sh, -c, ':'], in: {table: prepar.table}, out: {model: m}}\n";
    refused(
        body,
        "pipeline-invalid",
        &["pipeline.yaml", "steps.train.in.table", "step `prepar` is not declared", "prepare"],
    );
}

#[test]
fn a_circle_is_shown_step_by_step() {
    let body = "steps:\n  a: {run: [sh, -c, ':'], in: {x: b.out}, out: {out: o}}\n  \
                b: {run: [sh, -c, ':'], in: {x: a.out}, out: {out: o}}\n";
    refused(body, "pipeline-invalid", &["pipeline.yaml", "a -> b -> a", "remove one of these inputs"]);
}

#[test]
fn an_undeclared_input_is_named() {
    let undeclared_output = "steps:\n  a: {run: [sh, -c, ':'], out: {table: t}}\n  b: {run: [sh, -c, ':'], in: {x: a.tabel}, out: {o: o}}\n";
    refused(
        undeclared_output,
        "pipeline-invalid",
        &["steps.b.in.x", "output `a.tabel` is not declared", "`table`"],
    );
    let undeclared_data = "steps: {a: {run: [sh, -c, ':'], in: {x: data.flights}, out: {o: o}}}\n";
    refused(undeclared_data, "pipeline-invalid", &["steps.a.in.x", "data `flights` is not declared"]);
    let undeclared_param = "steps: {a: {run: [sh, -c, ':'], params: [trees], out: {o: o}}}\n";
    refused(undeclared_param, "pipeline-invalid", &["steps.a.params", "param `trees` is not declared"]);
    let undeclared_env = "steps: {a: {run: [sh, -c, ':'], env: train, out: {o: o}}}\n";
    refused(undeclared_env, "pipeline-invalid", &["steps.a.env", "env `train` is not declared"]);
}

#[test]
fn unknown_and_duplicate_keys_are_named() {
    let unknown = "steps: {a: {run: [sh, -c, ':'], outputs: {o: o}, out: {o: o}}}\n";
    refused(unknown, "pipeline-invalid", &["steps.a", "unknown field `outputs`", "line 4"]);
    let duplicate_step =
        "steps:\n  a: {run: [sh, -c, ':'], out: {o: o}}\n  a: {run: [sh, -c, 'exit 1'], out: {o: o}}\n";
    refused(duplicate_step, "pipeline-invalid", &["key `a` occurs twice", "remove one of them"]);
    let duplicate_section = format!("{ONE}seed: 1\nseed: 2\n");
    refused(&duplicate_section, "pipeline-invalid", &["key `seed` occurs twice"]);
}

#[test]
fn what_is_not_yaml_is_refused_with_its_line() {
    refused("steps: {a: [\n", "pipeline-invalid", &["pipeline.yaml", "line"]);
    refused("steps: \u{7}\n", "pipeline-invalid", &["pipeline.yaml", "control characters are not allowed"]);
    let project = Project::new();
    project.write("pipeline.yaml", [0xff, 0xfe, 0x00, 0x41]);
    project.refuses(&["run"], 3, "pipeline-invalid", &["pipeline.yaml"]);
    project.write("pipeline.yaml", "");
    project.refuses(&["run"], 3, "pipeline-invalid", &["pipeline.yaml", "empty"]);
    project.write("pipeline.yaml", HEAD.replace("Pipeline", "Policy") + ONE);
    project.refuses(&["run"], 3, "pipeline-invalid", &["kind is `Policy`", "expected `Pipeline`"]);
}

#[test]
fn a_missing_file_is_named() {
    let project = Project::new();
    project.refuses(&["run"], 3, "pipeline-invalid", &["pipeline.yaml", "No such file"]);
    project.refuses(&["run", "other.yaml"], 3, "pipeline-invalid", &["other.yaml", "No such file"]);
    project.pipeline(&format!("code: [src]\n{ONE}"));
    project.refuses(&["run"], 3, "data-unreadable", &["src", "No such file"]);
    project.pipeline(&format!("{ONE}gates: {{c: {{contract: contract.yaml, on: one.one}}}}\n"));
    project.refuses(&["run"], 3, "contract-invalid", &["contract.yaml", "No such file"]);
}

#[test]
fn an_unknown_snapshot_is_named_with_what_to_do() {
    let body = "data: {table: 'dataset://flights@2013-01'}\n\
                steps: {a: {run: [sh, -c, ':'], in: {table: data.table}, out: {o: o}}}\n";
    refused(body, "not-found", &["no snapshot `flights@2013-01`", "lineal data add"]);
    let project = Project::with_pipeline(body);
    project.refuses(&["run", "--set", "data.table=flights@9"], 3, "not-found", &["flights@9"]);
    project.refuses(
        &["run", "--set", "data.table=No Such"],
        2,
        "usage",
        &["`data.table` cannot be `No Such`"],
    );
}

#[test]
fn a_missing_environment_is_named_with_what_to_do() {
    let body = "envs: {train: {python: .venv/train}}\n\
                steps: {a: {run: [python, -V], env: train, out: {o: o}}}\n";
    refused(body, "environment", &["environment `train`", ".venv/train", "python3 -m venv"]);
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    let project = Project::with_pipeline(
        "params: {trees: 100, rate: 0.5, strict: true, name: a, list: [1]}\n\
         steps: {a: {run: [sh, -c, 'cp $LINEAL_PARAMS $LINEAL_OUT/o'], params: [trees, rate, strict, name, list], \
         out: {o: o}}}\n",
    );
    for (set, fragments) in [
        ("trees=many", ["`trees` is a", "`many` is a string"]),
        ("trees=true", ["`trees` is a number", "`true` is a"]),
        ("strict=1", ["`strict` is a", "`1` is a"]),
        ("list=2", ["`list` is a", "`2` is a"]),
        ("tress=1", ["`tress` cannot be set", "trees"]),
        ("trees", ["`trees` is not an override", "KEY=VALUE"]),
        ("seed=-1", ["`seed` cannot be `-1`", "whole number"]),
        ("determinism=total", ["`determinism` cannot be `total`", "off, observe or strict"]),
        ("data.flights=a@b", ["`data.flights` cannot be set", "does not declare"]),
    ] {
        project.refuses(&["run", "--set", set], 2, "usage", &fragments);
    }
    project.refuses(&["run", "--set", "trees=1", "--set", "trees=2"], 2, "usage", &["`trees` is set twice"]);
    // A whole number is a number; a text may look like anything.
    project.run(&["trees=200", "rate=0.25", "name=12", "list=[1,2]"]);
}

#[test]
fn paths_that_leave_the_project_are_refused() {
    for path in ["../out", "/etc/out", "a/../../b"] {
        let body = format!("steps: {{a: {{run: [sh, -c, ':'], out: {{o: '{path}'}}}}}}\n");
        refused(&body, "pipeline-invalid", &["steps.a.out.o", path]);
    }
    refused(&format!("code: ['../secrets']\n{ONE}"), "pipeline-invalid", &["code", "../secrets"]);
    let project = Project::new();
    let elsewhere = Project::absent();
    elsewhere.pipeline(ONE);
    let file = elsewhere.path("pipeline.yaml");
    project.refuses(&["run", file.to_str().unwrap()], 2, "usage", &["outside the project", "run it there"]);
}
