//! A project whose pipeline makes a servable model of one number, and the roles that serve it.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::project::{Project, Started, eventually, processes_with};

const SERVE: &str = include_str!("serve.py");

/// Every kind of statement, in order.
pub(crate) const KINDS: [&str; 11] = [
    "approval",
    "dataset",
    "incident",
    "key",
    "model-signature",
    "model-version",
    "promotion",
    "provenance",
    "rollout-step",
    "run-sealed",
    "test-result",
];

/// A pipeline with a model; every version is a run with other parameters.
pub(crate) struct Model {
    pub(crate) project: Project,
    /// In the command line of every model server of this project and nowhere else.
    pub(crate) marker: String,
}

/// `lineal serve` and `lineal gateway`.
pub(crate) struct Roles<'a> {
    model: &'a Model,
    pub(crate) gateway: Option<Started>,
    pub(crate) serve: Option<Started>,
}

impl Model {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let marker = format!("lineal-it-server-{}-{number}", std::process::id());
        let project = Project::new();
        let made = Command::new("python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(project.path(".venv"))
            .status()
            .expect("python3 is on the path; it is a documented requirement");
        assert!(made.success(), "python3 -m venv --without-pip works");
        project.write("serve.py", SERVE);
        project.pipeline(&format!(
            "params: {{value: 0.3, fault: none}}\nenvs: {{serve: {{python: .venv}}}}\ncode: [serve.py]\nsteps:\n  train:\n    \
             run: [sh, -c, 'mkdir $LINEAL_OUT/model && cp serve.py $LINEAL_OUT/model && cp $LINEAL_PARAMS \
             $LINEAL_OUT/model/params.json && for i in 1 2 3; do printf \"{{\\\"id\\\": \\\"$i\\\", \\\"body\\\": {{}}}}\\n\"; done > \
             $LINEAL_OUT/requests.jsonl']\n    params: [value, fault]\n    \
             out: {{model: model, requests: requests.jsonl}}\n\
             gates:\n  inference: {{model: train.model, requests: train.requests, expect: {{errors: {{max: 0}}}}}}\n\
             serve: {{model: train.model, run: [python, serve.py, {marker}], env: serve, output: late, ready_timeout: 3s}}\n"
        ));
        let model = Self { project, marker };
        model.policy("production", &[("always", "true", "nothing")]);
        model
    }

    /// A project whose ledger has every one of [`KINDS`].
    pub(crate) fn with_every_kind() -> Self {
        let model = Self::new();
        let version = model.admitted();
        let project = &model.project;
        {
            let _roles = model.serve();
            model.rollout(&version);
            model.settled();
        }
        // A step that gives other bytes when it has to run again.
        project.pipeline("steps: {r: {run: [sh, -c, 'date +%N > $LINEAL_OUT/r'], out: {r: r}}}\n");
        let random = project.run(&[]);
        std::fs::remove_file(project.blob(&random["steps"][0]["outputs"]["r"]["digest"])).unwrap();
        project.fails(&["run"], 1, "not-reproduced", &["gave other bytes"]);
        model
    }

    /// Takes data and a version through gate, signature and approval to its promotion; yields the version.
    pub(crate) fn admitted(&self) -> String {
        let project = &self.project;
        project.write("table.csv", "a,b\n1,2\n");
        project.json(&["data", "add", "d", "table.csv", "--tag", "t"]);
        let run = self.run(&[]);
        project.json(&["test", "run", &run]);
        let version = text(&project.json(&["model", "register", "toy", "--run", &run])["version"]);
        project.json(&["model", "sign", &version]);
        project.json(&["approve", &version, "--for", "production", "--reason", "slices look good"]);
        project.json(&["promote", &version, "--to", "production"]);
        version
    }

    /// Writes a policy of these rules (name, expression, message) with a quick rollout.
    pub(crate) fn policy(&self, environment: &str, rules: &[(&str, &str, &str)]) {
        let rules = rules.iter().map(|(name, expr, message)| {
            format!("  - {{name: {name}, expr: \"{expr}\", message: \"{message}\"}}\n")
        });
        let text = format!(
            "apiVersion: lineal.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {environment}}}\nrules:\n{}\
             rollout: {{steps: [20, 50, 100], minRequests: 20, warmUpRequests: 5, alpha: 0.1, \
             margins: {{errors: 0.2, slow: 0.5, loss: 0.3}}, maxStepSeconds: 60, slowAfterMs: 1000}}\n",
            rules.collect::<String>()
        );
        self.project.write(&format!("policy/{environment}.yaml"), text);
    }

    /// Takes the metric that needs true outcomes out of the production policy.
    pub(crate) fn without_outcomes(&self) {
        let path = "policy/production.yaml";
        let text = std::fs::read_to_string(self.project.path(path)).unwrap();
        self.project.write(path, text.replace("loss: 0.3", "loss: null"));
    }

    /// Runs the pipeline with these values; yields the run.
    #[track_caller]
    pub(crate) fn run(&self, sets: &[&str]) -> String {
        text(&self.project.run(sets)["run"])
    }

    /// Runs and registers the next version; yields its name.
    #[track_caller]
    pub(crate) fn register(&self, sets: &[&str]) -> String {
        let run = self.run(sets);
        text(&self.project.json(&["model", "register", "toy", "--run", &run])["version"])
    }

    /// Registers and promotes the next version to production.
    #[track_caller]
    pub(crate) fn promoted(&self, sets: &[&str]) -> String {
        let version = self.register(sets);
        self.project.json(&["promote", &version, "--to", "production"]);
        version
    }

    /// Starts both roles.
    pub(crate) fn serve(&self) -> Roles<'_> {
        let mut roles = Roles { model: self, gateway: None, serve: None };
        roles.start_serve();
        roles.gateway = Some(self.project.start(&["gateway"]));
        eventually("the gateway is ready", || {
            self.project.path(".lineal/gateway.json").exists().then_some(())
        });
        roles
    }

    /// Writes `count` requests with outcomes, more than any rollout here needs.
    pub(crate) fn requests(&self, count: usize) {
        let line = |number| {
            format!("{{\"id\": \"r{number}\", \"body\": {{\"inputs\": []}}, \"outcome\": {}}}\n", number % 2)
        };
        self.project.write("requests.jsonl", (0..count).map(line).collect::<String>());
    }

    /// Sends requests until the rollout has ended, or all of them; none may fail.
    #[track_caller]
    pub(crate) fn send(&self, more: &[&str]) -> Value {
        let arguments: Vec<&str> =
            ["traffic", "send", "requests.jsonl"].iter().chain(more).copied().collect();
        let sent = self.project.json(&arguments);
        assert_eq!(sent["failed"], 0, "{sent:#}");
        sent
    }

    /// What `rollout status` says about the only model.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.project.json(&["rollout", "status"])[0].clone()
    }

    /// Starts a rollout to production and yields its id.
    #[track_caller]
    pub(crate) fn rollout(&self, version: &str) -> String {
        text(&self.project.json(&["rollout", "start", version, "--to", "production"])["rollout"]["id"])
    }

    /// Waits until the rollout has ended and yields its state.
    #[track_caller]
    pub(crate) fn settled(&self) -> Value {
        eventually("the rollout has ended", || {
            let status = self.status();
            (status["rollout"]["isFinal"] == true).then_some(status)
        })
    }

    /// Waits until the rollout has ended, with this version serving.
    #[track_caller]
    pub(crate) fn healthy(&self, version: u32) {
        let status = self.settled();
        let found = (&status["serving"], &status["rollout"]["phase"]);
        assert_eq!(found, (&version.into(), &"Healthy".into()), "{status:#}");
    }

    /// Makes the first version serve.
    #[track_caller]
    pub(crate) fn first(&self) -> String {
        let version = self.promoted(&[]);
        self.rollout(&version);
        self.healthy(1);
        // The gateway learns of it a moment later.
        self.requests(1);
        eventually("the gateway routes", || {
            self.project.lineal(&["traffic", "send", "requests.jsonl"]).status.success().then_some(())
        });
        version
    }

    /// The recorded transitions of a rollout, in order.
    #[track_caller]
    pub(crate) fn history(&self, rollout: &str) -> Vec<String> {
        let history = self.project.json(&["rollout", "history"]);
        let steps = history.as_array().unwrap().iter().filter(|step| step["record"]["rollout"] == rollout);
        steps.map(|step| text(&step["record"]["transition"])).collect()
    }
}

impl Roles<'_> {
    pub(crate) fn start_serve(&mut self) {
        let project = &self.model.project;
        let ready = project.path(".lineal/serve.json");
        // A file that a killed process left is no sign.
        let _ = std::fs::remove_file(&ready);
        self.serve = Some(project.start(&["serve"]));
        eventually("serve is ready", || ready.exists().then_some(()));
    }
}

impl Drop for Roles<'_> {
    fn drop(&mut self) {
        self.gateway = None;
        // Told to stop, it stops its model servers too.
        self.serve = None;
        if !std::thread::panicking() {
            // A server that was still starting is killed with its keeper; the kernel takes a moment to end its tree.
            let gone = || processes_with(&self.model.marker).is_empty().then_some(());
            eventually("the model servers are gone", gone);
        }
        let left = processes_with(&self.model.marker);
        // After a failed test something may be left all the same.
        for pid in left.iter().filter_map(|process| process.split(' ').next()) {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
