//! Profile and schema as canonical JSON, version 1: RFC 8785, every number a string.

use lineal_facts::{Digest, json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::table::shown;

use super::{ColumnProfile, Profile, Schema, SchemaColumn};

/// Largest document that is read.
pub const DOCUMENT_LIMIT_BYTES: usize = 64 << 20;
const VERSION: &str = "1";

/// Why bytes are not a profile or a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// More than [`DOCUMENT_LIMIT_BYTES`].
    #[error("{0} bytes; a profile or schema has at most {DOCUMENT_LIMIT_BYTES}")]
    TooLarge(usize),
    /// Written by another version of the format.
    #[error("version `{0}` of the document; this build reads version `{VERSION}`")]
    Version(String),
    /// Not the expected document.
    #[error("not a version {VERSION} document: {0}")]
    Format(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileDocument {
    version: String,
    #[serde(with = "decimal")]
    rows: u64,
    columns: Vec<ColumnProfile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaDocument {
    version: String,
    columns: Vec<SchemaColumn>,
}

impl Profile {
    /// The canonical bytes: `{"columns":[...],"rows":"3","version":"1"}`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let document =
            ProfileDocument { version: VERSION.to_owned(), rows: self.rows, columns: self.columns.clone() };
        // Strings and flags only, and the profiler keeps no number that cannot be written.
        json::canonical(&document).unwrap_or_default()
    }

    /// The digest of [`Profile::to_bytes`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Reads the canonical bytes back; any other spelling is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: ProfileDocument = parse(bytes)?;
        let profile = Self { rows: document.rows, columns: document.columns };
        check_canonical(&profile.to_bytes(), bytes)?;
        Ok(profile)
    }
}

impl Schema {
    /// The canonical bytes: `{"columns":[{"name":"x","nullable":false,"type":"integer"}],"version":"1"}`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = SchemaDocument { version: VERSION.to_owned(), columns: self.columns.clone() };
        // Strings and flags only.
        json::canonical(&document).unwrap_or_default()
    }

    /// The digest of [`Schema::to_bytes`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Reads the canonical bytes back; any other spelling is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: SchemaDocument = parse(bytes)?;
        let schema = Self { columns: document.columns };
        check_canonical(&schema.to_bytes(), bytes)?;
        Ok(schema)
    }
}

/// The version is looked at first, so that a later format is named as such.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    if bytes.len() > DOCUMENT_LIMIT_BYTES {
        return Err(DocumentError::TooLarge(bytes.len()));
    }
    let value = json::parse_value(bytes).map_err(|e| DocumentError::Format(e.to_string()))?;
    match value.get("version").and_then(serde_json::Value::as_str) {
        Some(VERSION) => {}
        Some(other) => return Err(DocumentError::Version(shown(other))),
        None => return Err(DocumentError::Format("no version".to_owned())),
    }
    serde_json::from_value(value).map_err(|e| DocumentError::Format(e.to_string()))
}

fn check_canonical(canonical: &[u8], bytes: &[u8]) -> Result<(), DocumentError> {
    if canonical == bytes { Ok(()) } else { Err(DocumentError::Format("not in canonical form".to_owned())) }
}

/// Whole numbers as decimal strings.
pub(crate) mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    // serde's `with` asks for a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
