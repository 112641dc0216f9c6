//! Finds the recorded number in an answer of the Open Inference Protocol v2.
//!
//! The reading stops at the number, so that a large tensor costs no more than a small one.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The first number (row-major) of the output tensor `output`; booleans count as 0 and 1. `None` if the body is not
/// such an answer or its first element is not a number. What follows the number is not checked.
pub(crate) fn first_number(body: &[u8], output: &str) -> Option<f64> {
    let found = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(body);
    // Ends with an error on purpose when the number is found: that is how the reading stops.
    let _ = reader.deserialize_map(Answer(Search { output, found: &found }));
    found.get()
}

#[derive(Clone, Copy)]
struct Search<'a> {
    output: &'a str,
    found: &'a Cell<Option<f64>>,
}

struct Answer<'a>(Search<'a>);
struct Outputs<'a>(Search<'a>);
struct Tensor<'a>(Search<'a>);

/// Reads the first element of possibly nested arrays. With `stop` it then ends the reading.
struct Data<'a> {
    search: Search<'a>,
    stop: bool,
}

impl<'de> Visitor<'de> for Answer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an inference answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(key) = fields.next_key::<std::borrow::Cow<'_, str>>()? {
            if key == "outputs" {
                fields.next_value_seed(Outputs(self.0))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Outputs<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Outputs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("output tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tensors: A) -> Result<(), A::Error> {
        while tensors.next_element_seed(Tensor(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Tensor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an output tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut wanted = None;
        let mut number = None;
        while let Some(key) = fields.next_key::<std::borrow::Cow<'_, str>>()? {
            match (key.as_ref(), wanted) {
                ("name", _) => {
                    wanted = Some(fields.next_value::<std::borrow::Cow<'_, str>>()? == self.0.output);
                }
                ("data", None | Some(true)) => {
                    number = fields.next_value_seed(Data { search: self.0, stop: wanted == Some(true) })?;
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        if wanted == Some(true) && number.is_some() {
            self.0.found.set(number);
            return Err(A::Error::custom("found"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl Data<'_> {
    fn end<E: Error>(self, number: f64) -> Result<Option<f64>, E> {
        if self.stop {
            self.search.found.set(Some(number));
            return Err(E::custom("found"));
        }
        Ok(Some(number))
    }
}

impl<'de> Visitor<'de> for Data<'_> {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensor data")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Self::Value, E> {
        self.end(v)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
        self.end(v as f64)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
        self.end(v as f64)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Self::Value, E> {
        self.end(f64::from(u8::from(v)))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let first = items.next_element_seed(self)?.flatten();
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

#[cfg(test)]
mod tests;
