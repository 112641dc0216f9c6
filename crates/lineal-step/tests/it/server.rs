//! An exchange in memory: HTTPS on a port of its own, with faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin as Pinned;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lineal_facts::Digest;
use lineal_facts::manifest::{FileEntry, Manifest};
use lineal_step::exchange::Pin;
use lineal_step::{Message as _, StepOrder, StepResult, WorkRequest};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// The server and what it knows.
pub(crate) struct Server {
    address: SocketAddr,
    certificate: Vec<u8>,
    state: Arc<Mutex<State>>,
    // Ends the server when it is dropped.
    _runtime: Runtime,
}

/// Shared between the test and the server's tasks.
#[derive(Default)]
pub(crate) struct State {
    /// Answers to `work` and to each `result`, in order, as bytes.
    pub(crate) orders: VecDeque<Vec<u8>>,
    /// What is given.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// What was sent.
    pub(crate) sent: BTreeMap<String, Vec<u8>>,
    pub(crate) asked: Vec<WorkRequest>,
    pub(crate) results: Vec<StepResult>,
    /// `METHOD NAME` of every request.
    pub(crate) requests: Vec<String>,
    /// The token of every request.
    pub(crate) tokens: Vec<String>,
    /// What happens to the next requests to this name.
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    /// Connections that are closed before anything is said.
    pub(crate) hang_ups: usize,
    /// Written when the first request comes: the file and its new content.
    pub(crate) rotation: Option<(PathBuf, String)>,
}

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// This status, with a refusal that says so.
    Status(u16),
    /// A body that breaks off in its middle.
    BreakOff,
    /// It has started again, and has nothing that was sent.
    Forgets,
}

type Answer = Response<Either<Full<Bytes>, Broken>>;

impl Server {
    pub(crate) fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["exchange".to_owned()]).unwrap();
        let certificate = made.cert.der().to_vec();
        Self::with(certificate, made.signing_key.serialize_der())
    }

    /// A server that shows the certificate of `other` and has another key.
    pub(crate) fn impostor(other: &Self) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["exchange".to_owned()]).unwrap();
        Self::with(other.certificate.clone(), made.signing_key.serialize_der())
    }

    fn with(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = CertifiedKey::new(vec![CertificateDer::from(certificate.clone())], key);
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(Arc::new(shown))));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        runtime.spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), state.clone()));
        Self { address, certificate, state, _runtime: runtime }
    }

    pub(crate) fn address(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn pin(&self) -> String {
        let pin = Digest::of(&self.certificate).hex();
        assert_eq!(pin.parse(), Ok(Pin::of(&self.certificate)));
        pin
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Gives these bytes.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().blobs.insert(digest.hex(), bytes.to_vec());
        digest
    }

    /// Gives a directory of these files.
    pub(crate) fn directory(&self, files: &[(&str, &str)]) -> Digest {
        let entry = |(path, text): &(&str, &str)| FileEntry {
            path: (*path).to_owned(),
            digest: self.blob(text.as_bytes()),
            size_bytes: text.len() as u64,
            executable: false,
        };
        self.blob(&Manifest::new(files.iter().map(entry).collect()).unwrap().to_bytes())
    }

    pub(crate) fn order(&self, order: &StepOrder) {
        self.state().orders.push_back(order.to_bytes().unwrap());
    }

    /// The only result.
    pub(crate) fn result(&self) -> StepResult {
        let state = self.state();
        assert_eq!(state.results.len(), 1, "{:?}", state.requests);
        state.results[0].clone()
    }
}

impl State {
    fn answer(&mut self, name: &str, body: &[u8]) -> Answer {
        match name {
            "POST work" => {
                self.asked.push(WorkRequest::from_bytes(body).unwrap());
                self.next()
            }
            "POST result" => {
                let result = StepResult::from_bytes(body).unwrap();
                self.results.push(result);
                // What a step made, the next one may be given.
                self.blobs.append(&mut self.sent.clone());
                self.next()
            }
            _ => match name.split_once(" blobs/sha256/") {
                Some(("GET", hex)) => match self.blobs.get(hex) {
                    Some(bytes) => full(200, bytes.clone()),
                    None => refusal(404, "not-found"),
                },
                Some(("PUT", hex)) if Digest::of(body).hex() == hex => {
                    self.sent.insert(hex.to_owned(), body.to_vec());
                    full(204, Vec::new())
                }
                Some(("PUT", _)) => refusal(422, "mismatch"),
                Some(_) | None => refusal(404, "not-found"),
            },
        }
    }

    fn next(&mut self) -> Answer {
        match self.orders.pop_front() {
            Some(order) => full(200, order),
            None => full(204, Vec::new()),
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        {
            let mut state = state.lock().unwrap();
            if state.hang_ups > 0 {
                state.hang_ups -= 1;
                continue;
            }
        }
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            // A client that does not like the certificate goes away.
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| serve(state.clone(), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let name = format!("{} {}", head.method, head.uri.path().trim_start_matches("/exchange/v1/"));
    let token = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut state = state.lock().unwrap();
    state.tokens.push(token.to_owned());
    state.requests.push(name.clone());
    if let Some((path, text)) = state.rotation.take() {
        std::fs::write(path, text).unwrap();
    }
    let due = state.faults.front().is_some_and(|(start, _)| name.starts_with(start));
    let fault = if due { state.faults.pop_front() } else { None };
    Ok(match fault {
        None => state.answer(&name, &body),
        Some((_, Fault::Status(status))) => refusal(status, "fault"),
        Some((_, Fault::Forgets)) => {
            state.sent.clear();
            refusal(409, "unknown-bytes")
        }
        Some((_, Fault::BreakOff)) => {
            let hex = name.rsplit('/').next().unwrap();
            let bytes = state.blobs[hex].clone();
            Response::new(Either::Right(Broken { left: Some(bytes.len() / 2), bytes }))
        }
    })
}

fn full(status: u16, bytes: Vec<u8>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(bytes))));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn refusal(status: u16, code: &str) -> Answer {
    full(status, format!(r#"{{"code":"{code}","message":"told by the server"}}"#).into_bytes())
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Promises all bytes and gives a part of them.
pub(crate) struct Broken {
    bytes: Vec<u8>,
    left: Option<usize>,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pinned<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(match self.left.take() {
            Some(size) => Ok(Frame::data(Bytes::copy_from_slice(&self.bytes[..size]))),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
