//! P-256 by aws-lc.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};

use super::POINT_BYTES;

/// A point on the curve.
#[derive(Clone)]
pub(super) struct Point(ParsedPublicKey);

impl Point {
    /// Reads an uncompressed point; `None` if it is not on the curve.
    pub(super) fn new(bytes: &[u8; POINT_BYTES]) -> Option<Self> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, bytes).ok().map(Self)
    }

    /// Whether the DER signature fits SHA-256 of the message.
    pub(super) fn verifies(&self, message: &[u8], signature_der: &[u8]) -> bool {
        self.0.verify_sig(message, signature_der).is_ok()
    }
}
