//! The definitions against a real API server, as `kubectl` sees it.
//!
//! `LINEAL_TEST_KUBECONFIG` names the cluster; without it these tests fail. `kubectl` is on the path, or
//! `LINEAL_TEST_KUBECTL` names it. Objects are in a namespace of their own; definitions stay.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

#[path = "../it/documents.rs"]
mod documents;
mod fault;
mod install;
mod objects;
mod run;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use lineal_kube::definition;
use serde_json::Value;

use crate::documents::{GOOD, Refused, WRONG, wrong};

const FLIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/flights");

fn kubectl(arguments: &[&str], input: &str) -> Output {
    kubectl_with(arguments, input.as_bytes())
}

fn kubectl_with(arguments: &[&str], input: &[u8]) -> Output {
    let kubeconfig = std::env::var("LINEAL_TEST_KUBECONFIG")
        .expect("LINEAL_TEST_KUBECONFIG must name the configuration of a cluster for tests");
    let program = std::env::var("LINEAL_TEST_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let mut command = Command::new(program);
    command.env("KUBECONFIG", kubeconfig).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl can be started");
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn accepted(arguments: &[&str], input: &str) -> String {
    let output = kubectl(arguments, input);
    assert!(output.status.success(), "{arguments:?}\n{input}\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str], input: &str, message: &str) {
    let output = kubectl(arguments, input);
    let said = said(&output);
    let input: String = input.chars().take(2000).collect();
    assert!(!output.status.success(), "accepted, but `{message}` was expected: {arguments:?}\n{input}");
    // The server quotes some values, and so their quotes.
    assert!(said.replace("\\\"", "\"").contains(message), "`{message}` was expected\n{input}\n{said}");
}

/// Applies the definitions once, waits until they are served, and gives the namespace of this test run.
fn namespace() -> &'static str {
    static NAMESPACE: OnceLock<String> = OnceLock::new();
    NAMESPACE.get_or_init(|| {
        let documents: String =
            definition::all().iter().map(|definition| format!("---\n{}", definition.yaml())).collect();
        let applied = kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &documents);
        assert!(applied.status.success(), "{}", said(&applied));
        assert!(!said(&applied).contains("Warning"), "{}", said(&applied));
        for definition in definition::all() {
            let name = format!("crd/{}.lineal.dev", definition.plural());
            accepted(&["wait", "--for=condition=Established", "--timeout=60s", &name], "");
        }
        let name = format!("resources-{}", std::process::id());
        accepted(&["create", "namespace", &name], "");
        name
    })
}

#[test]
fn definitions_are_established_and_structural() {
    namespace();
    let text = accepted(&["get", "crd", "-o", "json"], "");
    let found: Value = serde_json::from_str(&text).unwrap();
    for definition in definition::all() {
        let name = format!("{}.lineal.dev", definition.plural());
        let items = found["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["metadata"]["name"] == name.as_str()).unwrap();
        let conditions = item["status"]["conditions"].as_array().unwrap();
        let is = |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == "True");
        assert!(is("Established") && is("NamesAccepted") && !is("NonStructuralSchema"), "{conditions:?}");
        assert!(!is("KubernetesAPIApprovalPolicyConformant"), "{conditions:?}");
        // What the server keeps is what is checked in: nothing was dropped or added but defaults.
        let kept = &item["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(kept, definition.schema(), "{name}");
    }
}

#[test]
fn files_of_the_example_are_accepted_as_they_are() {
    for file in ["pipeline.yaml", "random.yaml", "traffic.yaml"] {
        let path = format!("{FLIGHTS}/{file}");
        accepted(&["apply", "-n", namespace(), "-f", &path], "");
        let stored = accepted(&["get", "-n", namespace(), "-f", &path, "-o", "json"], "");
        let object: lineal_kube::resource::Pipeline = serde_json::from_str(&stored).unwrap();
        let parsed = object.parse().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let from_file = lineal_engine::pipeline::Pipeline::parse(&bytes).unwrap();
        assert_eq!((&parsed.name, parsed.seed), (&from_file.name, from_file.seed));
        assert_eq!((&parsed.params, &parsed.data), (&from_file.params, &from_file.data));
        assert_eq!((&parsed.envs, &parsed.code), (&from_file.envs, &from_file.code));
        assert_eq!((&parsed.gates, &parsed.serve), (&from_file.gates, &from_file.serve));
        for step in from_file.steps() {
            assert_eq!(parsed.step(&step.name), Some(step));
        }
    }
}

#[test]
fn wrong_pipelines_are_refused_with_the_fix() {
    let create = ["create", "-n", namespace(), "--dry-run=server", "-f", "-"];
    accepted(&create, GOOD);
    let mut findings = Vec::new();
    for (from, to, by) in WRONG {
        let output = kubectl(&create, &wrong(from, to));
        let said = said(&output).replace("\\\"", "\"");
        let expected = match by {
            Refused::Both(message) | Refused::Server(message) => {
                !output.status.success() && said.contains(message)
            }
            Refused::Parser => output.status.success(),
        };
        if !expected {
            findings.push(format!("`{from}` -> `{to}`, expected {by:?}:\n{said}"));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    let header = "apiVersion: lineal.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: a}\n";
    refused(&create, &format!("{header}steps: {{}}"), "steps in body should have at least 1 properties");
    refused(&create, header, "steps: Required value");
}

/// Rules have a budget at run time too, and it must not run out before the size of an object does.
#[test]
fn the_largest_pipelines_are_within_the_budget_of_rules() {
    let create = ["create", "-n", namespace(), "--dry-run=server", "-f", "-"];
    for (steps, width) in [(1024, 1), (1024, 12), (300, 64)] {
        let text = large(steps, width);
        assert!(lineal_engine::pipeline::Pipeline::parse(text.as_bytes()).is_ok());
        accepted(&create, &text);
    }
    refused(&create, &large(1025, 1), "steps: Too many: 1025: must have at most 1024 items");
}

#[test]
fn every_field_is_explained() {
    namespace();
    for definition in definition::all() {
        let plural = definition.plural();
        let text = accepted(&["explain", "--recursive", &format!("{plural}.lineal.dev")], "");
        assert!(text.contains("FIELDS:") && text.contains("status"), "{text}");
    }
    let text = accepted(&["explain", "pipelines.lineal.dev.steps.timeout"], "");
    assert!(text.contains("The longest time that it may take"), "{text}");
    let text = accepted(&["explain", "rollouts.lineal.dev.status.phase"], "");
    assert!(text.contains("Healthy") && text.contains("Degraded"), "{text}");
}

/// A pipeline of `steps` steps with `width` inputs and outputs each.
fn large(steps: usize, width: usize) -> String {
    let mut text = String::from("apiVersion: lineal.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: large}\n");
    text += "data: {d: \"dataset://d@v1\"}\nenvs: {py: {python: .venv}}\nsteps:\n";
    for step in 0..steps {
        let source = |at: usize| match step {
            0 => "data.d".to_owned(),
            _ => format!("step-{}.out-{at}", step - 1),
        };
        let inputs: Vec<String> = (0..width).map(|at| format!("in-{at}: {}", source(at))).collect();
        let outputs: Vec<String> = (0..width).map(|at| format!("out-{at}: o{at}")).collect();
        text += &format!("  step-{step}:\n    run: [sh]\n    env: py\n    timeout: 10m\n");
        text += &format!("    in: {{{}}}\n    out: {{{}}}\n", inputs.join(", "), outputs.join(", "));
    }
    text
}
