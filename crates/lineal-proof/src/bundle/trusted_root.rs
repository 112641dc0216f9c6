//! What stock Sigstore verifiers need to know of our log: `trusted_root.json`.
//!
//! Format: <https://github.com/sigstore/protobuf-specs> `sigstore_trustroot.proto`, as proto3 JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::{Timestamp, json};
use serde_json::{Value, json};

use crate::checkpoint::VerifierKey;
use crate::verify::VerifyError;

/// Largest trusted root that is read, in bytes.
pub const TRUSTED_ROOT_LIMIT_BYTES: usize = 1 << 20;
/// Most logs in a trusted root.
const LOGS_LIMIT: usize = 64;
const ED25519: &str = "PKIX_ED25519";

/// The trusted root that names `log` as the only log, valid from `start` on, in canonical JSON.
///
/// sigstore-go (cosign) looks for a checkpoint signature under the *host name* of the base URL, so stock verifiers
/// accept only logs whose origin is a bare host name: no port, no path.
pub fn trusted_root(log: &VerifierKey, start: Timestamp) -> Vec<u8> {
    let root = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": format!("https://{}", log.name()),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(log.public_key_der()),
                "keyDetails": ED25519,
                "validFor": { "start": start.to_string() },
            },
            "logId": { "keyId": STANDARD.encode(log.log_id().as_bytes()) },
        }],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [],
    });
    // Strings only, which always have a canonical form.
    json::canonical(&root).unwrap_or_default()
}

/// The Ed25519 logs that a trusted root names, at least one; logs with other keys are left out.
///
/// The name of a log is the host of its URL, and its id must be that of name and key. Times are not judged: the ledger
/// orders by position.
pub fn logs_of_trusted_root(bytes: &[u8]) -> Result<Vec<VerifierKey>, VerifyError> {
    let malformed = |reason: &str| VerifyError::Malformed(format!("not a trusted root: {reason}"));
    if bytes.len() > TRUSTED_ROOT_LIMIT_BYTES {
        return Err(malformed("too large"));
    }
    let root = json::parse_value(bytes).map_err(|e| malformed(&e.to_string()))?;
    let logs = root["tlogs"].as_array().ok_or_else(|| malformed("no `tlogs`"))?;
    if logs.len() > LOGS_LIMIT {
        return Err(malformed("too many logs"));
    }
    let ed25519 = logs.iter().filter(|log| log["publicKey"]["keyDetails"] == ED25519);
    let keys =
        ed25519.map(|log| log_of(log).ok_or_else(|| malformed("name, key and id of a log do not fit")));
    let keys: Vec<VerifierKey> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(malformed("no log with an Ed25519 key")) } else { Ok(keys) }
}

fn log_of(log: &Value) -> Option<VerifierKey> {
    let name = log["baseUrl"].as_str()?.strip_prefix("https://")?;
    let der = STANDARD.decode(log["publicKey"]["rawBytes"].as_str()?).ok()?;
    let key = VerifierKey::from_der(name, &der).ok()?;
    let id = STANDARD.decode(log["logId"]["keyId"].as_str()?).ok()?;
    (id == key.log_id().as_bytes()).then_some(key)
}
