//! What the gateway says itself, in the words of the Open Inference Protocol: `{"error": "..."}`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use serde_json::{Value, json};

/// Header that carries the request id, both ways.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// Header of the answer: `<model>/<version>` of the version that gave it.
pub(crate) const VERSION: &str = "x-lineal-version";
/// How long a client whose request is refused may go on sending, so that it gets to read the refusal.
const REFUSED_UPLOAD_LIMIT: Duration = Duration::from_secs(2);

/// An answer without an upstream.
#[derive(Debug)]
pub(crate) struct OwnAnswer {
    status: u16,
    body: Value,
}

impl OwnAnswer {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    pub(crate) fn with_status(status: u16, body: Value) -> Self {
        Self { status, body }
    }

    pub(crate) fn error(status: u16, text: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": text.into() }) }
    }

    /// Sends it. The request's body, if any, is read and thrown away; a client that sends more than that waits for
    /// nothing.
    pub(crate) async fn write(self, session: &mut Session, request_id: Option<&str>) -> pingora::Result<()> {
        let body = Bytes::from(self.body.to_string());
        let mut header = ResponseHeader::build(self.status, Some(4))?;
        header.insert_header(CONTENT_TYPE, "application/json")?;
        header.set_content_length(body.len())?;
        if matches!(self.status, 502..=504) {
            header.insert_header(RETRY_AFTER, "1")?;
        }
        if let Some(id) = request_id {
            header.insert_header(REQUEST_ID, id)?;
        }
        let http = session.as_downstream_mut();
        if self.status >= 400 {
            http.set_keepalive(None);
        }
        http.write_response_header(Box::new(header)).await?;
        http.write_response_body(body, true).await?;
        if self.status >= 400 {
            // Closing with unread bytes would reset the connection before the client has read this answer.
            http.set_total_drain_timeout(Some(REFUSED_UPLOAD_LIMIT));
            let _ = http.drain_request_body().await;
        }
        Ok(())
    }
}
