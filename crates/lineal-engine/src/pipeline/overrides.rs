//! `KEY=VALUE` from the command line in place of what the file says.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde_json::Value;

use super::param::{self, ParamError, ParamValue};
use super::suggest::hint;
use super::{DataName, Determinism, ParamName, Pipeline};

/// One `KEY=VALUE`: a parameter, `seed`, `determinism` or `data.NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// What is replaced.
    pub key: String,
    /// By what, as written.
    pub value: String,
}

/// Why a value from the command line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// No `=`, or nothing before it.
    #[error("`{0}` is not an override; write KEY=VALUE, as in trees=200")]
    Form(String),
    /// The same key more than once.
    #[error("`{0}` is set twice; remove one of them")]
    Twice(String),
    /// The file declares no such parameter or data.
    #[error("`{key}` cannot be set, because the pipeline does not declare it{hint}")]
    Unknown {
        /// The key.
        key: String,
        /// What may have been meant.
        hint: String,
    },
    /// Another type than the declared one.
    #[error("`{key}` is a {declared} in the pipeline, but `{value}` is a {found}")]
    Type {
        /// The key.
        key: String,
        /// Type of the declared value.
        declared: &'static str,
        /// Type of the given value.
        found: &'static str,
        /// The given value.
        value: String,
    },
    /// The right type, but not a possible value.
    #[error("`{key}` cannot be `{value}`: {reason}")]
    Value {
        /// The key.
        key: String,
        /// The given value.
        value: String,
        /// Why.
        reason: String,
    },
}

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(OverrideError::Form(short(text))),
        }
    }
}

pub(super) fn apply(mut pipeline: Pipeline, overrides: &[Override]) -> Result<Pipeline, OverrideError> {
    let mut seen = BTreeSet::new();
    for Override { key, value } in overrides {
        if !seen.insert(key) {
            return Err(OverrideError::Twice(short(key)));
        }
        let wrong = |reason: String| OverrideError::Value { key: short(key), value: short(value), reason };
        if key == "seed" {
            let range = format!("expected a whole number from 0 to {}", u64::MAX);
            pipeline.seed = value.parse().map_err(|_| wrong(range))?;
        } else if key == "determinism" {
            let mode = determinism(value).ok_or_else(|| wrong("expected off, observe or strict".into()))?;
            let probing = pipeline.steps.iter().find(|step| !step.probes.is_empty());
            if let (Determinism::Off, Some(step)) = (mode, probing) {
                return Err(wrong(format!(
                    "step `{}` has a probe, which needs observe or strict",
                    step.name
                )));
            }
            pipeline.steps.iter_mut().for_each(|step| step.determinism = mode);
        } else if let Some(name) = key.strip_prefix("data.") {
            let Some(snapshot) = pipeline.data.get_mut(name) else {
                return Err(unknown(&pipeline, key));
            };
            let reference = value.strip_prefix("dataset://").unwrap_or(value);
            *snapshot = reference.parse().map_err(|e: lineal_facts::name::NameError| wrong(e.to_string()))?;
        } else {
            let Some(declared) = pipeline.params.get_mut(key.as_str()) else {
                return Err(unknown(&pipeline, key));
            };
            *declared = typed(key, value, declared)?;
        }
    }
    Ok(pipeline)
}

/// The text as a value of the declared type: a string is taken as it stands, anything else as JSON.
fn typed(key: &str, text: &str, declared: &ParamValue) -> Result<ParamValue, OverrideError> {
    if declared.value().is_string() {
        return value_of(key, text, Value::String(text.to_owned()));
    }
    let value = lineal_facts::json::parse_value(text.as_bytes()).unwrap_or(Value::String(text.to_owned()));
    if param::kind(&value) != declared.kind() {
        return Err(OverrideError::Type {
            key: short(key),
            declared: declared.kind(),
            found: param::kind(&value),
            value: short(text),
        });
    }
    value_of(key, text, value)
}

fn value_of(key: &str, text: &str, value: Value) -> Result<ParamValue, OverrideError> {
    ParamValue::new(value).map_err(|error: ParamError| OverrideError::Value {
        key: short(key),
        value: short(text),
        reason: error.to_string(),
    })
}

fn determinism(text: &str) -> Option<Determinism> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    Determinism::deserialize(text).ok()
}

fn unknown(pipeline: &Pipeline, key: &str) -> OverrideError {
    let data: Vec<String> = pipeline.data.keys().map(|name: &DataName| format!("data.{name}")).collect();
    let params = pipeline.params.keys().map(ParamName::as_str);
    let all = params.chain(data.iter().map(String::as_str)).chain(["seed", "determinism"]);
    OverrideError::Unknown { key: short(key), hint: hint(key, all) }
}

fn short(text: &str) -> String {
    const LIMIT_CHARS: usize = 80;
    text.chars().take(LIMIT_CHARS).collect()
}
