//! A witness over HTTP (<https://c2sp.org/tlog-witness>): `POST /add-checkpoint`, and for monitors
//! `GET /<SHA-256 of the origin in hex>/checkpoint`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lineal_app::Failure;
use lineal_app::witness::Witness;
use lineal_proof::witness_message::{REQUEST_LIMIT_BYTES, Refusal, SIZE_MEDIA_TYPE};

const TEXT: &str = "text/plain; charset=utf-8";

/// All routes.
pub fn router(witness: Witness) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin_hash}/checkpoint", get(latest))
        .layer(DefaultBodyLimit::max(REQUEST_LIMIT_BYTES))
        .with_state(witness)
}

async fn add_checkpoint(State(witness): State<Witness>, body: Bytes) -> Response {
    match witness.add_checkpoint(body.to_vec()).await {
        Ok(Ok(line)) => text(StatusCode::OK, line),
        Ok(Err(refusal)) => refused(&refusal),
        Err(failure) => broken(&failure),
    }
}

async fn latest(State(witness): State<Witness>, Path(origin_hash): Path<String>) -> Response {
    match witness.latest(&origin_hash).await {
        // Whoever looks for a fork must not get an old answer.
        Ok(Some(note)) => {
            ([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, "no-store")], note).into_response()
        }
        Ok(None) => text(StatusCode::NOT_FOUND, "nothing was cosigned for such a log here\n".to_owned()),
        Err(failure) => broken(&failure),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match refusal {
        Refusal::Conflict { size } => {
            (status, [(header::CONTENT_TYPE, SIZE_MEDIA_TYPE)], format!("{size}\n")).into_response()
        }
        Refusal::Malformed(_)
        | Refusal::UnknownLog(_)
        | Refusal::Unsigned(_)
        | Refusal::Backwards { .. }
        | Refusal::Inconsistent(_) => text(status, format!("{refusal}\n")),
    }
}

/// Always 500: every other status has a meaning in the protocol.
fn broken(failure: &Failure) -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n"))
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], body).into_response()
}

#[cfg(test)]
mod tests;
