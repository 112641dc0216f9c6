//! Spans of time as people write them: `500ms`, `30s`, `10m`, `1h`.

use serde::{Deserialize, Deserializer};

/// Longest time that a file may ask for: a week.
pub const DURATION_LIMIT_MS: u64 = 7 * 24 * 3_600_000;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a duration; write a whole number and a unit, as in 500ms, 30s, 10m or 1h, at most 168h"
)]
pub struct DurationError(String);

/// Milliseconds of a text such as `10m`. Zero is not a duration.
pub fn parse_ms(text: &str) -> Result<u64, DurationError> {
    let error = || DurationError(text.chars().take(80).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(unit_ms).filter(|ms| (1..=DURATION_LIMIT_MS).contains(ms)).ok_or_else(error)
}

/// The serde form of an optional duration, in milliseconds.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_ms(&text).map(Some).map_err(serde::de::Error::custom)
}
