//! Asking the project's running control plane.

use std::path::Path;
use std::time::Duration;

use lineal_app::{Code, Failure, Project};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const TIMEOUT: Duration = Duration::from_secs(60);

/// What a role writes into `.lineal/<role>.json` while it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoleFile {
    /// Where it listens.
    pub(crate) url: String,
    /// Its process.
    pub(crate) pid: u32,
}

/// A connection to the control plane.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    error: String,
}

impl Client {
    /// The control plane of `project`.
    pub(crate) fn of(project: &Project) -> Result<Self, Failure> {
        let role = role(&project.folder().join("serve.json"), "lineal serve")?;
        Ok(Self { http: lineal_app::serving::client(TIMEOUT)?, base: role.url })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.answer(self.http.get(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn post<T: DeserializeOwned, B: Serialize>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.answer(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        let unreachable = |e: reqwest::Error| {
            let cause = lineal_app::failure::chain(&e);
            Failure::new(Code::Server, format!("`lineal serve` at {} does not answer: {cause}", self.base))
        };
        let response = request.send().await.map_err(unreachable)?;
        let ok = response.status().is_success();
        let bytes = response.bytes().await.map_err(unreachable)?;
        if ok {
            return serde_json::from_slice(&bytes).map_err(|e| Failure::caused(Code::Internal, &e));
        }
        let body: ErrorBody =
            serde_json::from_slice(&bytes).map_err(|e| Failure::caused(Code::Server, &e))?;
        let code = Code::ALL.iter().copied().find(|c| c.as_str() == body.code).unwrap_or(Code::Server);
        Err(Failure::new(code, body.error))
    }
}

/// Reads a role's file.
pub(crate) fn role(path: &Path, command: &str) -> Result<RoleFile, Failure> {
    let bytes = std::fs::read(path).map_err(|_| {
        Failure::new(Code::Server, format!("`{command}` is not running in this project; start it"))
    })?;
    serde_json::from_slice(&bytes).map_err(|e| Failure::caused(Code::Server, &e))
}
