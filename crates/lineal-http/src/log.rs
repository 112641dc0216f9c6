//! The ledger as C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>) under `/log/`.

use std::io::{self, Write as _};

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use lineal_app::project::Published;
use lineal_app::{Code, Failure};

use crate::api::{Api, Refusal};

/// Where the log's files are.
const PREFIX: &str = "/log/";
/// A checkpoint may be replaced at any moment.
const SHORT: &str = "public, max-age=1";
/// A tile never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";
const BYTES: &str = "application/octet-stream";

/// `checkpoint` (changes) or a tile or bundle (never changes). Other names do not exist.
///
/// The name is taken as it was sent: `%2e` or `%2F` in it make it another name, so that each file has only one.
pub(crate) async fn file(State(api): State<Api>, uri: Uri, headers: HeaderMap) -> Result<Response, Refusal> {
    let name = uri.path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let ledger = api.project.store.ledger().clone();
    let accepts = accepts_gzip(&headers);
    let answer = tokio::task::spawn_blocking(move || {
        let found = ledger.published(&name).map_err(Failure::from)?;
        let found = found.ok_or_else(|| Failure::new(Code::NotFound, "the log has no such file"))?;
        respond(found, accepts).map_err(|e| Failure::caused(Code::Internal, &e))
    });
    Ok(answer.await.map_err(|e| Failure::caused(Code::Internal, &e))??)
}

fn respond(found: Published, accepts_gzip: bool) -> io::Result<Response> {
    Ok(match found {
        Published::Checkpoint(note) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, SHORT)], note)
                .into_response()
        }
        // Hashes do not compress.
        Published::Tile(bytes) => {
            ([(header::CONTENT_TYPE, BYTES), (header::CACHE_CONTROL, FOREVER)], bytes).into_response()
        }
        Published::Entries(bytes) => {
            let headers = [
                (header::CONTENT_TYPE, BYTES),
                (header::CACHE_CONTROL, FOREVER),
                (header::VARY, "accept-encoding"),
            ];
            if !accepts_gzip {
                return Ok((headers, bytes).into_response());
            }
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes)?;
            (headers, [(header::CONTENT_ENCODING, "gzip")], encoder.finish()?).into_response()
        }
    })
}

/// Whether the client takes gzip (RFC 9110 section 12.5.3): named, and not with the weight 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = |part: &str| {
            part.strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>().is_ok_and(|q| q <= 0.0))
        };
        named && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests;
