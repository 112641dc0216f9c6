//! Pipelines as Jobs: the installed operator, real pods, and the same pipelines on this machine.
//!
//! `LINEAL_TEST_PROGRAM` is the `lineal` of this machine, `LINEAL_TEST_STEP_IMAGE` an image with Python by digest that
//! the cluster can pull, `LINEAL_TEST_STEP_IMAGE_FILE` the same image as a file. The operator is the release `lineal`
//! in the namespace `lineal`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use serde_json::{Value, json};

use crate::{accepted, kubectl, namespace, said};

/// The longest that a small run may take on a busy machine.
pub(crate) const LIMIT: &str = "--timeout=240s";
/// Held while `lineal` runs in the operator's pod, and for whoever ends that pod.
pub(crate) static POD: RwLock<()> = RwLock::new(());
const OPERATOR: [&str; 5] = ["exec", "-i", "-n", "lineal", "deploy/lineal-operator"];

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set, as `cargo xtask test` does"))
}

/// `lineal` in the operator's pod, on its project.
pub(crate) fn inside(arguments: &[&str], input: &[u8]) -> String {
    let all: Vec<&str> = OPERATOR
        .into_iter()
        .chain(["--", "/bin/lineal", "--dir", "/var/lib/lineal", "--json"])
        .chain(arguments.iter().copied())
        .collect();
    let _there = POD.read().unwrap_or_else(PoisonError::into_inner);
    let output = crate::kubectl_with(&all, input);
    assert!(output.status.success(), "{arguments:?}\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A pipeline of the steps of `steps`, all in the image.
pub(crate) fn pipeline(name: &str, steps: Value) -> String {
    json!({
        "apiVersion": "lineal.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": name},
        "envs": {"base": {"image": variable("LINEAL_TEST_STEP_IMAGE")}},
        "steps": steps,
    })
    .to_string()
}

/// The script is one that no earlier test run had, so that nothing is there to be reused.
pub(crate) fn step(script: &str, inputs: Value, outputs: Value) -> Value {
    let script = format!("{script} # {}", namespace());
    json!({"run": ["sh", "-c", script], "env": "base", "in": inputs, "out": outputs})
}

/// Applies the pipeline and starts a run of it; gives the run's name.
pub(crate) fn start(document: &str, spec: Value) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    accepted(&["apply", "-n", namespace(), "-f", "-"], document);
    let pipeline: Value = serde_json::from_str(document).unwrap();
    let pipeline = pipeline["metadata"]["name"].as_str().unwrap().to_owned();
    let name = format!("{pipeline}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut spec = spec;
    spec["pipeline"] = pipeline.into();
    let object = json!({
        "apiVersion": "lineal.dev/v1alpha1", "kind": "PipelineRun",
        "metadata": {"name": name, "namespace": namespace()}, "spec": spec,
    });
    accepted(&["create", "-f", "-"], &object.to_string());
    name
}

/// Waits for the phase; gives the object.
pub(crate) fn ended(name: &str, phase: &str) -> Value {
    let what = format!("plr/{name}");
    let wait = format!("--for=jsonpath={{.status.phase}}={phase}");
    let waited = kubectl(&["wait", "-n", namespace(), &wait, LIMIT, &what], "");
    let object = accepted(&["get", "-n", namespace(), &what, "-o", "json"], "");
    assert!(waited.status.success(), "{name} is not {phase}: {}", state_of(name));
    serde_json::from_str(&object).unwrap()
}

/// For a failed test: the run, what there is of it, what the operator printed.
pub(crate) fn state_of(run: &str) -> String {
    let object = kubectl(&["get", "-n", namespace(), "plr", run, "-o", "yaml"], "");
    let all = kubectl(&["get", "jobs,pods", "-n", namespace(), "-o", "wide"], "");
    let operator = kubectl(&["get", "pods", "-n", "lineal"], "");
    let logs = kubectl(&["logs", "-n", "lineal", "deploy/lineal-operator", "--tail=30"], "");
    [object, all, operator, logs].iter().map(said).collect()
}

pub(crate) fn jobs_of(run: &str) -> Vec<Value> {
    let label = format!("lineal.dev/pipeline-run={run}");
    let text = accepted(&["get", "jobs", "-n", namespace(), "-l", &label, "-o", "json"], "");
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// A project on this machine that has the image.
struct Local {
    folder: tempfile::TempDir,
}

impl Local {
    fn new() -> Self {
        let local = Self { folder: tempfile::tempdir().unwrap() };
        local.lineal(&["init"]);
        local.lineal(&["image", "import", &variable("LINEAL_TEST_STEP_IMAGE_FILE")]);
        local
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("project").join(name)
    }

    fn try_lineal(&self, arguments: &[&str]) -> Output {
        std::fs::create_dir_all(self.path("")).unwrap();
        let mut command = Command::new(variable("LINEAL_TEST_PROGRAM"));
        command.current_dir(self.path("")).arg("--json").args(arguments);
        command.env("LINEAL_IDENTITY", self.folder.path().join("identity.txt"));
        command.output().expect("lineal can be started")
    }

    fn lineal(&self, arguments: &[&str]) -> Value {
        let output = self.try_lineal(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

/// Step, cache key and output digests, of every step of a run as `lineal run` prints it, or `lineal runs show`.
fn results(run: &Value) -> Vec<(String, String, Value)> {
    let mut all: Vec<_> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let named = if step["step"].is_object() { &step["step"] } else { step };
            let text = |name: &str| named[name].as_str().unwrap().to_owned();
            (text("step"), text("cache_key"), step["outputs"].clone())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn run_makes_jobs_and_the_second_run_makes_none() {
    let document = pipeline(
        "twice",
        json!({
            "write": step("echo made > $LINEAL_OUT/a.txt", json!({}), json!({"a": "a.txt"})),
            "copy": step(
                "mkdir $LINEAL_OUT/tree; cat $LINEAL_IN/a $LINEAL_IN/a > $LINEAL_OUT/tree/b.txt",
                json!({"a": "write.a"}),
                json!({"tree": "tree"})
            ),
            "beside": step("echo other > $LINEAL_OUT/c.txt", json!({}), json!({"c": "c.txt"})),
        }),
    );
    let first = start(&document, json!({}));
    let status = ended(&first, "Succeeded")["status"].clone();
    assert_eq!((&status["progress"], &status["cachedSteps"]), (&json!("3/3"), &json!(0)), "{status}");
    assert_eq!(status["conditions"][0]["reason"], "Sealed");
    assert_eq!(jobs_of(&first).len(), 3);
    accepted(&["wait", "-n", namespace(), "--for=condition=Succeeded", LIMIT, &format!("plr/{first}")], "");
    let second = start(&document, json!({}));
    let again = ended(&second, "Succeeded")["status"].clone();
    assert_eq!((&again["cachedSteps"], &again["runId"]), (&json!(3), &status["runId"]));
    assert_eq!(again["conditions"][0]["reason"], "Unchanged");
    assert!(jobs_of(&second).is_empty());
    // The same on this machine: the same keys, the same bytes.
    let shown: Value =
        serde_json::from_str(&inside(&["runs", "show", status["runId"].as_str().unwrap()], b"")).unwrap();
    let local = Local::new();
    std::fs::write(local.path("pipeline.yaml"), &document).unwrap();
    let outcome = local.lineal(&["run", "pipeline.yaml"]);
    assert_eq!(results(&outcome), results(&shown), "{shown}");
}

#[test]
fn run_tells_how_a_step_failed() {
    let document = pipeline(
        "failing",
        json!({
            "bad": step("echo the reason; exit 3", json!({}), json!({"a": "a.txt"})),
            "after": step("true", json!({"a": "bad.a"}), json!({"b": "b.txt"})),
        }),
    );
    let object = ended(&start(&document, json!({})), "Failed");
    let status = &object["status"];
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("exit code 3") && message.contains("the reason"), "{message}");
    assert_eq!(status["conditions"][0]["status"], "False");
    let phases: Vec<_> = status["steps"].as_array().unwrap().iter().map(|s| s["phase"].clone()).collect();
    assert_eq!(phases, [json!("Failed"), json!("Pending")], "{status}");
    let events = accepted(&["get", "events", "-n", namespace(), "-o", "json"], "");
    assert!(events.contains("RunFailed"), "{events}");
}

#[test]
fn run_refuses_what_a_cluster_cannot_have() {
    let mut document: Value =
        serde_json::from_str(&pipeline("unfit", json!({"a": step("true", json!({}), json!({"a": "a"}))})))
            .unwrap();
    document["code"] = json!(["src"]);
    let object = ended(&start(&document.to_string(), json!({})), "Error");
    let message = object["status"]["message"].as_str().unwrap();
    assert!(message.contains("source import"), "{message}");
    document["code"] = json!([]);
    document["envs"]["base"] = json!({"python": ".venv"});
    let object = ended(&start(&document.to_string(), json!({})), "Error");
    let message = object["status"]["message"].as_str().unwrap();
    assert!(message.contains("image"), "{message}");
}

#[test]
fn run_of_flights_equals_the_one_on_this_machine() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights");
    let months = PathBuf::from(variable("LINEAL_TEST_FLIGHTS"));
    let image = variable("LINEAL_TEST_STEP_IMAGE");
    let text = std::fs::read_to_string(examples.join("pipeline.yaml")).unwrap();
    let document = ["train", "serve"].into_iter().fold(text.clone(), |text, name| {
        text.replace(&format!("{name}: {{python: .venv/{name}}}"), &format!("{name}: {{image: \"{image}\"}}"))
    });
    assert!(!document.contains("python: .venv"), "{document}");
    let local = Local::new();
    std::fs::write(local.path("pipeline.yaml"), &document).unwrap();
    copy(&examples.join("src"), &local.path("src"));
    std::fs::copy(examples.join("contract.yaml"), local.path("contract.yaml")).unwrap();
    let data = [1, 2].map(|month| ["flights", "weather"].map(|table| format!("{table}-2013-0{month}.csv")));
    let data: Vec<&str> = data.iter().flatten().map(String::as_str).collect();
    let paths: Vec<String> = data.iter().map(|name| months.join(name).display().to_string()).collect();
    let tag = ["--tag", "2013-01..02"];
    let add: Vec<&str> =
        ["data", "add", "flights"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let added = local.lineal(&[&add, &tag[..]].concat());
    let outcome = local.lineal(&["run", "pipeline.yaml"]);
    // The cluster gets data and code as archives.
    let archive = |folder: &Path, names: &[&str]| {
        let output = Command::new("tar").arg("-C").arg(folder).arg("-c").args(names).output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let there = inside(&[&["data", "add", "flights", "-"], &tag[..]].concat(), &archive(&months, &data));
    let there: Value = serde_json::from_str(&there).unwrap();
    assert_eq!(there["snapshot"], added["snapshot"]);
    let source = inside(&["source", "import", "-"], &archive(&local.path(""), &["src", "contract.yaml"]));
    let source: Value = serde_json::from_str(&source).unwrap();
    assert_eq!(source["source"], local.lineal(&["source", "add", "pipeline.yaml"])["source"]);
    accepted(&["apply", "-n", namespace(), "-f", "-"], &document);
    let run = json!({
        "apiVersion": "lineal.dev/v1alpha1", "kind": "PipelineRun",
        "metadata": {"name": "flights", "namespace": namespace()},
        "spec": {"pipeline": "flights-delay", "source": source["source"]},
    });
    accepted(&["create", "-f", "-"], &run.to_string());
    let status = ended("flights", "Succeeded")["status"].clone();
    let id = status["runId"].as_str().unwrap();
    let shown: Value = serde_json::from_str(&inside(&["runs", "show", id], b"")).unwrap();
    assert_eq!(results(&outcome), results(&shown), "{shown}");
    // The model of it, as that of the run on this machine.
    let register = ["model", "register", "flights-delay", "--run"];
    let there = inside(&[&register[..], &[id]].concat(), b"");
    let there: Value = serde_json::from_str(&there).unwrap();
    let here = local.lineal(&[&register[..], &[outcome["run"].as_str().unwrap()]].concat());
    assert!(there["digest"].is_string(), "{there}");
    assert_eq!((&there["version"], &there["digest"]), (&here["version"], &here["digest"]));
    let verified: Value = serde_json::from_str(&inside(&["verify", "flights-delay/1"], b"")).unwrap();
    assert_eq!(verified["verified"], true, "{verified}");
    // The proof alone, outside of the cluster.
    let bundle = local.path("run.sigstore.json");
    std::fs::write(&bundle, inside(&["ledger", "proof", status["statement"].as_str().unwrap()], b""))
        .unwrap();
    let keys: Value = serde_json::from_str(&inside(&["ledger", "keys"], b"")).unwrap();
    let builder = keys.as_array().unwrap().iter().find(|key| key["role"] == "builder").unwrap();
    let key = local.path("builder.pem");
    std::fs::write(&key, builder["public_key"].as_str().unwrap()).unwrap();
    let [bundle, key] = [bundle, key].map(|path| path.to_str().unwrap().to_owned());
    let verified = local.lineal(&["verify", "--bundle", &bundle, "--key", &key]);
    assert_eq!(verified["verified"], true, "{verified}");
    // Its own pod says nothing of where it ran; the operator does.
    let statement = shown["steps"][0]["step"]["provenance"].as_str().unwrap();
    let statement = inside(&["ledger", "proof", statement], b"");
    assert!(payload(&statement).contains("\"node\":\"node1\""), "{}", payload(&statement));
}

/// The statement in a bundle.
fn payload(bundle: &str) -> String {
    use base64::Engine as _;
    let bundle: Value = serde_json::from_str(bundle).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(payload).unwrap()).unwrap()
}

/// The image is one with Python, which other tests do not have.
#[test]
fn run_serves_a_model_in_an_image_on_this_machine() {
    let local = Local::new();
    std::fs::write(local.path("serve.py"), include_str!("../../../lineal/tests/it/serve.py")).unwrap();
    let train = "mkdir $LINEAL_OUT/model && cp serve.py $LINEAL_OUT/model && cp $LINEAL_PARAMS \
                 $LINEAL_OUT/model/params.json && echo '{\"id\": \"1\", \"body\": {}}' > $LINEAL_OUT/requests.jsonl";
    let pipeline = json!({
        "apiVersion": "lineal.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": "served"},
        "params": {"value": 0.3, "fault": "none"},
        "envs": {"base": {"image": variable("LINEAL_TEST_STEP_IMAGE")}},
        "code": ["serve.py"],
        "steps": {"train": {
            "run": ["sh", "-c", train], "env": "base", "params": ["value", "fault"],
            "out": {"model": "model", "requests": "requests.jsonl"},
        }},
        "gates": {"inference": {
            "model": "train.model", "requests": "train.requests", "expect": {"errors": {"max": 0}},
        }},
        "serve": {
            "model": "train.model", "run": ["python3", "serve.py", "marker"], "env": "base", "output": "late",
            "ready_timeout": "30s",
        },
    });
    std::fs::write(local.path("pipeline.yaml"), pipeline.to_string()).unwrap();
    let run = local.lineal(&["run", "pipeline.yaml"]);
    let gates = local.lineal(&["test", "run", run["run"].as_str().unwrap()]);
    assert_eq!(gates[0]["outcome"], "PASSED", "{gates}");
    let model = local.lineal(&["model", "register", "served", "--run", run["run"].as_str().unwrap()]);
    assert_eq!(model["version"], "served/1");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
