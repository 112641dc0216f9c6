//! Values of parameters.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Most elements of a list.
pub const LIST_LIMIT: usize = 10_000;

/// A string, a finite number, a bool, or a list of these.
///
/// The step reads the canonical text, which is also what the cache key holds: `1` and `1.0` are the same value.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamValue {
    value: Value,
    canonical: String,
}

/// Why a value cannot be a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Null, a map, a list in a list, or a number that is not finite.
    #[error("{0} cannot be a parameter; use a string, a finite number, true, false, or a list of these")]
    Kind(&'static str),
    /// A number that some reader would change.
    #[error("a number has too many digits to be exact; write it as a string")]
    Inexact,
    /// Beyond [`LIST_LIMIT`].
    #[error("a list of {0} elements; at most {LIST_LIMIT}")]
    TooMany(usize),
}

impl ParamValue {
    /// Checks `value`.
    pub fn new(value: Value) -> Result<Self, ParamError> {
        match &value {
            Value::Array(items) if items.len() > LIST_LIMIT => return Err(ParamError::TooMany(items.len())),
            Value::Array(items) => items.iter().try_for_each(check_scalar)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                check_scalar(&value)?;
            }
        }
        let bytes = lineal_facts::json::canonical(&value).map_err(|_| ParamError::Inexact)?;
        let canonical = String::from_utf8(bytes).map_err(|_| ParamError::Inexact)?;
        Ok(Self { value, canonical })
    }

    /// The JSON value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The canonical JSON text.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// `string`, `number`, `bool` or `list`.
    pub fn kind(&self) -> &'static str {
        kind(&self.value)
    }
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.canonical)
    }
}

impl Serialize for ParamValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ParamValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What people call the type of `value`.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null or a number that is not finite",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

fn check_scalar(value: &Value) -> Result<(), ParamError> {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Array(_) => Err(ParamError::Kind("a list within a list")),
        Value::Null | Value::Object(_) => Err(ParamError::Kind(kind(value))),
    }
}
