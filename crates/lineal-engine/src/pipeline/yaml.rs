//! Reading YAML from outside: bounded in size, depth and what aliases expand to; duplicate keys are refused.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Largest file in bytes.
pub const FILE_LIMIT_BYTES: usize = 1 << 20;
/// Most values in a file, each alias counted as often as it is used.
const NODE_LIMIT: usize = 500_000;
/// Most bytes of text in a file, each alias counted as often as it is used.
const TEXT_LIMIT_BYTES: usize = 4 << 20;
/// Deepest nesting.
const DEPTH_LIMIT: usize = 32;

/// Why bytes are not an acceptable YAML document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// Beyond [`FILE_LIMIT_BYTES`].
    #[error("the file has {0} bytes; at most {FILE_LIMIT_BYTES} are read")]
    TooLarge(usize),
    /// Not YAML, beyond a limit, a duplicate key, or not the fields that were expected. The text names the field and,
    /// where it is known, the line.
    #[error("{0}")]
    Content(String),
    /// Another kind of document.
    #[error("{field} is `{found}`; expected `{expected}`")]
    Kind {
        /// `apiVersion` or `kind`.
        field: &'static str,
        /// What the file says.
        found: String,
        /// What this build reads.
        expected: &'static str,
    },
}

/// The only `apiVersion` that is read.
pub const API_VERSION: &str = "lineal.dev/v1alpha1";

/// Reads one document of this `kind`.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], kind: &'static str) -> Result<T, YamlError> {
    if bytes.len() > FILE_LIMIT_BYTES {
        return Err(YamlError::TooLarge(bytes.len()));
    }
    check_nesting(bytes)?;
    let mut budget = Budget { nodes: NODE_LIMIT, text_bytes: TEXT_LIMIT_BYTES };
    let reader = serde_norway::Deserializer::from_slice(bytes);
    Checked { budget: &mut budget, depth: 0 }.deserialize(reader).map_err(content)?;
    let header: Header = serde_norway::from_slice(bytes).map_err(content)?;
    let wrong = |field, found, expected| Err(YamlError::Kind { field, found, expected });
    if header.api_version != API_VERSION {
        return wrong("apiVersion", header.api_version, API_VERSION);
    }
    if header.kind != kind {
        return wrong("kind", header.kind, kind);
    }
    serde_norway::from_slice(bytes).map_err(content)
}

/// The text begins with the path of the field and ends with the line; the middle of a long one is dropped.
fn content(error: serde_norway::Error) -> YamlError {
    const KEPT_CHARS: usize = 300;
    let text = error.to_string();
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 2 * KEPT_CHARS {
        return YamlError::Content(text);
    }
    let start: String = chars.iter().take(KEPT_CHARS).collect();
    let end: String = chars.iter().skip(chars.len() - KEPT_CHARS).collect();
    YamlError::Content(format!("{start} ... {end}"))
}

/// The YAML scanner takes quadratic time over open brackets, so their number is bounded before it starts. Brackets
/// in texts and comments count too, which errs on the side of refusal only beyond any file a person writes.
fn check_nesting(bytes: &[u8]) -> Result<(), YamlError> {
    const OPEN_LIMIT: usize = 1000;
    let mut open = 0_usize;
    for byte in bytes {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > OPEN_LIMIT {
            return Err(YamlError::Content(format!("more than {OPEN_LIMIT} brackets are open at once")));
        }
    }
    Ok(())
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: String,
    kind: String,
}

struct Budget {
    nodes: usize,
    text_bytes: usize,
}

impl Budget {
    fn node<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.nodes = self.nodes.checked_sub(1).ok_or_else(|| {
            E::custom(format!("more than {NODE_LIMIT} values, counting aliases as often as they are used"))
        })?;
        Ok(())
    }

    fn text<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        self.text_bytes = self.text_bytes.checked_sub(text.len()).ok_or_else(|| {
            E::custom(format!(
                "more than {TEXT_LIMIT_BYTES} bytes of text, counting aliases as often as used"
            ))
        })?;
        Ok(())
    }
}

/// Walks a document without keeping it.
struct Checked<'a> {
    budget: &'a mut Budget,
    depth: usize,
}

impl Checked<'_> {
    fn inner(&mut self) -> Checked<'_> {
        Checked { budget: self.budget, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > DEPTH_LIMIT {
            return Err(D::Error::custom(format!("nested deeper than {DEPTH_LIMIT}")));
        }
        self.budget.node()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain YAML value without tags")
    }

    /// What the reader yields for a file without any document.
    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom("the file is empty"))
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.budget.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            self.budget.text(&key)?;
            let duplicate = seen.contains(&key);
            if duplicate {
                return Err(A::Error::custom(format!("key `{key}` occurs twice; remove one of them")));
            }
            fields.next_value_seed(self.inner())?;
            seen.insert(key);
        }
        Ok(())
    }
}
