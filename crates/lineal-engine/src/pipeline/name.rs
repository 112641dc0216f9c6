//! Names that mean something within one pipeline file only.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use lineal_facts::name::NAME_LIMIT_BYTES;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a name within a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} name; {rule}")]
pub struct LocalNameError {
    text: String,
    kind: &'static str,
    rule: &'static str,
}

macro_rules! local_names {
    ($($(#[$doc:meta])* $type:ident, $kind:literal, $check:ident, $rule:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = LocalNameError;

            fn from_str(text: &str) -> Result<Self, LocalNameError> {
                if (1..=NAME_LIMIT_BYTES).contains(&text.len()) && $check(text) {
                    return Ok(Self(text.to_owned()));
                }
                let text = text.chars().take(80).collect();
                Err(LocalNameError { text, kind: $kind, rule: $rule })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

local_names! {
    /// An output of a step; a file of that name is what the next step reads.
    OutputName, "output", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// An input of a step.
    InputName, "input", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// A dataset snapshot that the pipeline reads.
    DataName, "data", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// A software environment that steps run in.
    EnvName, "env", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// A parameter. `seed` and `determinism` are taken: they mean the whole pipeline on the command line.
    ParamName, "param", is_param,
        "use letters, digits, `-` and `_`, start with a letter, at most 63, and not `seed` or `determinism`";
}

fn is_local(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

fn is_param(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !matches!(text, "seed" | "determinism")
}
