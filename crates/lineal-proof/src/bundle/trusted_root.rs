//! What stock Sigstore verifiers need to know of our log: `trusted_root.json`.
//!
//! Format: <https://github.com/sigstore/protobuf-specs> `sigstore_trustroot.proto`, as proto3 JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::Timestamp;
use serde_json::json;

use crate::checkpoint::VerifierKey;

/// The trusted root that names `log` as the only log, valid from `start` on.
///
/// sigstore-go (cosign) looks for a checkpoint signature under the *host name* of the base URL, so stock verifiers
/// accept only logs whose origin is a bare host name: no port, no path.
pub fn trusted_root(log: &VerifierKey, start: Timestamp) -> Vec<u8> {
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": format!("https://{}", log.name()),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(log.public_key_der()),
                "keyDetails": "PKIX_ED25519",
                "validFor": { "start": start.to_string() },
            },
            "logId": { "keyId": STANDARD.encode(log.log_id().as_bytes()) },
        }],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [],
    })
    .to_string()
    .into_bytes()
}
