//! The ledger as C2SP tlog-tiles under `/log/`.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use lineal_app::{Code, Failure};

use crate::api::{Api, Refusal};

/// `checkpoint` (changes) or a tile or bundle (never changes). Other names do not exist.
pub(crate) async fn file(State(api): State<Api>, Path(path): Path<String>) -> Result<Response, Refusal> {
    let absent = || Refusal(Failure::new(Code::NotFound, format!("the log has no file `{path}`")));
    let is_checkpoint = path == "checkpoint";
    // Only names that the format allows reach the disk: no `..`, no other files.
    let is_tile = path.starts_with("tile/")
        && path
            .split('/')
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'))
        && !path.contains("..");
    if !is_checkpoint && !is_tile {
        return Err(absent());
    }
    let location = api.project.store.ledger().root().join(&path);
    let bytes = tokio::fs::read(location).await.map_err(|_| absent())?;
    let (kind, cache) = if is_checkpoint {
        ("text/plain; charset=utf-8", "no-cache")
    } else {
        ("application/octet-stream", "public, max-age=31536000, immutable")
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], bytes).into_response())
}
