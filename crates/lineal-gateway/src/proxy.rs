//! The phases of a request in pingora: choose a version, send, move on when it fails, note what happened.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;
use http::header::{ACCEPT_ENCODING, UPGRADE};
use lineal_engine::route::Role;
use lineal_facts::Timestamp;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::HttpPeer;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};
use serde_json::json;

use crate::answer::{OwnAnswer, REQUEST_ID, VERSION};
use crate::path::{Target, target};
use crate::prediction::first_number;
use crate::record::{Answer, Note, Recorder};
use crate::retry::{CONNECT_LIMIT, Call, Failure, Next, SILENCE_LIMIT};
use crate::state::Tables;

/// Largest request body.
pub(crate) const REQUEST_LIMIT_BYTES: usize = 4 << 20;
/// Longest request id or routing key.
const KEY_LIMIT_BYTES: usize = 256;
/// Header whose value decides the version; without it the request id does.
const ROUTING_KEY: &str = "x-lineal-key";
/// Kept upstream connections close after this much idleness.
const KEPT_LIMIT: Duration = Duration::from_secs(60);
/// A client that sends nothing of its body for this long is cut.
const UPLOAD_SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// The one service of the gateway.
pub(crate) struct Router {
    gateway: String,
    tables: Arc<Tables>,
    recorder: Recorder,
    ids: RandomState,
    counter: AtomicU64,
}

/// What one request carries through the phases; empty if the gateway answers itself.
pub(crate) type Context = Option<Call>;

impl Router {
    pub(crate) fn new(gateway: String, tables: Arc<Tables>, recorder: Recorder) -> Self {
        Self { gateway, tables, recorder, ids: RandomState::new(), counter: AtomicU64::new(1) }
    }

    /// 16 hex digits: a keyed hash of a counter, not to be guessed and not repeated in practice.
    fn new_id(&self) -> String {
        format!("{:016x}", self.ids.hash_one(self.counter.fetch_add(1, Ordering::Relaxed)))
    }

    /// What to do with the request: a call to a version, or an answer.
    fn decide(&self, head: &RequestHeader) -> Result<Call, OwnAnswer> {
        match target(&head.method, head.uri.path()) {
            Target::Infer(model) => self.call(head, model, true),
            Target::Model(model) => self.call(head, model, false),
            Target::Live => Err(OwnAnswer::ok(json!({ "live": true }))),
            Target::Ready => {
                let ready = self.tables.current().is_some();
                Err(OwnAnswer::with_status(if ready { 200 } else { 503 }, json!({ "ready": ready })))
            }
            Target::Status => Err(self.status()),
            Target::Pinned => Err(OwnAnswer::error(
                400,
                "the route table chooses the version; call /v2/models/{model}/infer without /versions",
            )),
            Target::Method => Err(OwnAnswer::error(405, "method not allowed on this path")),
            Target::Unknown => Err(OwnAnswer::error(404, "no such path")),
        }
    }

    fn call(&self, head: &RequestHeader, model: &str, inference: bool) -> Result<Call, OwnAnswer> {
        let Some(table) = self.tables.current() else {
            return Err(OwnAnswer::error(503, "the gateway has no route table yet"));
        };
        let Some(route) = table.route(model) else {
            let model: String = model.chars().take(64).collect();
            return Err(OwnAnswer::error(404, format!("no route for model `{model}`")));
        };
        let declared = content_length(head);
        if declared.is_some_and(|bytes| bytes > REQUEST_LIMIT_BYTES as u64) {
            return Err(too_large());
        }
        let key = text_header(head, ROUTING_KEY)?;
        let id = match text_header(head, REQUEST_ID)? {
            Some(id) => id.to_owned(),
            None => self.new_id(),
        };
        let chosen = if inference { route.choose(key.unwrap_or(&id)) } else { route.stable };
        Ok(Call::new(route.clone(), id, chosen, inference))
    }

    fn status(&self) -> OwnAnswer {
        let table = self.tables.current();
        let health = self.tables.health();
        OwnAnswer::ok(json!({
            "generation": table.as_ref().map_or(0, |t| t.generation),
            "routes": table.as_ref().map_or(0, |t| t.len()),
            "gateway": self.gateway,
            "control_plane_reachable": health.control_plane_reachable.load(Ordering::Relaxed),
            "refused_tables": health.refused_tables.load(Ordering::Relaxed),
            "last_problem": self.tables.last_problem().as_str(),
        }))
    }

    fn note(&self, call: &Call, error: Option<&Error>) {
        let by_client = error.is_some_and(|e| *e.esource() == ErrorSource::Downstream);
        if !call.recorded || (by_client && !call.was_uploaded() && !call.failed) {
            return; // never reached a version in full: says nothing about one
        }
        // An answer without a body has no last part; an answer that the client did not wait for was still given.
        let complete = call.complete || error.is_none();
        let answered = complete && call.status.is_some_and(|status| (200..400).contains(&status));
        let answer = answered.then(|| Answer {
            id: call.id.clone(),
            share: call.current,
            prediction: first_number(call.body(), &call.route.route.output),
            answered_at: now(),
        });
        // An answer without the promised prediction serves nobody, and a version that refuses what the other one
        // takes is broken: both count, for either arm, since only the difference between the arms decides. A body
        // too large to be kept says nothing.
        let unreadable = answer.as_ref().is_some_and(|a| a.prediction.is_none() && !call.body_is_too_large());
        let refused = complete && call.status.is_some_and(|status| (400..500).contains(&status));
        let failed = call.failed || (call.current == call.chosen && (unreadable || refused));
        self.recorder.note(Note {
            route: call.route.clone(),
            chosen: call.chosen,
            failed,
            latency_ms: call.latency_ms(),
            answer,
        });
    }
}

#[async_trait]
impl ProxyHttp for Router {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        None
    }

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {
        // pingora adds a compression module here; answers are passed on as they are.
    }

    async fn request_filter(&self, session: &mut Session, call: &mut Context) -> Result<bool> {
        match self.decide(session.req_header()) {
            Ok(decided) => {
                session.as_downstream_mut().set_read_timeout(Some(UPLOAD_SILENCE_LIMIT));
                *call = Some(decided);
                Ok(false)
            }
            Err(answer) => {
                answer.write(session, None).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _: &mut Session, call: &mut Context) -> Result<Box<HttpPeer>> {
        let call = call.as_ref().ok_or_else(no_call)?;
        let share = call.share().ok_or_else(no_call)?;
        let mut peer = HttpPeer::new(share.upstream, false, String::new());
        peer.options.connection_timeout = Some(CONNECT_LIMIT);
        peer.options.total_connection_timeout = Some(CONNECT_LIMIT);
        peer.options.read_timeout = Some(call.silence_limit());
        peer.options.write_timeout = Some(SILENCE_LIMIT);
        peer.options.idle_timeout = Some(KEPT_LIMIT);
        if call.fresh {
            // The pool has no switch "do not reuse"; a group of its own finds nothing kept.
            peer.group_key = self.counter.fetch_add(1, Ordering::Relaxed);
            peer.options.idle_timeout = Some(Duration::from_millis(1));
        }
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        call: &mut Context,
    ) -> Result<()> {
        if let Some(call) = call {
            call.connected();
            call.request_bytes = 0;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        head: &mut RequestHeader,
        call: &mut Context,
    ) -> Result<()> {
        let call = call.as_ref().ok_or_else(no_call)?;
        head.insert_header(HeaderName::from_static(REQUEST_ID), &call.id)?;
        // A compressed answer would hide the prediction, and buys nothing on the way from a local server.
        head.remove_header(&ACCEPT_ENCODING);
        head.remove_header(&UPGRADE);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        call: &mut Context,
    ) -> Result<()> {
        let Some(call) = call else { return Ok(()) };
        call.request_bytes += body.as_ref().map_or(0, Bytes::len);
        if call.request_bytes > REQUEST_LIMIT_BYTES {
            return Err(Error::explain(ErrorType::HTTPStatus(413), "request body").into_down());
        }
        if end {
            call.uploaded();
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        call: &mut Context,
    ) -> Result<()> {
        let Some(call) = call else { return Ok(()) };
        if head.status.is_informational() {
            return Ok(());
        }
        if head.status.is_server_error() {
            let canary = call.share().is_some_and(|share| share.role == Role::Canary);
            let repeatable = canary && !session.as_ref().retry_buffer_truncated();
            // An answer came, so the connection was alive: never the same version again.
            if call.fail(Failure { reused: false, timeout: false, repeatable }) == Next::Stable {
                let mut error =
                    Error::explain(ErrorType::HTTPStatus(head.status.as_u16()), "canary").into_up();
                error.set_retry(true);
                return Err(error);
            }
        }
        call.status = Some(head.status.as_u16());
        head.insert_header(HeaderName::from_static(REQUEST_ID), &call.id)?;
        if let Some(label) = call.route.label(call.current) {
            head.insert_header(HeaderName::from_static(VERSION), label)?;
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        call: &mut Context,
    ) -> Result<Option<Duration>> {
        if let Some(call) = call {
            call.body_part(body.as_deref(), end);
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        call: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if *error.etype() == ErrorType::InternalError {
            // pingora's word for "no free descriptor or port": ours, nothing that a version did.
            error.set_retry(false);
            return error;
        }
        // Nothing of the body was sent in this attempt; an earlier attempt that did send was checked then.
        let failure = Failure { reused: false, timeout: false, repeatable: true };
        let next = call.as_mut().map_or(Next::GiveUp, |call| call.fail(failure));
        error.set_retry(next != Next::GiveUp);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        call: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let Some(call) = call else {
            error.set_retry(false);
            return error;
        };
        if matches!(error.etype(), ErrorType::HTTPStatus(_)) {
            // Ours, and decided where it was made. pingora leaves retry unset as "no".
            error.retry.decide_reuse(false);
            return error;
        }
        if *error.esource() != ErrorSource::Upstream {
            error.set_retry(false);
            return error;
        }
        if call.status.is_some() {
            call.fail_chosen(); // cut in the middle of the answer
            error.set_retry(false);
            return error;
        }
        let timeout = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
        let repeatable = !session.as_ref().retry_buffer_truncated();
        let next = call.fail(Failure { reused, timeout, repeatable });
        error.set_retry(next != Next::GiveUp);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, call: &mut Context) -> FailToProxy {
        let status = failure_status(error);
        if status > 0 && call.as_ref().is_none_or(|call| call.status.is_none()) {
            let text = match status {
                413 => format!("request bodies are limited to {REQUEST_LIMIT_BYTES} bytes"),
                502 => "the model server closed the connection without an answer".to_owned(),
                503 => "the model server cannot be reached".to_owned(),
                504 => "the model server did not answer in time".to_owned(),
                _ => "the request could not be passed on".to_owned(),
            };
            let id = call.as_ref().map(|call| call.id.as_str());
            // Nobody is left to tell if the client is gone.
            let _ = OwnAnswer::error(status, text).write(session, id).await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, call: &mut Context) {
        if let Some(call) = call.take() {
            self.note(&call, error);
        }
    }
}

/// 0 means that nobody is left to answer.
fn failure_status(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => *status,
        (
            ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::InternalError,
            ErrorSource::Upstream,
        ) => 503,
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) => 502,
        (
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ErrorSource::Downstream,
        ) => 0,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => 408,
        (_, ErrorSource::Downstream) => 400,
        (_, ErrorSource::Internal | ErrorSource::Unset) => 500,
    }
}

fn content_length(head: &RequestHeader) -> Option<u64> {
    head.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A header that is an id: visible ASCII, bounded. Anything else is refused, or a join would miss it silently.
fn text_header<'a>(head: &'a RequestHeader, name: &str) -> Result<Option<&'a str>, OwnAnswer> {
    let Some(value) = head.headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=KEY_LIMIT_BYTES).contains(&text.len()) => Ok(Some(text)),
        Ok(_) | Err(_) => Err(OwnAnswer::error(
            400,
            format!("header {name} must be 1 to {KEY_LIMIT_BYTES} visible characters"),
        )),
    }
}

fn too_large() -> OwnAnswer {
    OwnAnswer::error(413, format!("request bodies are limited to {REQUEST_LIMIT_BYTES} bytes"))
}

fn no_call() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a request reached the proxy without a route")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
