//! Texts of a pipeline file that follow a rule, each a type of its own.

/// Longest part of a wrong text that is shown.
const SHOWN_CHARS: usize = 80;

/// Why a text is not what a pipeline file needs in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}; {rule}")]
pub struct TextError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl TextError {
    pub(super) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: text.chars().take(SHOWN_CHARS).collect(), what, rule }
    }
}

/// Types around a text: their descriptions, what they are called, what tells a good text, and what to write instead of a
/// wrong one.
macro_rules! texts {
    ($($(#[$doc:meta])* $type:ident, $what:literal, $check:ident, $rule:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::pipeline::TextError;

            fn from_str(text: &str) -> Result<Self, crate::pipeline::TextError> {
                if $check(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(crate::pipeline::TextError::new(text, $what, $rule))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

pub(super) use texts;
