//! P-256 in Rust alone, for WebAssembly. Gives the same answers as aws-lc; tests compare them.

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};

use super::POINT_BYTES;

/// A point on the curve.
#[derive(Clone)]
pub(super) struct Point(VerifyingKey);

impl Point {
    /// Reads an uncompressed point; `None` if it is not on the curve.
    pub(super) fn new(bytes: &[u8; POINT_BYTES]) -> Option<Self> {
        VerifyingKey::from_sec1_bytes(bytes).ok().map(Self)
    }

    /// Whether the DER signature fits SHA-256 of the message.
    pub(super) fn verifies(&self, message: &[u8], signature_der: &[u8]) -> bool {
        Signature::from_der(signature_der).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}
