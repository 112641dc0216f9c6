//! A container like a pod's: the program, one volume mounted part by part, a token, and what an image has.
//!
//! The sandbox stands in for the container runtime: it gives the program a file tree of its own and no privileges.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lineal_facts::Digest;
use lineal_sandbox::{Access, Determinism, Exit, Isolation, Launcher, Limits, Mount, Network, Spec};
use lineal_step::StepOrder;

use crate::server::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lineal-step");

pub(crate) struct Pod {
    folder: tempfile::TempDir,
    pub(crate) env: BTreeMap<String, String>,
}

/// How the container ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// What `kubectl logs` would show.
    pub(crate) log: String,
}

impl Pod {
    /// A pod of this exchange, after its init container.
    pub(crate) fn new(server: &Server) -> Self {
        Self::of(&server.address(), &server.pin())
    }

    pub(crate) fn of(address: &str, pin: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bin, work) = (folder.path().join("bin"), folder.path().join("work"));
        let installed = Command::new(PROGRAM).arg("install").args([&bin, &work]).status().unwrap();
        assert!(installed.success());
        fs::create_dir(folder.path().join("token")).unwrap();
        let variables = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("IMAGE_SAYS", "hello"),
            ("HOSTNAME", "pod-1"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("LINEAL_EXCHANGE", address),
            ("LINEAL_EXCHANGE_PIN", pin),
        ];
        let env = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let pod = Self { folder, env };
        fs::write(pod.token(), "first-token\n").unwrap();
        pod
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.path("token/token")
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Runs the container to its end.
    pub(crate) fn run(&self) -> Ended {
        let mount = |source: &str, target: &str, access| Mount {
            source: self.path(source),
            target: PathBuf::from(target),
            access,
        };
        let log = self.path("log");
        let spec = Spec {
            argv: vec!["/lineal/bin/lineal-step".to_owned()],
            env: self.env.clone(),
            cwd: PathBuf::from("/"),
            isolation: Isolation::Namespaces,
            root: None,
            mounts: vec![
                mount("bin", "/lineal/bin", Access::ReadOnly),
                mount("token", "/lineal/token", Access::ReadOnly),
                mount("work", "/lineal/work", Access::ReadWrite),
                mount("work/code", "/lineal/code", Access::ReadWrite),
                mount("work/in", "/lineal/in", Access::ReadWrite),
                mount("work/out", "/lineal/out", Access::ReadWrite),
                mount("work/params.json", "/lineal/params.json", Access::ReadWrite),
                mount("work/tmp", "/tmp", Access::ReadWrite),
            ],
            stdout: log.clone(),
            stderr: log.clone(),
            tee: false,
            network: Network::Host,
            determinism: Determinism::Off,
            limits: Limits { timeout_ms: Some(60_000), ..Limits::default() },
        };
        let report = Launcher::new(PROGRAM, ["launch"]).run(&spec).unwrap();
        Ended { exit: report.exit, log: fs::read_to_string(log).unwrap() }
    }
}

/// An order that runs `script` with a shell.
pub(crate) fn order(server: &Server, name: &str, script: &str) -> StepOrder {
    StepOrder {
        version: "1".to_owned(),
        attempt: format!("run/{name}/1"),
        step: name.parse().unwrap(),
        run: ["sh", "-eu", "step.sh"].map(str::to_owned).to_vec(),
        env: lineal_step::variables::of_step_in_image("7"),
        code: server.directory(&[("step.sh", script)]),
        inputs: BTreeMap::new(),
        parameters: "{}".to_owned(),
        outputs: BTreeMap::new(),
        determinism: Determinism::Observe,
        limits: Limits { timeout_ms: Some(30_000), ..Limits::default() },
    }
}

/// `order` with an output that is declared.
pub(crate) fn with_output(mut order: StepOrder, name: &str, path: &str) -> StepOrder {
    order.outputs.insert(name.to_owned(), path.to_owned());
    order
}

/// What was sent as this blob.
pub(crate) fn sent(server: &Server, digest: &Digest) -> String {
    let state = server.state();
    let bytes = state.sent.get(&digest.hex()).unwrap_or_else(|| panic!("{digest} was not sent"));
    String::from_utf8(bytes.clone()).unwrap()
}

/// Whether a folder is there and empty.
pub(crate) fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
