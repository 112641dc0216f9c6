//! Version, limits and strict reading of what pods and the operator say to each other.
//!
//! Both sides read with [`Message::from_bytes`] and write with [`Message::to_bytes`]: a message that the other side
//! would refuse is not sent.

use lineal_facts::json::{self, JsonError};
use lineal_facts::name::NAME_LIMIT_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Format version of every message.
pub const WIRE_VERSION: &str = "1";
/// Below this are all addresses of the exchange.
pub const PATH_PREFIX: &str = "/exchange/v1/";
/// Longest text that names something: an attempt, a kind of processor, a kernel, a code.
pub const TEXT_LIMIT_BYTES: usize = 256;

/// Why bytes are no message, or a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Larger than such a message may be.
    #[error("{what} of {size_bytes} bytes; at most {limit_bytes}")]
    TooLarge {
        /// Which message.
        what: &'static str,
        /// Its size.
        size_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// Not JSON, or not the fields of this message.
    #[error("not {what}: {source}")]
    Format {
        /// Which message.
        what: &'static str,
        /// What is wrong.
        source: JsonError,
    },
    /// Another version.
    #[error("{what} of version `{version}`; this build understands version {WIRE_VERSION}")]
    Version {
        /// Which message.
        what: &'static str,
        /// Its version, cut.
        version: String,
    },
    /// A field with a value that must not be.
    #[error("{what}: `{field}` {reason}")]
    Field {
        /// Which message.
        what: &'static str,
        /// The field, as in `inputs["train"]`.
        field: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A message that has a version and a largest size.
pub trait Message: Serialize + DeserializeOwned {
    /// Its name in errors.
    const WHAT: &'static str;
    /// Its largest size as JSON.
    const LIMIT_BYTES: usize;

    /// The version it has.
    fn version(&self) -> &str;

    /// Checks what its types leave open.
    fn check(&self) -> Result<(), WireError>;

    /// Reads and checks a message: no unknown field, no field twice.
    fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        size(Self::WHAT, bytes.len(), Self::LIMIT_BYTES)?;
        let format = |source| WireError::Format { what: Self::WHAT, source };
        // The version comes first: a later one may well have other fields, and that is not what is wrong with it.
        let value = json::parse_value(bytes).map_err(format)?;
        if let Some(version) = value.get("version").and_then(|version| version.as_str()) {
            same_version(Self::WHAT, version)?;
        }
        let message: Self =
            serde_json::from_value(value).map_err(|e| format(JsonError::Shape(e.to_string())))?;
        message.check()?;
        Ok(message)
    }

    /// Checks and writes a message.
    fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        same_version(Self::WHAT, self.version())?;
        self.check()?;
        let format = |e: serde_json::Error| JsonError::Shape(e.to_string());
        let bytes = serde_json::to_vec(self)
            .map_err(|e| WireError::Format { what: Self::WHAT, source: format(e) })?;
        size(Self::WHAT, bytes.len(), Self::LIMIT_BYTES)?;
        Ok(bytes)
    }
}

/// A text that names something: not empty, printable, at most [`TEXT_LIMIT_BYTES`].
pub(crate) fn check_text(what: &'static str, field: &str, text: &str) -> Result<(), WireError> {
    let reason = if text.is_empty() {
        "is empty"
    } else if text.len() > TEXT_LIMIT_BYTES {
        "is longer than 256 bytes"
    } else if text.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(WireError::Field { what, field: field.to_owned(), reason })
}

/// The name of an input or output, as the pipeline file allows it. It becomes a file name.
pub(crate) fn check_name(what: &'static str, field: &str, name: &str) -> Result<(), WireError> {
    let good = name.len() <= NAME_LIMIT_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if good {
        return Ok(());
    }
    let name: String = name.chars().take(NAME_LIMIT_BYTES).collect();
    let reason = "is no name: use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    Err(WireError::Field { what, field: format!("{field}[{name:?}]"), reason })
}

fn size(what: &'static str, size_bytes: usize, limit_bytes: usize) -> Result<(), WireError> {
    if size_bytes > limit_bytes { Err(WireError::TooLarge { what, size_bytes, limit_bytes }) } else { Ok(()) }
}

fn same_version(what: &'static str, version: &str) -> Result<(), WireError> {
    if version == WIRE_VERSION {
        return Ok(());
    }
    Err(WireError::Version { what, version: version.chars().take(80).collect() })
}
