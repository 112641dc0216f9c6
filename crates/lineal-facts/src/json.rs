//! Canonical JSON (RFC 8785) and a strict reader.
//!
//! Bytes that are hashed are always made by [`canonical`]; bytes that were signed are never re-serialised.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting that the strict reader accepts; serde_json itself stops at 128.
pub const DEPTH_LIMIT: usize = 64;

/// Why a text was refused or a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, nested too deeply, or a duplicate key.
    #[error("not acceptable JSON: {0}")]
    Syntax(String),
    /// JSON, but not the document that was expected.
    #[error("unexpected JSON document: {0}")]
    Shape(String),
}

/// The RFC 8785 bytes of `value`: no spaces, keys sorted by UTF-16 code units, numbers as ECMAScript writes them.
///
/// Integers that a double cannot carry are refused, because RFC 8785 would write other digits; sign such values as
/// strings.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    let value = serde_json::to_value(value).map_err(|e| JsonError::Shape(e.to_string()))?;
    let mut out = String::new();
    write_value(&value, &mut out)?;
    Ok(out.into_bytes())
}

/// Reads a document, refusing duplicate keys at any depth, nesting beyond [`DEPTH_LIMIT`] and trailing bytes.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let value = parse_value(bytes)?;
    serde_json::from_value(value).map_err(|e| JsonError::Shape(e.to_string()))
}

/// Like [`parse`], but yields the untyped value.
pub fn parse_value(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde::de::DeserializeSeed::deserialize(Strict(0), &mut reader)
        .map_err(|e| JsonError::Syntax(e.to_string()))?;
    reader.end().map_err(|e| JsonError::Syntax(e.to_string()))?;
    Ok(value)
}

fn write_value(value: &Value, out: &mut String) -> Result<(), JsonError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out)?,
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_value(item, out)?;
            }
            out.push(']');
        }
        Value::Object(fields) => write_object(fields, out)?,
    }
    Ok(())
}

fn write_object(fields: &Map<String, Value>, out: &mut String) -> Result<(), JsonError> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
    out.push('{');
    for (position, (key, value)) in sorted.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write_value(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_number(number: &Number, out: &mut String) -> Result<(), JsonError> {
    let mut buffer = ryu_js::Buffer::new();
    let text = number.as_f64().filter(|f| f.is_finite()).map(|float| buffer.format_finite(float));
    match text {
        // An integer whose double would be written with other digits does not survive a reader that uses doubles.
        Some(text) if number.is_f64() || text == number.to_string() => {
            out.push_str(text);
            Ok(())
        }
        _ => Err(JsonError::Shape(format!(
            "number {number} has no exact canonical form; write it as a string"
        ))),
    }
}

fn write_string(text: &str, out: &mut String) {
    use fmt::Write;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Strict(usize);

impl<'de> serde::de::DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 > DEPTH_LIMIT {
            return Err(serde::de::Error::custom(format!("nested deeper than {DEPTH_LIMIT}")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(Self(self.0 + 1))? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(Self(self.0 + 1))?;
            if out.insert(key.clone(), value).is_some() {
                return Err(serde::de::Error::custom(format!(
                    "duplicate key `{}`",
                    crate::digest::shorten(&key)
                )));
            }
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests;
