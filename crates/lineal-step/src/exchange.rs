//! A pod's side of the exchange: HTTPS to the operator, who is known by the digest of its certificate alone.
//!
//! * Requests may be repeated: connections that fail and answers 5xx are tried again with growing pauses. So the
//!   exchange may see a request twice whose answer was lost, and must answer alike.
//! * Nothing that the server sends is believed: sizes are bounded, messages are read strictly, blobs are hashed by
//!   [`lineal_blob::BlobStore`].
//! * The token is read from its file for every request, because the kubelet replaces it, and is never shown.

mod body;
mod failure;
mod pin;

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use lineal_blob::Remote;
use lineal_blob::blob::digest_of_file;
use lineal_blob::files::FileError;
use lineal_facts::Digest;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::order::{StepOrder, WorkRequest};
use crate::result::{REFUSAL_LIMIT_BYTES, StepResult};
use crate::wire::{Message, PATH_PREFIX};
use body::FileBody;
pub use failure::ExchangeError;
use failure::{Trouble, is_untrusted};
pub use pin::{Pin, PinError};

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time in which nothing moves: no piece sent, none received, no answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const TOKEN_LIMIT_BYTES: u64 = 64 << 10;
/// Largest blob that is taken.
const BLOB_LIMIT_BYTES: u64 = 1 << 40;
/// Threads that carry requests.
const THREADS: usize = 2;

type Outgoing = Either<Full<Bytes>, FileBody>;

/// Where the exchange is and how to know it.
#[derive(Debug, Clone)]
pub struct ExchangeSettings {
    /// `https://IP:PORT`.
    pub address: String,
    /// Its certificate.
    pub pin: Pin,
    /// The file with the token that says who we are.
    pub token: PathBuf,
    /// How long it may be away.
    pub patience: Duration,
}

/// A connection to the exchange. Its calls wait for the answer; several may be under way at a time.
pub struct Exchange {
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Outgoing>,
    settings: ExchangeSettings,
    /// Whether somebody asked this process to end.
    stop: watch::Receiver<bool>,
}

/// Something that is done when somebody asks this process to end.
#[derive(Debug)]
pub struct StopWatch(JoinHandle<()>);

/// The exchange as the far side of a folder of blobs. [`Exchange`] is shared by the folders of several orders.
#[derive(Debug, Clone)]
pub struct ExchangeBlobs(pub Arc<Exchange>);

impl Exchange {
    /// Asks the server nothing yet. From now on SIGTERM ends requests with [`ExchangeError::Stopped`].
    pub fn new(settings: ExchangeSettings) -> Result<Self, ExchangeError> {
        let set_up = |e: &dyn std::error::Error| ExchangeError::SetUp(e.to_string());
        let address = settings.address.strip_prefix("https://").unwrap_or_default();
        if address.is_empty() || address.contains(['/', '?', '#', '@']) {
            return Err(ExchangeError::SetUp(format!(
                "the address `{}` is not https://IP:PORT",
                settings.address
            )));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .map_err(|e| set_up(&e))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = settings.pin.client().map_err(|e| set_up(&e))?;
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
        let client = Client::builder(TokioExecutor::new()).build(https.wrap_connector(tcp));
        let (stopped, stop) = watch::channel(false);
        let entered = runtime.enter();
        let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|e| set_up(&e))?;
        drop(entered);
        runtime.spawn(async move {
            signal.recv().await;
            // Nobody listens any more when the process ends by itself.
            let _ = stopped.send(true);
            // The sender must stay: without it, nobody could tell a stop from an end of this task.
            std::future::pending::<()>().await;
        });
        Ok(Self { runtime, client, settings, stop })
    }

    /// Asks for something to do; `None` when there is nothing for this pod.
    pub fn work(&self, request: &WorkRequest) -> Result<Option<StepOrder>, ExchangeError> {
        self.post("work", request)
    }

    /// Tells what came of an order; yields the next one.
    pub fn result(&self, result: &StepResult) -> Result<Option<StepOrder>, ExchangeError> {
        self.post("result", result)
    }

    /// Whether somebody asked this process to end.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Does `act` when somebody asks this process to end, unless what is returned was dropped before.
    pub fn on_stop(&self, act: Box<dyn FnOnce() + Send>) -> StopWatch {
        let mut stop = self.stop.clone();
        StopWatch(self.runtime.spawn(async move {
            if stop.wait_for(|stopped| *stopped).await.is_ok() {
                act();
            }
        }))
    }

    fn post(&self, name: &str, message: &impl Message) -> Result<Option<StepOrder>, ExchangeError> {
        let bytes = Bytes::from(message.to_bytes()?);
        self.repeat(name, || {
            let answer = self.wait(async {
                let body = Either::Left(Full::new(bytes.clone()));
                let response = self.send(Method::POST, name, body, &AtomicU64::new(0)).await?;
                match response.status() {
                    StatusCode::NO_CONTENT => Ok(None),
                    StatusCode::OK => Ok(Some(read(response, StepOrder::LIMIT_BYTES).await?)),
                    _ => Err(refused(name, response).await),
                }
            })?;
            let order = answer.map(|bytes| StepOrder::from_bytes(&bytes)).transpose();
            order.map_err(|error| Trouble::Final(error.into()))
        })
    }

    fn get(
        &self,
        digest: &Digest,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<bool, ExchangeError> {
        let name = blob_name(digest);
        // What `sink` has. After an interruption the blob comes again from its start, and that much is passed over.
        let mut delivered = 0;
        self.repeat(&name, || {
            let before = delivered;
            let answer = self.wait(async {
                let empty = Either::Left(Full::new(Bytes::new()));
                let response = self.send(Method::GET, &name, empty, &AtomicU64::new(0)).await?;
                match response.status() {
                    StatusCode::OK => deliver(response.into_body(), &mut delivered, sink).await,
                    StatusCode::NOT_FOUND => Ok(false),
                    _ => Err(refused(&name, response).await),
                }
            });
            answer.map_err(|trouble| trouble.moved(delivered > before))
        })
    }

    fn put(&self, digest: &Digest, source: &Path) -> Result<Digest, ExchangeError> {
        let name = blob_name(digest);
        self.repeat(&name, || {
            let sent = Arc::new(AtomicU64::new(0));
            let body = FileBody::open(source, sent.clone()).map_err(Trouble::from)?;
            let answer = self.wait(async {
                let response = self.send(Method::PUT, &name, Either::Right(body), &sent).await?;
                if response.status().is_success() { Ok(true) } else { Err(refused(&name, response).await) }
            });
            match answer {
                Ok(_) => Ok(*digest),
                // The server hashed something else. If it is not the file that differs, one of us is wrong.
                Err(Trouble::Final(ExchangeError::Refused { status: 422, .. }))
                    if digest_of_file(source).map_err(Trouble::from)? != *digest =>
                {
                    digest_of_file(source).map_err(Trouble::from)
                }
                Err(trouble) => Err(trouble.moved(sent.load(Ordering::Relaxed) > 0)),
            }
        })
    }

    /// Sends a request and waits for the head of the answer, as long as `sent` grows.
    async fn send(
        &self,
        method: Method,
        name: &str,
        body: Outgoing,
        sent: &AtomicU64,
    ) -> Result<Response<Incoming>, Trouble> {
        let final_error = |e: hyper::http::Error| Trouble::Final(ExchangeError::SetUp(e.to_string()));
        let sends_json = method == Method::POST;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{PATH_PREFIX}{name}", self.settings.address))
            .header(AUTHORIZATION, self.authorization().map_err(Trouble::Final)?);
        if sends_json {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let mut answer = self.client.request(request.body(body).map_err(final_error)?);
        loop {
            let before = sent.load(Ordering::Relaxed);
            match timeout(STALL_TIMEOUT, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) if is_untrusted(&error) => {
                    return Err(Trouble::Final(ExchangeError::Untrusted {
                        address: self.settings.address.clone(),
                    }));
                }
                Ok(Err(error)) => return Err(Trouble::passing(lineal_facts::error::chain(&error))),
                Err(_) if sent.load(Ordering::Relaxed) > before => {}
                Err(_) => return Err(Trouble::passing("nothing came for 30 s")),
            }
        }
    }

    /// The token as it is now.
    fn authorization(&self) -> Result<HeaderValue, ExchangeError> {
        let path = &self.settings.token;
        let mut text = String::new();
        let token = |reason: String| ExchangeError::Token { path: path.clone(), reason };
        let file = File::open(path).map_err(|e| token(e.to_string()))?;
        file.take(TOKEN_LIMIT_BYTES).read_to_string(&mut text).map_err(|e| token(e.to_string()))?;
        if text.trim().is_empty() {
            return Err(token("it is empty".to_owned()));
        }
        // Its text is no part of the error.
        let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
            .map_err(|_| token("it has characters that no token has".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Tries again what may pass, until the exchange has been away for too long.
    fn repeat<T>(
        &self,
        name: &str,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, ExchangeError> {
        let mut away_since = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let (reason, moved) = match attempt() {
                Ok(done) => return Ok(done),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing { reason, moved }) => (reason, moved),
            };
            if moved {
                (away_since, pause) = (None, FIRST_PAUSE);
            }
            let since = *away_since.get_or_insert_with(Instant::now);
            let left = self.settings.patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                let url = format!("{}{PATH_PREFIX}{name}", self.settings.address);
                return Err(ExchangeError::Unreachable { url, patience: self.settings.patience, reason });
            }
            self.pause(pause.min(left))?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until somebody asks this process to end, for so long.
    fn pause(&self, limit: Duration) -> Result<(), ExchangeError> {
        let mut stop = self.stop.clone();
        match self.runtime.block_on(async { timeout(limit, stop.wait_for(|stopped| *stopped)).await }) {
            Ok(_) => Err(ExchangeError::Stopped),
            Err(_) => Ok(()),
        }
    }

    /// Waits for `work`, or for somebody who asks this process to end.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let mut stop = self.stop.clone();
        self.runtime.block_on(async {
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => Err(Trouble::Final(ExchangeError::Stopped)),
                done = work => done,
            }
        })
    }

    fn url(&self, digest: &Digest) -> PathBuf {
        PathBuf::from(format!("{}{PATH_PREFIX}{}", self.settings.address, blob_name(digest)))
    }
}

impl Drop for StopWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Remote for ExchangeBlobs {
    fn name(&self, digest: &Digest) -> PathBuf {
        self.0.url(digest)
    }

    /// Whether a blob exists elsewhere is nobody's business.
    fn have(&self, _: &Digest, _: u64) -> Result<bool, FileError> {
        Ok(false)
    }

    fn get(
        &self,
        digest: &Digest,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<bool, FileError> {
        self.0.get(digest, sink).map_err(|error| error.on("read", self.name(digest)))
    }

    fn put(&self, digest: &Digest, source: &Path) -> Result<Digest, FileError> {
        self.0.put(digest, source).map_err(|error| error.on("write", self.name(digest)))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange({})", self.settings.address)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Passes the pieces of a blob on, without those that were `delivered` before.
async fn deliver(
    mut body: Incoming,
    delivered: &mut u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<bool, Trouble> {
    let mut position = 0;
    loop {
        let Ok(next) = timeout(STALL_TIMEOUT, body.frame()).await else {
            return Err(Trouble::passing("the blob stalled for 30 s"));
        };
        let Some(frame) = next else { return Ok(true) };
        let frame = frame.map_err(|error| Trouble::passing(lineal_facts::error::chain(&error)))?;
        let Ok(piece) = frame.into_data() else { continue };
        let known = usize::try_from(delivered.saturating_sub(position)).unwrap_or(usize::MAX);
        position += piece.len() as u64;
        if position > BLOB_LIMIT_BYTES {
            return Err(Trouble::Final(ExchangeError::Answer("a blob of more than 1 TiB".to_owned())));
        }
        if let Some(new) = piece.get(known..)
            && !new.is_empty()
        {
            sink(new).map_err(Trouble::from)?;
            *delivered = position;
        }
    }
}

/// The body of an answer, of at most `limit_bytes`.
async fn read(response: Response<Incoming>, limit_bytes: usize) -> Result<Bytes, Trouble> {
    let body = Limited::new(response.into_body(), limit_bytes).collect();
    match timeout(STALL_TIMEOUT, body).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Trouble::Final(ExchangeError::Answer(format!("an answer of more than {limit_bytes} bytes"))))
        }
        Ok(Err(error)) => Err(Trouble::passing(error.to_string())),
        Err(_) => Err(Trouble::passing("the answer took more than 30 s")),
    }
}

/// What an answer means that is not what was asked for. Faults of the server may pass.
async fn refused(name: &str, response: Response<Incoming>) -> Trouble {
    let status = response.status();
    let body = read(response, REFUSAL_LIMIT_BYTES).await.unwrap_or_default();
    let message = failure::told(&body);
    if status.is_server_error() {
        return Trouble::passing(format!("it answered {status}{message}"));
    }
    Trouble::Final(ExchangeError::Refused { name: name.to_owned(), status: status.as_u16(), message })
}
