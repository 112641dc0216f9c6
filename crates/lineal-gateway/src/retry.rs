//! One request on its way to a version, and where it goes when that version fails.
//!
//! Inference is idempotent, so a request is sent again as long as nothing was answered and its body is still at
//! hand: once on a fresh connection if a kept one had died (nobody's fault), then on the stable version.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use lineal_engine::route::{Role, Share};

use crate::table::ServedRoute;

/// Largest answer of which the prediction is read.
pub(crate) const RECORDED_LIMIT_BYTES: usize = 1 << 20;
/// A version that does not accept a connection in this time has failed.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// A version that sends nothing for this time has failed.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// A canary is given up after this many times `slow_after_ms` of silence, at least [`CANARY_PATIENCE_LEAST`]: the
/// stable version still has to answer.
const CANARY_PATIENCE: u64 = 10;
const CANARY_PATIENCE_LEAST: Duration = Duration::from_secs(1);

/// Where a request stands.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) route: Arc<ServedRoute>,
    pub(crate) id: String,
    /// Whether it is recorded (inference) or not (metadata).
    pub(crate) recorded: bool,
    /// Position of the share that was chosen first.
    pub(crate) chosen: usize,
    /// Position of the share that has it now.
    pub(crate) current: usize,
    /// Whether a kept connection must not be used.
    pub(crate) fresh: bool,
    /// Whether the chosen share failed.
    pub(crate) failed: bool,
    /// Status of the answer that goes to the client, once there is one.
    pub(crate) status: Option<u16>,
    /// Whether the whole answer came.
    pub(crate) complete: bool,
    pub(crate) request_bytes: usize,
    clock: Clock,
    body: BytesMut,
    body_too_large: bool,
}

/// The times that make up the latency of a version.
#[derive(Debug, Clone, Copy)]
struct Clock {
    started: Instant,
    connected: Option<Instant>,
    uploaded: Option<Instant>,
    answered: Option<Instant>,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same share on a new connection.
    Fresh,
    /// The stable share.
    Stable,
    /// Tell the client.
    GiveUp,
}

/// A failure as the proxy saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    /// The connection had served other requests before.
    pub(crate) reused: bool,
    /// It was a timeout: no sign that the connection was dead already.
    pub(crate) timeout: bool,
    /// The request's body can be sent again.
    pub(crate) repeatable: bool,
}

impl Call {
    pub(crate) fn new(route: Arc<ServedRoute>, id: String, chosen: usize, recorded: bool) -> Self {
        let clock = Clock { started: Instant::now(), connected: None, uploaded: None, answered: None };
        Self {
            route,
            id,
            recorded,
            chosen,
            current: chosen,
            fresh: false,
            failed: false,
            status: None,
            complete: false,
            request_bytes: 0,
            clock,
            body: BytesMut::new(),
            body_too_large: false,
        }
    }

    /// The share that has the request now.
    pub(crate) fn share(&self) -> Option<&Share> {
        self.route.share(self.current)
    }

    /// How long the share may be silent.
    pub(crate) fn silence_limit(&self) -> Duration {
        match self.share().map(|share| share.role) {
            Some(Role::Canary) => {
                let patience = self.route.route.slow_after_ms.saturating_mul(CANARY_PATIENCE);
                Duration::from_millis(patience).clamp(CANARY_PATIENCE_LEAST, SILENCE_LIMIT)
            }
            Some(Role::Stable) | None => SILENCE_LIMIT,
        }
    }

    /// The connection stands. The first one counts: waiting for the client's body starts there.
    pub(crate) fn connected(&mut self) {
        self.clock.connected.get_or_insert_with(Instant::now);
    }

    /// The client's body is complete.
    pub(crate) fn uploaded(&mut self) {
        self.clock.uploaded.get_or_insert_with(Instant::now);
    }

    /// Whether the version ever had the whole request.
    pub(crate) fn was_uploaded(&self) -> bool {
        self.clock.uploaded.is_some()
    }

    /// A part of the answer's body.
    pub(crate) fn body_part(&mut self, part: Option<&[u8]>, end: bool) {
        if end {
            self.complete = true;
            self.clock.answered.get_or_insert_with(Instant::now);
        }
        let Some(part) = part.filter(|_| self.recorded && !self.body_too_large) else { return };
        if self.body.len() + part.len() > RECORDED_LIMIT_BYTES {
            self.body_too_large = true;
            self.body = BytesMut::new();
        } else {
            self.body.extend_from_slice(part);
        }
    }

    /// Whether the answer's body was larger than what is kept.
    pub(crate) fn body_is_too_large(&self) -> bool {
        self.body_too_large
    }

    /// The answer's body, empty if it was too large to keep.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// From the request's head to the last byte of the answer (or now), without the time that the client took to
    /// send its body.
    pub(crate) fn latency_ms(&self) -> f64 {
        let Clock { started, connected, uploaded, answered } = self.clock;
        let total = answered.unwrap_or_else(Instant::now).duration_since(started);
        let upload = match (connected, uploaded) {
            (Some(connected), Some(uploaded)) => uploaded.saturating_duration_since(connected),
            (Some(_) | None, _) => Duration::ZERO,
        };
        total.saturating_sub(upload).as_secs_f64() * 1000.0
    }

    /// The current share failed before it answered: moves the request on.
    pub(crate) fn fail(&mut self, failure: Failure) -> Next {
        if failure.reused && !failure.timeout && failure.repeatable && !self.fresh {
            self.fresh = true;
            return Next::Fresh;
        }
        self.fail_chosen();
        if self.current == self.route.stable || !failure.repeatable {
            return Next::GiveUp;
        }
        self.current = self.route.stable;
        self.fresh = false;
        Next::Stable
    }

    /// Counts against the chosen share, if that is the one that failed.
    pub(crate) fn fail_chosen(&mut self) {
        self.failed |= self.current == self.chosen;
    }
}

#[cfg(test)]
mod tests;
