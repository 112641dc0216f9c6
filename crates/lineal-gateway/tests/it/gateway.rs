//! A gateway process and a client for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use lineal_gateway::GatewayConfig;
use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;

use crate::control_plane::ControlPlane;
use crate::eventually;

pub(crate) const BODY: &str =
    r#"{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP64","data":[[1.0,2.0,3.0]]}]}"#;

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) config: GatewayConfig,
    pub(crate) client: Client,
    child: Child,
    directory: TempDir,
}

pub(crate) fn config(plane: &ControlPlane, directory: &TempDir) -> GatewayConfig {
    GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        control_plane: format!("http://{}", plane.address),
        router_key_pem: plane.key.pem(),
        state_file: directory.path().join("state").join("table.json"),
        gateway: "gateway-1".to_owned(),
        ready_file: Some(directory.path().join("ready.json")),
    }
}

/// Starts the program with `config`; the caller waits for what it does.
pub(crate) fn spawn(config: &GatewayConfig, directory: &TempDir) -> Child {
    let path = directory.path().join("config.json");
    std::fs::write(&path, serde_json::to_vec(config).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lineal-gateway-run"));
    command.arg(path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

impl Gateway {
    /// Starts and waits until it accepts connections.
    pub(crate) async fn start(plane: &ControlPlane) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = config(plane, &directory);
        Self::launch(config, directory).await
    }

    /// Starts and waits until it serves `generation`.
    pub(crate) async fn serving(plane: &ControlPlane, generation: u64) -> Self {
        let gateway = Self::start(plane).await;
        gateway.generation(generation).await;
        gateway
    }

    async fn launch(config: GatewayConfig, directory: TempDir) -> Self {
        let child = spawn(&config, &directory);
        let ready: PathBuf = config.ready_file.clone().unwrap();
        let id = child.id();
        let address = eventually("ready file", || async {
            let ready: Value = serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()?;
            (ready["pid"] == id).then(|| ready["listen"].as_str().unwrap().parse().unwrap())
        })
        .await;
        let client = Client::builder().no_proxy().build().unwrap();
        Self { address, config, client, child, directory }
    }

    /// Kills it with SIGKILL and starts it again on the same files.
    pub(crate) async fn restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Self::launch(self.config.clone(), directory).await
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn status(&self) -> Value {
        self.get("/-/status").await.json().await.unwrap()
    }

    /// Waits until it serves this generation.
    pub(crate) async fn generation(&self, generation: u64) {
        eventually("generation is served", || async {
            (self.status().await["generation"] == generation).then_some(())
        })
        .await;
    }

    pub(crate) fn infer_request(&self, key: &str) -> reqwest::RequestBuilder {
        let request = self.client.post(self.url("/v2/models/delay/infer"));
        request.header("x-request-id", key).header("content-type", "application/json")
    }

    /// Sends one inference whose routing key and id is `key`.
    pub(crate) async fn infer(&self, key: &str) -> Response {
        self.infer_request(key).body(BODY).send().await.unwrap()
    }

    /// Sends one inference, asserts that it was answered, and yields the version.
    pub(crate) async fn version(&self, key: &str) -> String {
        let answer = self.infer(key).await;
        assert_eq!(answer.status(), 200, "request {key}");
        assert_eq!(answer.headers()["x-request-id"], key);
        answer.headers()["x-lineal-version"].to_str().unwrap().to_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
