//! in-toto Statement v1: what one ledger entry says about which digests.
//!
//! Format: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>. The bytes are made once, by
//! [`Statement::to_bytes`], then signed; a reader parses exactly the bytes whose signature it checked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::predicate::Predicate;

/// The DSSE payload type of a statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The only `_type` that is accepted.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Largest statement in bytes.
pub const SIZE_LIMIT_BYTES: usize = 4 << 20;

/// One statement: a typed predicate about subjects.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it is about, by digest. Never empty.
    pub subject: Vec<Subject>,
    /// What it says.
    pub predicate: Predicate,
}

/// A named digest. Verifiers match by digest; the name is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What people call it.
    pub name: String,
    /// Its digests.
    pub digest: DigestSet,
}

/// An in-toto digest set of which only sha256 is used and accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    #[serde(with = "bare_hex")]
    sha256: Digest,
}

impl DigestSet {
    /// The sha256.
    pub const fn sha256(&self) -> Digest {
        self.sha256
    }
}

impl From<Digest> for DigestSet {
    fn from(sha256: Digest) -> Self {
        Self { sha256 }
    }
}

impl Subject {
    /// A subject called `name`.
    pub fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self { name: name.into(), digest: digest.into() }
    }
}

/// Why bytes are not an acceptable statement.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Too large, or not strict JSON, or missing fields.
    #[error("not a statement: {0}")]
    Format(String),
    /// Another `_type`.
    #[error("statement type `{0}` is not {STATEMENT_TYPE}")]
    Type(String),
    /// A known predicate type with a predicate of another shape.
    #[error("predicate of type `{kind}`: {reason}")]
    Predicate {
        /// The predicate type.
        kind: String,
        /// What is wrong.
        reason: String,
    },
}

impl Statement {
    /// The canonical bytes to sign.
    pub fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(&Wire {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: self.subject.clone(),
            predicate_type: self.predicate.kind().to_owned(),
            predicate: self.predicate.to_value()?,
        })
    }

    /// Reads verified bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() > SIZE_LIMIT_BYTES {
            return Err(StatementError::Format(format!(
                "{} bytes; the limit is {SIZE_LIMIT_BYTES}",
                bytes.len()
            )));
        }
        let wire: Wire = json::parse(bytes).map_err(|e| StatementError::Format(e.to_string()))?;
        if wire.statement_type != STATEMENT_TYPE {
            return Err(StatementError::Type(crate::digest::shorten(&wire.statement_type)));
        }
        if wire.subject.is_empty() {
            return Err(StatementError::Format("no subject".to_owned()));
        }
        if wire.subject.iter().any(|subject| subject.name.contains('\0')) || has_nul(&wire.predicate) {
            return Err(StatementError::Format(
                "a string holds a NUL, which not every reader keeps".to_owned(),
            ));
        }
        let predicate = Predicate::from_value(&wire.predicate_type, wire.predicate)
            .map_err(|e| StatementError::Predicate { kind: wire.predicate_type, reason: e.to_string() })?;
        Ok(Self { subject: wire.subject, predicate })
    }

    /// Whether `digest` is among the subjects.
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subject.iter().any(|s| s.digest.sha256 == *digest)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Value,
}

/// Whether a string or key within holds a NUL: C programs end there, PostgreSQL does not store it. The strict reader
/// bounds the depth.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Serde form of a digest as bare hex, as in-toto digest sets write it.
pub(crate) mod bare_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::digest::Digest;

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest.hex())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::from_hex(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
