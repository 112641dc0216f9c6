//! The exchange over HTTPS, for the pods of steps: orders out, blobs and results in.
//!
//! The certificate is the server's own; pods know its digest. Every request carries the token of its pod. A pod that
//! is refused gets a word and a sentence; 5xx means that it may try again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::TryStreamExt as _;
use lineal_app::exchange::{Doorkeeper, Exchange, Pass};
use lineal_app::project::ExchangeCertificate;
use lineal_facts::Digest;
use lineal_step::order::REQUEST_LIMIT_BYTES;
use lineal_step::result::RESULT_LIMIT_BYTES;
use lineal_step::{Message, Refusal, StepResult, WorkRequest};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

/// Largest blob that a pod may send: the largest file that a step may write.
const BLOB_LIMIT_BYTES: usize = 64 << 30;
/// How long a client may take for the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Connections that have done their handshake and wait to be served.
const WAITING_LIMIT: usize = 64;

#[derive(Clone)]
struct Service {
    exchange: Exchange,
    doorkeeper: Doorkeeper,
}

/// The exchange's server, bound.
pub struct ExchangeServer {
    listener: TlsListener,
    address: SocketAddr,
    router: Router,
}

/// Binds `address`; port 0 takes a free one. Unlike other roles it may be reached by others: it answers nobody whom
/// `doorkeeper` does not know.
pub async fn bind(
    address: SocketAddr,
    certificate: ExchangeCertificate,
    exchange: Exchange,
    doorkeeper: Doorkeeper,
) -> io::Result<ExchangeServer> {
    let tls = Arc::new(tls(certificate).map_err(io::Error::other)?);
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let listener = TlsListener::new(listener, TlsAcceptor::from(tls), address);
    Ok(ExchangeServer { listener, address, router: router(exchange, doorkeeper) })
}

impl ExchangeServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(stop).await
    }
}

fn tls(certificate: ExchangeCertificate) -> Result<ServerConfig, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(certificate.key.to_vec().into());
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.certificate.into()], key)
}

/// All routes.
fn router(exchange: Exchange, doorkeeper: Doorkeeper) -> Router {
    Router::new()
        .route("/exchange/v1/work", post(work).layer(DefaultBodyLimit::max(REQUEST_LIMIT_BYTES)))
        .route("/exchange/v1/result", post(result).layer(DefaultBodyLimit::max(RESULT_LIMIT_BYTES)))
        .route(
            "/exchange/v1/blobs/sha256/{hex}",
            get(blob).put(send).layer(DefaultBodyLimit::max(BLOB_LIMIT_BYTES)),
        )
        .with_state(Service { exchange, doorkeeper })
}

async fn work(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Result<Response, Refused> {
    let pass = service.admit(&headers).await?;
    let request = WorkRequest::from_bytes(&body).map_err(|e| Refusal::new("format", e.to_string()))?;
    match service.exchange.work(&pass, &request) {
        Some(order) => {
            let bytes = order.to_bytes().map_err(|e| Refusal::new("unavailable", e.to_string()))?;
            Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
        }
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

async fn result(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let pass = service.admit(&headers).await?;
    let result = StepResult::from_bytes(&body).map_err(|e| Refusal::new("format", e.to_string()))?;
    blocking(move || service.exchange.take(&pass, result)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn blob(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(hex): Path<String>,
) -> Result<Response, Refused> {
    let pass = service.admit(&headers).await?;
    let digest = digest(&hex)?;
    let path = blocking(move || service.exchange.blob(&pass, &digest)).await?;
    let broken = |e: io::Error| Refusal::new("unavailable", e.to_string());
    let file = tokio::fs::File::open(&path).await.map_err(broken)?;
    let length = file.metadata().await.map_err(broken)?.len();
    let body = Body::from_stream(ReaderStream::with_capacity(file, 1 << 18));
    Ok(([(header::CONTENT_LENGTH, length.to_string())], body).into_response())
}

async fn send(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(hex): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let pass = service.admit(&headers).await?;
    let digest = digest(&hex)?;
    let stream = request.into_body().into_data_stream().map_err(io::Error::other);
    let mut reader = SyncIoBridge::new(StreamReader::new(stream));
    blocking(move || service.exchange.send(&pass, &digest, &mut reader)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Service {
    async fn admit(&self, headers: &HeaderMap) -> Result<Pass, Refusal> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| Refusal::new("token", "a request needs the token of its pod"))?;
        (self.doorkeeper)(token.to_owned()).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Refusal::new("unavailable", error.to_string())),
    }
}

fn digest(hex: &str) -> Result<Digest, Refusal> {
    format!("sha256:{hex}").parse().map_err(|_| Refusal::new("not-found", "not a SHA-256 digest"))
}

/// A refusal as an answer.
struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.code.as_str() {
            "token" => StatusCode::UNAUTHORIZED,
            "not-found" => StatusCode::NOT_FOUND,
            "gone" => StatusCode::GONE,
            "unknown-bytes" => StatusCode::CONFLICT,
            "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "format" => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Connections after their handshake, so that a slow one keeps nobody else waiting.
struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    fn new(listener: TcpListener, acceptor: TlsAcceptor, address: SocketAddr) -> Self {
        let (sender, ready) = mpsc::channel(WAITING_LIMIT);
        tokio::spawn(async move {
            let mut listener = listener;
            loop {
                let (stream, peer) = tokio::select! {
                    // Axum's own listener waits out what can go wrong with accepting.
                    accepted = axum::serve::Listener::accept(&mut listener) => accepted,
                    () = sender.closed() => return,
                };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let shaken = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        // The server may be ending.
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Self { ready, address }
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task ends only with this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
