//! What the text of one cell means, and the lattice of column types.

mod timestamp;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use lineal_facts::json;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use timestamp::Instant;

/// Most null tokens of a table.
pub const NULL_TOKEN_LIMIT: usize = 100;

/// The type of a column: the least one that fits every non-null cell.
///
/// `null` < {`boolean`, `integer` < `number`, `timestamp`} < `string`. Two types without a common one below
/// `string` meet in `string`, so the order of the rows does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// No value was seen.
    Null,
    /// `true` or `false` in lower, upper or title case.
    Boolean,
    /// Decimal digits with an optional sign that fit 64 bits. `007` is a code, hence a string.
    Integer,
    /// A finite decimal number; also an integer beyond 64 bits. `NaN` and `inf` are strings.
    Number,
    /// An RFC 3339 date, or date and time; `T` or a space between, offset and seconds optional.
    Timestamp,
    /// Any text.
    String,
}

/// One cell, understood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// See [`ColumnType::Boolean`].
    Boolean(bool),
    /// See [`ColumnType::Integer`] and [`ColumnType::Number`].
    Numeric(Numeric),
    /// See [`ColumnType::Timestamp`].
    Timestamp(Instant),
    /// Anything else.
    Text,
}

/// A number as it was written: exact when it is an integer of 64 bits. Serialised as a string.
#[derive(Debug, Clone, Copy)]
pub enum Numeric {
    /// Exact.
    Integer(i64),
    /// Finite, unless arithmetic made it otherwise; those are not put into documents.
    Number(f64),
}

/// Texts that stand for "no value".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NullValues(Vec<String>);

/// Why a text is not a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number")]
pub struct NumericError(String);

/// More than [`NULL_TOKEN_LIMIT`] null tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} null values; at most {NULL_TOKEN_LIMIT}")]
pub struct NullValuesError(usize);

impl ColumnType {
    /// The least type that holds both.
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Null, a) | (a, Self::Null) => a,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            (
                Self::Boolean | Self::Integer | Self::Number | Self::Timestamp | Self::String,
                Self::Boolean | Self::Integer | Self::Number | Self::Timestamp | Self::String,
            ) => Self::String,
        }
    }

    /// Whether a value of type `other` may stand in a column of this type.
    pub fn accepts(self, other: Self) -> bool {
        self.join(other) == self
    }
}

impl Scalar {
    /// Understands a non-null cell. Nothing is trimmed: ` 1` is text.
    pub fn of(text: &str) -> Self {
        match text.as_bytes() {
            [b'0'..=b'9' | b'+' | b'-' | b'.', ..] => match parse_numeric(text) {
                Some(number) => Self::Numeric(number),
                None => Instant::parse(text).map_or(Self::Text, Self::Timestamp),
            },
            b"true" | b"True" | b"TRUE" => Self::Boolean(true),
            b"false" | b"False" | b"FALSE" => Self::Boolean(false),
            _ => Self::Text,
        }
    }

    /// The least column type that holds this cell.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::Boolean(_) => ColumnType::Boolean,
            Self::Numeric(Numeric::Integer(_)) => ColumnType::Integer,
            Self::Numeric(Numeric::Number(_)) => ColumnType::Number,
            Self::Timestamp(_) => ColumnType::Timestamp,
            Self::Text => ColumnType::String,
        }
    }
}

impl Numeric {
    /// As a float; integers beyond 2^53 are rounded.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(n) => n as f64,
            Self::Number(n) => n,
        }
    }

    /// Whether it can be written.
    pub fn is_finite(self) -> bool {
        self.as_f64().is_finite()
    }

    /// Compares by value, exactly; `None` only when one is not a number.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            // Rounding keeps the order, so only a tie of the rounded values needs the exact ones. A tie means
            // that the float is a whole number, which 128 bits hold.
            (Self::Integer(a), Self::Number(b)) => {
                let rounded = (a as f64).partial_cmp(&b)?;
                Some(rounded.then_with(|| i128::from(a).cmp(&(b as i128))))
            }
            (Self::Number(_), Self::Integer(_)) => other.compare(self).map(Ordering::reverse),
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(&b),
        }
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other) == Some(Ordering::Equal)
    }
}

impl fmt::Display for Numeric {
    /// Integers in full, floats as ECMAScript writes them (shortest text that reads back as the same float).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(n) => write!(f, "{n}"),
            Self::Number(n) => {
                let bytes = json::canonical(n).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&bytes).map_err(|_| fmt::Error)?)
            }
        }
    }
}

impl FromStr for Numeric {
    type Err = NumericError;

    fn from_str(text: &str) -> Result<Self, NumericError> {
        parse_numeric(text).ok_or_else(|| NumericError(crate::table::shown(text)))
    }
}

impl Serialize for Numeric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_finite() {
            serializer.collect_str(self)
        } else {
            Err(serde::ser::Error::custom("a number that is not finite"))
        }
    }
}

impl<'de> Deserialize<'de> for Numeric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl NullValues {
    /// Cells that equal one of `tokens` are null; no token means no nulls.
    pub fn new(tokens: Vec<String>) -> Result<Self, NullValuesError> {
        if tokens.len() > NULL_TOKEN_LIMIT {
            return Err(NullValuesError(tokens.len()));
        }
        Ok(Self(tokens))
    }

    /// Whether the cell is null.
    pub fn contains(&self, text: &str) -> bool {
        self.0.iter().any(|token| token.len() == text.len() && token == text)
    }
}

impl Default for NullValues {
    /// The empty cell and `NA`.
    fn default() -> Self {
        Self(vec![String::new(), "NA".to_owned()])
    }
}

/// Powers of ten that a float holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Decimal digits that always fit below 2^53.
const EXACT_DIGITS: usize = 15;
/// Decimal digits that always fit in an `i64`.
const INTEGER_DIGITS: usize = 18;

/// `[+-] digits [. digits] [e [+-] digits]` without leading zeros; at least one digit in front of the exponent.
fn parse_numeric(text: &str) -> Option<Numeric> {
    let bytes = text.as_bytes();
    let negative = bytes.first() == Some(&b'-');
    let unsigned = if matches!(bytes.first(), Some(b'+' | b'-')) { &bytes[1..] } else { bytes };
    let (whole, mantissa) = digits(unsigned, 0);
    if whole > 1 && unsigned[0] == b'0' {
        return None;
    }
    if whole == unsigned.len() {
        return match whole {
            0 => None,
            1..=INTEGER_DIGITS => {
                let size = mantissa as i64;
                Some(Numeric::Integer(if negative { -size } else { size }))
            }
            _ => text.parse().map(Numeric::Integer).ok().or_else(|| parse_float(text)),
        };
    }
    let mut rest = &unsigned[whole..];
    let (mut places, mut mantissa) = (0, mantissa);
    if rest.first() == Some(&b'.') {
        (places, mantissa) = digits(&rest[1..], mantissa);
        rest = &rest[1 + places..];
    }
    if whole + places == 0 {
        return None;
    }
    if rest.is_empty() {
        if whole + places > EXACT_DIGITS {
            return parse_float(text);
        }
        // Both operands are exact, so one division rounds correctly (Clinger 1990).
        let size = mantissa as f64 / EXACT_POWERS[places];
        return Some(Numeric::Number(if negative { -size } else { size }));
    }
    let exponent = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E"))?;
    let exponent = if matches!(exponent.first(), Some(b'+' | b'-')) { &exponent[1..] } else { exponent };
    let complete = !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit);
    if complete { parse_float(text) } else { None }
}

/// Length and value of the leading digits, continuing `value`; the value wraps beyond 19 digits.
fn digits(bytes: &[u8], mut value: u64) -> (usize, u64) {
    let mut length = 0;
    while let Some(digit @ b'0'..=b'9') = bytes.get(length) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        length += 1;
    }
    (length, value)
}

fn parse_float(text: &str) -> Option<Numeric> {
    text.parse().ok().filter(|n: &f64| n.is_finite()).map(Numeric::Number)
}

#[cfg(test)]
mod tests;
