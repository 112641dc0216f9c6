//! Steps that misbehave: contained, named, and what other steps did is kept.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::project::{Answer, Project, eventually, processes_with};

/// A project whose step `good` is done and whose step `bad` runs this shell script, which must fail like this.
#[track_caller]
fn bad(script: &str, code: &str, fragments: &[&str]) -> Project {
    let project = Project::with_pipeline(&body(script, ""));
    fails(&project, code, fragments);
    project
}

fn body(script: &str, more: &str) -> String {
    let script = script.replace('\'', "''");
    format!(
        "steps:\n  good: {{run: [sh, -c, 'echo 1 > $LINEAL_OUT/one'], out: {{one: one}}}}\n  \
         bad: {{run: [bash, -c, '{script}'], in: {{one: good.one}}, out: {{two: two}}{more}}}\n"
    )
}

/// Runs the pipeline twice: the first step is recorded by the first time, no run is ever sealed, nothing is left.
#[track_caller]
fn fails(project: &Project, code: &str, fragments: &[&str]) {
    project.fails(&["run"], 1, code, fragments);
    let ledger = project.ledger();
    assert_eq!(project.count("provenance"), 1, "the finished step is recorded: {ledger}");
    project.refuses(&["run"], 1, code, fragments);
    let plan = project.json(&["plan"]);
    assert_eq!((&plan[0]["step"], &plan[0]["reuse"]), (&"good".into(), &true.into()));
    assert_eq!(project.json(&["runs", "list"]), serde_json::json!([]));
    assert_eq!(project.workspaces(), Vec::<PathBuf>::new());
}

/// The text that a step, which sees what it prints into its output, made.
#[track_caller]
fn output(script: &str) -> String {
    let project = Project::with_pipeline(&body(script, ""));
    let run = project.run(&[]);
    std::fs::read_to_string(project.blob(&run["steps"][1]["outputs"]["two"]["digest"])).unwrap()
}

#[test]
fn writes_outside_the_outputs_fail() {
    for place in ["/two", "/lineal/in/one", "/lineal/code/x", "/usr/lib/x", "/lineal/params.json", "/etc/x"] {
        let script = format!("echo 1 > {place}");
        bad(&script, "step-failed", &["step `bad` failed with exit code 1", place, "Read-only file system"]);
    }
}

#[test]
fn an_undeclared_file_in_the_outputs_is_refused() {
    let fragments = ["step `bad` wrote `$LINEAL_OUT/extra`", "declare it, or write it to /tmp"];
    bad("echo > $LINEAL_OUT/two; echo > $LINEAL_OUT/extra", "step-output", &fragments);
    bad(
        "echo > $LINEAL_OUT/two; mkdir $LINEAL_OUT/d; echo > $LINEAL_OUT/d/e",
        "step-output",
        &["$LINEAL_OUT/d/e"],
    );
}

#[test]
fn a_missing_output_is_named() {
    bad(
        "true",
        "step-output",
        &["step `bad` ended well but did not write its output `two`", "$LINEAL_OUT/two"],
    );
}

#[test]
fn an_output_that_is_a_link_or_a_pipe_is_refused() {
    bad(
        "ln -s /usr/bin/env $LINEAL_OUT/two",
        "step-output",
        &["step `bad`", "`$LINEAL_OUT/two` is a symbolic link"],
    );
    bad("mkfifo $LINEAL_OUT/two", "step-output", &["$LINEAL_OUT/two", "neither a file nor a directory"]);
    bad(
        "mkdir $LINEAL_OUT/two; ln -s /etc/passwd $LINEAL_OUT/two/x",
        "step-output",
        &["$LINEAL_OUT/two/x", "symbolic link"],
    );
}

#[test]
fn an_exit_code_is_told_with_the_end_of_the_log() {
    let fragments = ["step `bad` failed with exit code 3", "line 40", "on stderr"];
    let project =
        bad("for i in {1..40}; do echo line $i; done; echo on stderr >&2; exit 3", "step-failed", &fragments);
    let text = project.lineal(&["run", "--json"]).failed(1, "step-failed", &[]);
    assert!(!text.contains("line 3\n"), "only the end of the log: {text}");
    bad("exit 7", "step-failed", &["exit code 7", "it printed nothing"]);
}

#[test]
fn a_signal_is_told() {
    bad("kill -9 $$", "step-failed", &["step `bad` was killed (signal 9)"]);
    bad("kill -SEGV $$", "step-failed", &["step `bad` crashed with signal 11"]);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let project = Project::with_pipeline("steps: {a: {run: [no-such-program], out: {o: o}}}\n");
    project.refuses(&["run"], 3, "sandbox", &["`no-such-program` not found inside the sandbox", "/usr/bin"]);
}

#[test]
fn a_hanging_step_is_stopped_with_all_its_processes() {
    let project = Project::with_pipeline(&body("sleep 3010101 & sleep 3010101", ", timeout: 1s"));
    let began = Instant::now();
    fails(&project, "step-timeout", &["step `bad` was stopped after its timeout of 1 s", "raise `timeout`"]);
    assert!(began.elapsed() < Duration::from_secs(30));
    eventually("no process is left", || processes_with("3010101").is_empty().then_some(()));
}

#[test]
fn a_process_that_outlives_its_step_is_stopped() {
    let script = "nohup setsid sleep 3020202 > /dev/null 2>&1 & echo 1 > $LINEAL_OUT/two";
    assert_eq!(output(script), "1\n");
    eventually("no process is left", || processes_with("3020202").is_empty().then_some(()));
}

#[test]
fn host_files_that_are_not_declared_are_invisible() {
    let project = Project::new();
    project.write("secret.txt", "secret");
    let secret = project.path("secret.txt").display().to_string();
    let key = project.path(".lineal/keys").display().to_string();
    for place in [secret.as_str(), key.as_str(), "/etc/shadow", "/root", "/home", "/var", "/work"] {
        let script = format!("test -e {place} && exit 4; echo gone > $LINEAL_OUT/two");
        project.pipeline(&body(&script, ""));
        project.run(&[]);
    }
    let processes = output("ls -d /proc/[0-9]* | wc -l > $LINEAL_OUT/two");
    assert!(processes.trim().parse::<u32>().unwrap() < 8, "only its own processes: {processes}");
}

#[test]
fn there_is_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let fragments = ["step `bad` failed", "Network is unreachable"];
    bad(&format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo > $LINEAL_OUT/two"), "step-failed", &fragments);
    bad("exec 3<>/dev/tcp/192.0.2.1/80 && echo > $LINEAL_OUT/two", "step-failed", &fragments);
    let devices = output("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > $LINEAL_OUT/two");
    assert_eq!(devices.trim(), "lo");
}

#[test]
fn the_environment_is_clean() {
    let project = Project::with_pipeline(&body("env > $LINEAL_OUT/two", ""));
    let mut command = project.command(&["run", "--json"]);
    command.env("LINEAL_TEST_SECRET", "secret").env("PYTHONPATH", "/tmp").env("LD_PRELOAD_X", "x");
    let run = crate::project::Started::new(command).finish().json();
    let digest = &run["steps"][1]["outputs"]["two"]["digest"];
    let text = std::fs::read_to_string(project.blob(digest)).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|l| l.split_once('=').map(|(name, _)| name)).collect();
    for wanted in ["LINEAL_IN", "LINEAL_OUT", "LINEAL_PARAMS", "LINEAL_SEED", "PATH", "TZ", "LC_ALL"] {
        assert!(names.contains(&wanted), "{wanted} is missing: {text}");
    }
    for unwanted in ["LINEAL_TEST_SECRET", "PYTHONPATH", "LD_PRELOAD_X", "USER", "SSH_AUTH_SOCK"] {
        assert!(!names.contains(&unwanted), "{unwanted} leaked: {text}");
    }
}

#[test]
fn a_full_tmp_fails_the_step_and_nothing_else() {
    let fragments = ["step `bad` failed", "No space left on device"];
    bad("fallocate -l 3G /tmp/full && echo > $LINEAL_OUT/two", "step-failed", &fragments);
}

#[test]
fn a_failed_step_is_repaired_by_correcting_it() {
    let project = bad("exit 1", "step-failed", &["exit code 1"]);
    project.pipeline(&body("cat $LINEAL_IN/one > $LINEAL_OUT/two", ""));
    let run = project.run(&[]);
    let reused: Vec<_> = run["steps"].as_array().unwrap().iter().map(|step| &step["reused"]).collect();
    assert_eq!(reused, [true, false]);
    let verified: Answer = project.lineal(&["verify", run["run"].as_str().unwrap(), "--json"]);
    assert_eq!(verified.json()["verified"], true);
}
