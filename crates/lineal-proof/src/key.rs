//! The keys that sign statements: ECDSA on P-256 with SHA-256, the one type that every verifier of our files takes.

#[cfg(not(target_family = "wasm"))]
mod native;
// Tests compare both.
#[cfg(any(target_family = "wasm", test))]
mod portable;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::Digest;

#[cfg(not(target_family = "wasm"))]
use self::native as curve;
#[cfg(target_family = "wasm")]
use self::portable as curve;

/// Longest DER signature over P-256: a sequence of two 33-byte integers.
pub const SIGNATURE_LIMIT_BYTES: usize = 72;
/// An uncompressed point (SEC 1 section 2.3.3): `0x04`, x, y.
const POINT_BYTES: usize = 65;
/// DER SubjectPublicKeyInfo (RFC 5480) of a P-256 key up to the point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----\n";
const PEM_END: &str = "-----END PUBLIC KEY-----\n";
/// Base64 characters on a line of PEM (RFC 7468).
const PEM_LINE_CHARS: usize = 64;

/// Why bytes are not a usable public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 public key: {0}")]
pub struct PublicKeyError(&'static str);

/// The signature is not by that key over that message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit")]
pub struct SignatureError;

/// A signer could not sign; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct SignError(pub String);

/// A valid point on P-256 that verifies signatures.
#[derive(Clone)]
pub struct PublicKey {
    point: [u8; POINT_BYTES],
    id: Digest,
    curve: curve::Point,
}

/// Something that holds a private key: a file, an agent, a key management service.
pub trait Signer: Send + Sync {
    /// The key that verifies what it signs.
    fn public_key(&self) -> &PublicKey;

    /// Signs SHA-256 of `message`; yields an ASN.1 DER `ECDSA-Sig-Value`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Whether signing waits for something outside this process, so that a caller moves it off its event loop.
    fn waits(&self) -> bool {
        false
    }
}

impl PublicKey {
    /// Reads an uncompressed point of 65 bytes.
    pub fn from_point(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let point: [u8; POINT_BYTES] =
            bytes.try_into().map_err(|_| PublicKeyError("a point has 65 bytes"))?;
        if point[0] != 4 {
            return Err(PublicKeyError("only uncompressed points are accepted"));
        }
        let curve = curve::Point::new(&point).ok_or(PublicKeyError("the point is not on the curve"))?;
        let id = Digest::of(&[&SPKI_PREFIX[..], &point].concat());
        Ok(Self { point, id, curve })
    }

    /// Reads DER SubjectPublicKeyInfo: the named curve and an uncompressed point, nothing else.
    pub fn from_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let point = der.strip_prefix(&SPKI_PREFIX).ok_or(PublicKeyError("other DER than P-256 SPKI"))?;
        Self::from_point(point)
    }

    /// Reads PEM: exactly the text of [`PublicKey::to_pem`]; only the final newline may be missing.
    pub fn from_pem(text: &str) -> Result<Self, PublicKeyError> {
        // The longest acceptable text is known, so nothing larger is decoded.
        const LIMIT_BYTES: usize = 256;
        if text.len() > LIMIT_BYTES {
            return Err(PublicKeyError("too long for PEM of a P-256 key"));
        }
        let body = text.strip_prefix(PEM_BEGIN).ok_or(PublicKeyError("no PEM header"))?;
        let body = body
            .strip_suffix(PEM_END)
            .or_else(|| body.strip_suffix(PEM_END.trim_end()))
            .ok_or(PublicKeyError("no PEM footer"))?;
        let der = STANDARD.decode(body.replace('\n', "")).map_err(|_| PublicKeyError("not base64"))?;
        let key = Self::from_der(&der)?;
        let canonical = key.to_pem();
        if canonical == text || canonical.trim_end() == text {
            Ok(key)
        } else {
            Err(PublicKeyError("not the usual PEM lines"))
        }
    }

    /// DER SubjectPublicKeyInfo, 91 bytes.
    pub fn to_der(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.point].concat()
    }

    /// PEM with 64 characters a line and a final newline, as OpenSSL writes it.
    pub fn to_pem(&self) -> String {
        let base64 = STANDARD.encode(self.to_der());
        let mut text = PEM_BEGIN.to_owned();
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(PEM_LINE_CHARS));
            text.push_str(line);
            text.push('\n');
            rest = tail;
        }
        text + PEM_END
    }

    /// The key's identity: SHA-256 of its DER form.
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// What the OpenSSF Model Signing tools expect as a bundle's key hint: hex SHA-256 of the PEM text.
    pub fn hint(&self) -> String {
        Digest::of(self.to_pem().as_bytes()).hex()
    }

    /// Checks a DER signature over SHA-256 of `message`.
    pub fn verify(&self, message: &[u8], signature_der: &[u8]) -> Result<(), SignatureError> {
        if signature_der.len() > SIGNATURE_LIMIT_BYTES {
            return Err(SignatureError);
        }
        if self.curve.verifies(message, signature_der) { Ok(()) } else { Err(SignatureError) }
    }
}

/// The ASN.1 DER form of a P-256 signature that a token gives as r and s, each of 32 bytes; `None` for other lengths.
pub fn signature_to_der(fixed: &[u8]) -> Option<Vec<u8>> {
    const HALF_BYTES: usize = 32;
    let (r, s) = fixed.split_at_checked(HALF_BYTES).filter(|(_, s)| s.len() == HALF_BYTES)?;
    let integer = |half: &[u8]| {
        let start = half.iter().position(|byte| *byte != 0).unwrap_or(HALF_BYTES - 1);
        let digits = half.get(start..).unwrap_or_default();
        // A leading one bit would make it negative.
        let sign: &[u8] = if digits.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
        let length = (sign.len() + digits.len()) as u8;
        [&[0x02, length], sign, digits].concat()
    };
    let body = [integer(r), integer(s)].concat();
    Some([&[0x30, body.len() as u8], &body[..]].concat())
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

#[cfg(test)]
mod tests;
