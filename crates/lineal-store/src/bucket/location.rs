//! Where a bucket is.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use serde::{Deserialize, Serialize};

/// S3's own bounds of a bucket's name.
const NAME_LENGTHS: std::ops::RangeInclusive<usize> = 3..=63;
/// Longest accepted prefix; keys end at 1024 bytes, and ours are far shorter than the difference.
const PREFIX_LIMIT_BYTES: usize = 512;
/// The region when none is named: servers other than Amazon's mostly want this one.
const DEFAULT_REGION: &str = "us-east-1";

/// A place in an S3-compatible bucket. Keys to it are in the environment, never here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct BucketLocation {
    bucket: String,
    /// Without slashes around it; empty for the whole bucket.
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
    allow_http: bool,
}

/// As it is written in the settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// `s3://BUCKET/PREFIX`.
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    allow_http: bool,
}

/// Why a text names no place in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketLocationError {
    /// Not `s3://BUCKET/PREFIX`.
    #[error("`{0}`: expected s3://BUCKET or s3://BUCKET/PREFIX, of letters, digits, `-`, `_` and `.`")]
    Url(String),
    /// The endpoint is no address of a server.
    #[error("endpoint `{0}`: expected https://HOST or https://HOST:PORT, without user, path or query")]
    Endpoint(String),
    /// Requests would cross a network readable, with answers that anybody on the way can change.
    #[error("endpoint `{0}` is not encrypted and not on this machine; use https, or say `allow_http = true`")]
    Unencrypted(String),
}

impl BucketLocation {
    /// The place `url` (`s3://BUCKET/PREFIX`) at the server `endpoint`; Amazon's if there is none. Without TLS only on
    /// this machine, unless `allow_http`.
    pub fn new(
        url: &str,
        endpoint: Option<String>,
        region: Option<String>,
        allow_http: bool,
    ) -> Result<Self, BucketLocationError> {
        let wrong = || BucketLocationError::Url(url.to_owned());
        let rest = url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain);
        let fits = NAME_LENGTHS.contains(&bucket.len()) && prefix.len() <= PREFIX_LIMIT_BYTES;
        if !fits || !is_part(bucket) || !(prefix.is_empty() || prefix.split('/').all(is_part)) {
            return Err(wrong());
        }
        if let Some(endpoint) = &endpoint {
            check_endpoint(endpoint, allow_http)?;
        }
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Ok(Self { bucket, prefix, endpoint, region, allow_http })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    pub(super) fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(DEFAULT_REGION)
    }
}

impl fmt::Display for BucketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.as_str() {
            "" => write!(f, "s3://{}", self.bucket),
            prefix => write!(f, "s3://{}/{prefix}", self.bucket),
        }
    }
}

impl TryFrom<Written> for BucketLocation {
    type Error = BucketLocationError;

    fn try_from(written: Written) -> Result<Self, BucketLocationError> {
        Self::new(&written.url, written.endpoint, written.region, written.allow_http)
    }
}

impl From<BucketLocation> for Written {
    fn from(location: BucketLocation) -> Self {
        let url = location.to_string();
        let BucketLocation { endpoint, region, allow_http, .. } = location;
        Self { url, endpoint, region, allow_http }
    }
}

fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), BucketLocationError> {
    let wrong = || BucketLocationError::Endpoint(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    // A password in an address ends up in messages.
    if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong());
    }
    let host = authority.host().trim_matches(['[', ']']);
    let loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) || host == "localhost";
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if loopback || allow_http => Ok(()),
        Some("http") => Err(BucketLocationError::Unencrypted(endpoint.to_owned())),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
