//! A project that serves: two versions of a trivial model, a control plane and a gateway.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::project::Project;
use crate::roles::{Roles, wait_until};

/// Rollouts that are started and aborted.
const ROUNDS: &str = "20";
/// Requests a second, seconds.
pub(super) const RATE: &str = "500";
const SECONDS: &str = "5";
/// Different requests.
const REQUESTS: usize = 200;
const REQUESTS_FILE: &str = "requests.jsonl";

const PIPELINE: &str = "\
apiVersion: lineal.dev/v1alpha1
kind: Pipeline
metadata: {name: trivial}
params: {version: 1}
envs: {python: {python: .venv/python}}
code: [server.py, make.py]
steps:
  make:
    run: [python, make.py]
    env: python
    params: [version]
    out: {model: model}
serve:
  model: make.model
  run: [python, server.py]
  env: python
  output: y
";
const MAKE: &str = "\
import os, pathlib, shutil
out = pathlib.Path(os.environ['LINEAL_OUT'], 'model')
out.mkdir()
shutil.copy('server.py', out)
shutil.copy(os.environ['LINEAL_PARAMS'], out / 'params.json')
";
const SERVER: &str = "\
import http.server, os
ANSWER = b'{\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP64\",\"shape\":[1,1],\"data\":[0.5]}]}'
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    wbufsize = -1
    def answer(self):
        self.rfile.read(int(self.headers.get('content-length') or 0))
        self.send_response(200)
        self.send_header('content-type', 'application/json')
        self.send_header('content-length', str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)
    do_GET = do_POST = answer
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['LINEAL_PORT'])), Handler).serve_forever()
";
const POLICY: &str = "\
apiVersion: lineal.dev/v1alpha1
kind: Policy
metadata: {name: production}
rules: [{name: provenance, expr: provenance.complete, message: provenance is missing}]
rollout: {steps: [50, 100], minRequests: 100000000}
";
/// Version 1 serves, version 2 may.
pub(super) struct Served {
    project: Project,
    roles: Roles,
}

impl Served {
    /// Makes the project and waits until version 1 serves.
    pub(super) fn start(lineal: &Path, environment: &Path) -> Result<Self> {
        let project = Project::new(lineal, PIPELINE)?;
        for (path, text) in [("make.py", MAKE), ("server.py", SERVER), ("policy/production.yaml", POLICY)] {
            project.write(path, text)?;
        }
        project.write(REQUESTS_FILE, &requests())?;
        std::fs::create_dir(project.folder().join(".venv"))?;
        symlink(environment, project.folder().join(".venv/python"))?;
        for version in ["1", "2"] {
            let run = project.lineal(&["run", "--set", &format!("version={version}")])?;
            let run = run["run"].as_str().context("a run has an id")?;
            project.lineal(&["model", "register", "trivial", "--run", run])?;
            project.lineal(&["promote", &format!("trivial/{version}"), "--to", "production"])?;
        }
        let mut roles = Roles::new(project.folder(), lineal);
        roles.start("serve")?;
        roles.start("gateway")?;
        project.lineal(&["rollout", "start", "trivial/1", "--to", "production"])?;
        let probe = ["traffic", "send", REQUESTS_FILE, "--limit", "1"];
        wait_until("version 1 serves", || Ok(project.lineal(&probe).is_ok()))?;
        Ok(Self { project, roles })
    }

    /// Times from the order to abort until the gateway answers from the stable version.
    pub(super) fn abort(&self) -> Result<Value> {
        self.project.lineal(&["bench", "abort", "trivial/2", REQUESTS_FILE, "--rounds", ROUNDS])
    }

    /// Latencies straight to the model server and through the gateway.
    pub(super) fn gateway(&self) -> Result<Value> {
        self.project.lineal(&["bench", "gateway", REQUESTS_FILE, "--rate", RATE, "--seconds", SECONDS])
    }

    /// Ends the processes.
    pub(super) fn stop(mut self) -> Result<()> {
        self.roles.stop()
    }
}

fn requests() -> String {
    let line = |number: usize| {
        let tensor = r#"{"name":"x","datatype":"FP64","shape":[1,1],"data":[1.0]}"#;
        format!(r#"{{"id":"r{number}","body":{{"inputs":[{tensor}]}},"outcome":1.0}}"#) + "\n"
    };
    (0..REQUESTS).map(line).collect()
}
