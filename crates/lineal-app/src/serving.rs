//! Model servers: started from verified bytes, watched, stopped.
//!
//! The bytes that a server reads are the ones that were hashed while they were copied into its private, read-only
//! directory. A server for production has a keeper process of its own and outlives the control plane, so that
//! inference never waits for it; a restarted control plane takes the server up again. Whatever speaks Open Inference Protocol v2 on `127.0.0.1:$LINEAL_PORT` can be a model server.

mod keeper;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lineal_blob::files;
use lineal_blob::tree;
use lineal_engine::pipeline::ImageReference;
use lineal_facts::predicate::{ArtifactKind, ServeSpec};
use lineal_facts::{Digest, ModelName, ModelVersion};
use lineal_sandbox::{Access, Determinism, Isolation, Limits, Mount, Network, Running, Spec};
use lineal_step::variables;

use crate::environment;
use crate::failure::{Code, Failure, chain};
use crate::image;
use crate::project::{Project, now};
use crate::step::Software;
use crate::workspace::Workspace;
use keeper::Keeper;

pub use keeper::{keep, stop_others};

/// How often a starting server is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);
/// How long a server may take to stop by itself.
const STOP_GRACE: Duration = Duration::from_secs(3);
const READY_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const LOG_LIMIT_BYTES: u64 = 64 << 20;
const LOG_TAIL_CHARS: usize = 2000;

/// What to start.
#[derive(Debug, Clone)]
pub struct ServeTarget {
    /// Name and version that it answers under.
    pub version: ModelVersion,
    /// The model's digest; it is a directory.
    pub digest: Digest,
    /// How it is started.
    pub serve: ServeSpec,
}

/// A running model server. Dropping it kills the process and removes its directory.
#[derive(Debug)]
pub struct ModelServer {
    /// What it serves.
    pub version: ModelVersion,
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    /// Declared last: the directory goes after the process.
    workspace: Workspace,
}

/// Who keeps the server.
#[derive(Debug)]
enum Process {
    /// This process; the server ends with it.
    Own(Running),
    /// A keeper process, which outlives this one: inference goes on without the control plane.
    Kept(Keeper),
}

impl ModelServer {
    /// Starts a server that ends with this process, and waits until it is ready.
    pub async fn start(project: &Project, target: &ServeTarget) -> Result<Self, Failure> {
        let server = Self::launch(project, target, false).await?;
        server.ready(target).await
    }

    /// Takes up a server of the same bytes that the keeper of an earlier control plane still runs, or starts one. Only
    /// for a control plane that has started none yet: it must not take up its own.
    pub async fn take_up(project: &Project, target: &ServeTarget) -> Result<Self, Failure> {
        for found in keeper::found(project) {
            if found.version != target.version || found.digest != target.digest {
                continue;
            }
            let workspace = Workspace::adopt(&found.directory)?;
            let process = Process::Kept(found.keeper());
            let server = Self { version: found.version, address: found.address, process, workspace };
            if let Ok(server) = server.ready(target).await {
                return Ok(server);
            }
        }
        Self::start_kept(project, target).await
    }

    /// Starts a server with a keeper, so that it outlives this process, and waits until it is ready.
    pub async fn start_kept(project: &Project, target: &ServeTarget) -> Result<Self, Failure> {
        let server = Self::launch(project, target, true).await?;
        server.ready(target).await
    }

    /// Why the server is gone; `None` while it runs.
    pub fn exited(&mut self) -> Option<String> {
        match &mut self.process {
            Process::Own(running) => running.try_wait().map(|report| format!("ended ({:?})", report.exit)),
            Process::Kept(keeper) => keeper.exited(self.workspace.path()),
        }
    }

    /// Asks the server to stop, and makes it.
    pub async fn stop(mut self) {
        let stopped = tokio::task::spawn_blocking(move || match &mut self.process {
            Process::Own(running) => {
                running.stop(STOP_GRACE);
                running.wait();
            }
            Process::Kept(keeper) => keeper.stop(self.workspace.path(), STOP_GRACE),
        });
        // A panic in there has nothing to report to; dropping the server kills the process.
        let _ = stopped.await;
    }

    async fn ready(mut self, target: &ServeTarget) -> Result<Self, Failure> {
        let ready_timeout_ms: u64 = target.serve.ready_timeout_ms.parse().unwrap_or(60_000);
        let deadline = Instant::now() + Duration::from_millis(ready_timeout_ms);
        let client = client(READY_REQUEST_TIMEOUT)?;
        let url = format!("http://{}/v2/models/{}/ready", self.address, target.version.model);
        loop {
            if let Some(reason) = self.exited() {
                return Err(self.failed(&reason));
            }
            if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(self);
            }
            if Instant::now() > deadline {
                return Err(self.failed(&format!("was not ready within {ready_timeout_ms} ms")));
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    }

    async fn launch(project: &Project, target: &ServeTarget, kept: bool) -> Result<Self, Failure> {
        let (project, target) = (project.clone(), target.clone());
        tokio::task::spawn_blocking(move || {
            let workspace = Workspace::create(&project, "serve")?;
            let (spec, address) = prepare(&project, &target, workspace.path())?;
            let process = if kept {
                Process::Kept(Keeper::start(&project, &workspace, &target, address, &spec)?)
            } else {
                Process::Own(project.launcher.start(&spec)?)
            };
            Ok(Self { version: target.version, address, process, workspace })
        })
        .await
        .map_err(|e| Failure::caused(Code::Internal, &e))?
    }

    fn failed(&self, reason: &str) -> Failure {
        let bytes =
            files::read_limited(&self.workspace.path().join("log"), LOG_LIMIT_BYTES).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let skip = text.chars().count().saturating_sub(LOG_TAIL_CHARS);
        let tail: String = text.chars().skip(skip).collect();
        let tail = match tail.trim_end() {
            "" => "it printed nothing".to_owned(),
            tail => format!("it printed:\n{tail}"),
        };
        Failure::new(Code::ModelServer, format!("model server of {} {reason}; {tail}", self.version))
    }
}

/// An HTTP client for loopback.
pub fn client(timeout: Duration) -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(timeout)
        .build()
        .map_err(|e| Failure::new(Code::Internal, format!("HTTP client: {}", chain(&e))))
}

/// What `serve` names to run in, if it still is what was recorded.
pub fn software_of(project: &Project, serve: &ServeSpec) -> Result<Software, Failure> {
    let image = serve.environment_path.parse::<ImageReference>();
    if let Some(image) = image.ok().filter(|image| image.digest() == serve.environment) {
        return image::software(project, &image);
    }
    let location = project.root.join(&serve.environment_path);
    let found = environment::at(project, &location, now())?;
    if found.digest != serve.environment {
        return Err(Failure::new(
            Code::Environment,
            format!(
                "environment `{}` is {}, recorded was {}; restore it from its lock file",
                serve.environment_path, found.digest, serve.environment
            ),
        ));
    }
    Ok(Software::of_base(Some(&found)))
}

fn prepare(project: &Project, target: &ServeTarget, place: &Path) -> Result<(Spec, SocketAddr), Failure> {
    let software = software_of(project, &target.serve)?;
    let model = place.join("model");
    tree::lay_out(project.store.blobs(), ArtifactKind::Directory, &target.digest, &model)?;
    let address = free_address()?;
    let mut mounts =
        vec![Mount { source: model, target: PathBuf::from("/lineal/model"), access: Access::ReadOnly }];
    mounts.extend(software.mounts);
    let mut env = software.variables;
    env.extend(if software.root.is_some() { variables::fixed_in_image() } else { variables::fixed() });
    env.insert("LINEAL_PORT".to_owned(), address.port().to_string());
    env.insert("LINEAL_MODEL".to_owned(), target.version.model.to_string());
    env.insert("LINEAL_VERSION".to_owned(), target.version.version.to_string());
    let log = place.join("log");
    let spec = Spec {
        argv: target.serve.run.clone(),
        env,
        cwd: PathBuf::from("/lineal/model"),
        isolation: Isolation::Namespaces,
        root: software.root,
        mounts,
        stdout: log.clone(),
        stderr: log,
        tee: false,
        network: Network::Host,
        determinism: Determinism::Off,
        limits: Limits::default(),
    };
    Ok((spec, address))
}

/// A loopback port that was free a moment ago. If someone takes it first, the server fails to start and says so.
fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|e| Failure::new(Code::Address, format!("no free loopback port: {e}")))
}

/// The version under which a model that is not registered yet is tested.
pub fn unregistered(model: &ModelName) -> ModelVersion {
    ModelVersion { model: model.clone(), version: 0 }
}
