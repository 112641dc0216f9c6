//! The life of a gateway process: bind, serve, drain, report what is left.
//!
//! pingora's own `Server` is not used: it cannot say which port it got, and its stop waits for a fixed time. Its
//! HTTP machinery is driven by the accept loop here.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lineal_proof::key::PublicKey;
use pingora::apps::{HttpServerApp as _, ServerApp as _};
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::client::ClientStream;
use crate::config::{ConfigError, GatewayConfig};
use crate::proxy::Router;
use crate::record::{self, Notes};
use crate::report::{Destination, Reporter};
use crate::state::{Tables, write_durably};

/// Most client connections at a time; more wait in the listen queue.
pub const CONNECTION_LIMIT: u32 = 8_192;
/// How long running requests may go on after SIGTERM or SIGINT.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(2);
const LISTEN_QUEUE: u32 = 1024;
/// Kept connections to model servers, all together.
const KEPT_CONNECTIONS: usize = 1024;
/// Tries of one request: a dead kept connection, the canary, a dead kept connection, the stable version.
const TRY_LIMIT: usize = 4;
/// Wait after accept failed, for example without free file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
const CONTROL_CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The ready file cannot be written.
    #[error("cannot write the ready file {path}")]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Threads, signals or the client of the control plane.
    #[error("cannot start the gateway")]
    Start(#[source] io::Error),
    /// Called where a runtime runs already.
    #[error("the gateway builds its own runtime and cannot run inside another; start it in its own process")]
    Nested,
}

/// Serves until SIGTERM or SIGINT, then drains for at most [`DRAIN_LIMIT`] and reports what is left.
pub fn run(config: GatewayConfig) -> Result<(), GatewayError> {
    config.check()?;
    let key =
        PublicKey::from_pem(&config.router_key_pem).map_err(|e| ConfigError::RouterKey(e.to_string()))?;
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(GatewayError::Nested);
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("lineal-gateway")
        .enable_all()
        .build()
        .map_err(GatewayError::Start)?;
    let tables = Arc::new(Tables::load(key, config.state_file.clone()));
    let (recorder, notes) = record::queue();
    let router = Router::new(config.gateway.clone(), tables.clone(), recorder);
    let conf = ServerConf {
        threads,
        max_retries: TRY_LIMIT,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
        ..ServerConf::default()
    };
    let proxy = Arc::new(http_proxy(&Arc::new(conf), router));
    let listener = runtime
        .block_on(async { listen(config.listen) })
        .map_err(|source| GatewayError::Listen { address: config.listen, source })?;

    let control = Control::start(&config, tables, notes)?;
    let outcome = runtime.block_on(serve(&config, listener, proxy));
    control.finish();
    runtime.shutdown_background();
    if let Some(path) = &config.ready_file {
        // It may never have been written.
        let _ = std::fs::remove_file(path);
    }
    outcome
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

async fn serve(
    config: &GatewayConfig,
    listener: TcpListener,
    proxy: Arc<HttpProxy<Router>>,
) -> Result<(), GatewayError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(GatewayError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(GatewayError::Start)?;
    let (stop, stopping) = watch::channel(false);
    let connections = Arc::new(Semaphore::new(CONNECTION_LIMIT as usize));
    if let Some(path) = &config.ready_file {
        let address = listener.local_addr().map_err(GatewayError::Start)?;
        write_ready(path, address)?;
    }
    let accepting = accept(listener, proxy.clone(), connections.clone(), stopping);
    tokio::select! {
        () = accepting => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // The listener is closed here: its future is gone. Idle clients are cut, running requests end.
    let _ = stop.send(true);
    proxy.http_cleanup().await;
    let _ = tokio::time::timeout(DRAIN_LIMIT, connections.acquire_many(CONNECTION_LIMIT)).await;
    Ok(())
}

async fn accept(
    listener: TcpListener,
    proxy: Arc<HttpProxy<Router>>,
    connections: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
) {
    while let Ok(permit) = connections.clone().acquire_owned().await {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let (proxy, stopping) = (proxy.clone(), stopping.clone());
        tokio::spawn(async move {
            let mut stream = Some(Box::new(ClientStream::new(client)) as pingora::protocols::Stream);
            while let Some(client) = stream.take() {
                stream = proxy.process_new(client, &stopping).await;
            }
            drop(permit);
        });
    }
}

fn write_ready(path: &Path, address: SocketAddr) -> Result<(), GatewayError> {
    let text = serde_json::json!({ "listen": address, "pid": std::process::id() }).to_string();
    write_durably(path, text.as_bytes())
        .map_err(|source| GatewayError::ReadyFile { path: path.to_owned(), source })
}

/// The thread that talks to the control plane, apart from the inference path's threads.
struct Control {
    stop: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

impl Control {
    fn start(config: &GatewayConfig, tables: Arc<Tables>, notes: Notes) -> Result<Self, GatewayError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONTROL_CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| GatewayError::Start(io::Error::other(e)))?;
        let table_url = config.endpoint("/api/v1/route-table")?;
        let destination = Destination {
            client: client.clone(),
            url: config.endpoint("/api/v1/observations")?,
            gateway: format!("{}-{:08x}", config.gateway, RandomState::new().hash_one(0_u8) >> 32),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(GatewayError::Start)?;
        let (stop, stopping) = watch::channel(false);
        let reporter = Reporter::new(destination, tables.clone(), notes);
        let work = move || {
            runtime.block_on(async {
                let fetching = tokio::spawn(crate::fetch::run(client, table_url, tables, stopping.clone()));
                reporter.run(stopping).await;
                // It ends by the same signal; if it panicked, there is nothing to do about it any more.
                let _ = fetching.await;
            });
        };
        let thread = thread::Builder::new()
            .name("lineal-control".to_owned())
            .spawn(work)
            .map_err(GatewayError::Start)?;
        Ok(Self { stop, thread })
    }

    /// Waits for the last reports, which have their own limit.
    fn finish(self) {
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}
