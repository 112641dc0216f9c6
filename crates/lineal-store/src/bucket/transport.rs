//! HTTP requests to the server: hyper with rustls, as the client of the protocol wants them.
//!
//! Certificates are checked against Mozilla's authorities, or against those in the file that `AWS_CA_BUNDLE` names.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error as ClientError, connect::HttpConnector as Tcp};
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, Sleep};

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the request to the head of the answer, and from one piece of the answer to the next.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the client.
#[derive(Debug)]
pub(super) struct Connector {
    tls: ClientConfig,
}

/// The client.
struct Transport {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
}

/// An answer that must not stall.
struct Timed {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl Connector {
    /// Trusts the authorities in the file `authorities`; Mozilla's if there is none.
    pub(super) fn new(authorities: Option<&Path>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        match authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let certificates = CertificateDer::pem_file_iter(path).map_err(io::Error::other)?;
                for certificate in certificates {
                    roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_or_http();
        let client = Client::builder(TokioExecutor::new()).build(tls.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Transport { client }))
    }
}

#[async_trait::async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request));
        let answer = answer.await.map_err(|elapsed| HttpError::new(HttpErrorKind::Timeout, elapsed))?;
        let (head, body) = answer.map_err(|error| HttpError::new(kind_of(&error), error))?.into_parts();
        let body = Timed { body, deadline: Box::pin(tokio::time::sleep(ANSWER_TIMEOUT)) };
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.deadline.as_mut().reset(Instant::now() + ANSWER_TIMEOUT);
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))),
            );
        }
        ready!(self.deadline.as_mut().poll(context));
        let stalled = io::Error::new(io::ErrorKind::TimedOut, "the answer stalled");
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, stalled))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether the request certainly was not sent: only then may one that is not safe to repeat be repeated.
fn kind_of(error: &ClientError) -> HttpErrorKind {
    if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted }
}
