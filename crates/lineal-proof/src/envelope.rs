//! DSSE 1.0: the envelope around signed bytes
//! (<https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>).
//!
//! What is signed is the *pre-authentication encoding* (PAE) of type and payload. It can be read back, so it is also
//! the form in which a statement is stored.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use lineal_facts::json;
use serde::{Deserialize, Serialize};

use crate::key::{SIGNATURE_LIMIT_BYTES, SignError, Signer};

/// Largest payload in bytes: that of a statement.
pub const PAYLOAD_LIMIT_BYTES: usize = lineal_facts::statement::SIZE_LIMIT_BYTES;
/// Longest payload type in bytes.
pub const PAYLOAD_TYPE_LIMIT_BYTES: usize = 255;
/// Largest envelope as JSON: the payload in base64 and room for the rest.
pub const ENVELOPE_LIMIT_BYTES: usize = PAYLOAD_LIMIT_BYTES / 3 * 4 + (16 << 10);
/// Longest key id in bytes; it is a hint that nothing here relies on.
const KEY_ID_LIMIT_BYTES: usize = 1024;
const PAE_PREFIX: &[u8] = b"DSSEv1 ";

/// Why bytes are not an acceptable envelope or encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the encoding that DSSE defines.
    #[error("not a DSSE v1 encoding: {0}")]
    Pae(&'static str),
    /// Not an envelope that is accepted here.
    #[error("not a DSSE envelope: {0}")]
    Format(String),
}

/// A payload, its type and one signature, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Media type of the payload.
    pub payload_type: String,
    /// The bytes that were signed (together with the type).
    pub payload: Vec<u8>,
    /// The signature over [`Envelope::pae`].
    pub signature: Vec<u8>,
    /// Somebody's name for the key; empty in ours. Not authenticated, never to be relied on.
    pub key_id: String,
}

/// The bytes that a signature covers: `DSSEv1 <len> <type> <len> <payload>`, lengths in decimal bytes.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let header = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [header.as_bytes(), payload].concat()
}

/// The inverse of [`pae`]: type and payload. Refuses every other spelling, and sizes beyond the limits.
pub fn parse_pae(bytes: &[u8]) -> Result<(&str, &[u8]), EnvelopeError> {
    let rest = bytes.strip_prefix(PAE_PREFIX).ok_or(EnvelopeError::Pae("no `DSSEv1`"))?;
    let (payload_type, rest) = take_counted(rest, PAYLOAD_TYPE_LIMIT_BYTES)?;
    let payload_type =
        std::str::from_utf8(payload_type).map_err(|_| EnvelopeError::Pae("the type is not UTF-8"))?;
    let rest = rest.strip_prefix(b" ").ok_or(EnvelopeError::Pae("no space after the type"))?;
    let (payload, rest) = take_counted(rest, PAYLOAD_LIMIT_BYTES)?;
    if rest.is_empty() { Ok((payload_type, payload)) } else { Err(EnvelopeError::Pae("trailing bytes")) }
}

impl Envelope {
    /// Signs a payload.
    pub fn sign(payload_type: &str, payload: Vec<u8>, signer: &dyn Signer) -> Result<Self, SignError> {
        let signature = signer.sign(&pae(payload_type, &payload))?;
        Ok(Self { payload_type: payload_type.to_owned(), payload, signature, key_id: String::new() })
    }

    /// Rebuilds an envelope from its stored encoding and the signature in the ledger.
    pub fn from_pae(bytes: &[u8], signature: Vec<u8>) -> Result<Self, EnvelopeError> {
        let (payload_type, payload) = parse_pae(bytes)?;
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload: payload.to_vec(),
            signature,
            key_id: String::new(),
        })
    }

    /// The bytes that the signature covers.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// Reads the JSON form: standard or URL-safe base64, exactly one signature, no unknown or duplicate fields.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > ENVELOPE_LIMIT_BYTES {
            let reason = format!("{} bytes; the limit is {ENVELOPE_LIMIT_BYTES}", bytes.len());
            return Err(EnvelopeError::Format(reason));
        }
        let wire: Wire = json::parse(bytes).map_err(|e| EnvelopeError::Format(e.to_string()))?;
        Self::from_wire(wire)
    }

    /// The JSON form, with standard base64.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::json!(self.to_wire()).to_string().into_bytes()
    }

    pub(crate) fn to_wire(&self) -> Wire {
        Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: vec![WireSignature {
                sig: STANDARD.encode(&self.signature),
                keyid: Some(self.key_id.clone()).filter(|id| !id.is_empty()),
            }],
        }
    }

    pub(crate) fn from_wire(wire: Wire) -> Result<Self, EnvelopeError> {
        let error = |reason: &str| EnvelopeError::Format(reason.to_owned());
        let [signature] = &wire.signatures[..] else {
            return Err(error("expected exactly one signature"));
        };
        let envelope = Self {
            payload_type: wire.payload_type,
            payload: decode_base64(&wire.payload).ok_or_else(|| error("the payload is not base64"))?,
            signature: decode_base64(&signature.sig).ok_or_else(|| error("the signature is not base64"))?,
            key_id: signature.keyid.clone().unwrap_or_default(),
        };
        let limits = [
            (envelope.payload_type.len(), PAYLOAD_TYPE_LIMIT_BYTES, "the payload type is too long"),
            (envelope.payload.len(), PAYLOAD_LIMIT_BYTES, "the payload is too large"),
            (envelope.signature.len(), SIGNATURE_LIMIT_BYTES, "the signature is too long"),
            (envelope.key_id.len(), KEY_ID_LIMIT_BYTES, "the key id is too long"),
        ];
        match limits.iter().find(|(length, limit, _)| length > limit) {
            Some((_, _, reason)) => Err(error(reason)),
            None => Ok(envelope),
        }
    }
}

/// The JSON form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wire {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    sig: String,
    /// Absent, empty and `null` are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
}

/// Reads `<len> <bytes>`, where `<len>` has no leading zeros.
fn take_counted(bytes: &[u8], limit: usize) -> Result<(&[u8], &[u8]), EnvelopeError> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at(digits);
    let rest = rest.strip_prefix(b" ").ok_or(EnvelopeError::Pae("no space after a length"))?;
    let length = std::str::from_utf8(number).ok().and_then(|text| text.parse::<usize>().ok());
    let length = length.filter(|length| length.to_string().as_bytes() == number);
    let length = length.ok_or(EnvelopeError::Pae("not a length"))?;
    if length > limit {
        return Err(EnvelopeError::Pae("a length beyond the limit"));
    }
    rest.split_at_checked(length).ok_or(EnvelopeError::Pae("shorter than it says"))
}

/// Decodes standard or URL-safe base64, with or without padding, as DSSE asks of readers.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ANY_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
    const ANY_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);
    let engine = if text.contains(['-', '_']) { ANY_URL_SAFE } else { ANY_STANDARD };
    engine.decode(text).ok()
}

#[cfg(test)]
mod tests;
