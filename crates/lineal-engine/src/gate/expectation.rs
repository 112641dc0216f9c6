//! What a report must say: bounds by path.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most segments of a path.
pub const SEGMENT_LIMIT: usize = 16;

/// Bounds by path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Expectations(BTreeMap<MetricPath, Bound>);

impl Expectations {
    /// Paths and bounds in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&MetricPath, &Bound)> {
        self.0.iter()
    }

    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(MetricPath, Bound)> for Expectations {
    fn from_iter<I: IntoIterator<Item = (MetricPath, Bound)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Keys from the top of a report, joined by `.`; a `*` stands for every key. A key that contains `.` or is `*` cannot
/// be named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricPath(Vec<String>);

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a metric path; join keys by `.`, with `*` for every key, at most {SEGMENT_LIMIT}")]
pub struct PathError(String);

impl MetricPath {
    /// The keys.
    pub fn segments(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for MetricPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let segments: Vec<String> = text.split('.').take(SEGMENT_LIMIT + 1).map(str::to_owned).collect();
        let good = |segment: &String| {
            !segment.is_empty()
                && (segment == "*" || !segment.contains('*'))
                && !segment.chars().any(char::is_control)
        };
        if segments.len() > SEGMENT_LIMIT || !segments.iter().all(good) {
            return Err(PathError(text.chars().take(80).collect()));
        }
        Ok(Self(segments))
    }
}

impl fmt::Display for MetricPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

impl Serialize for MetricPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetricPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a number must be. At least one of `min` and `max`; both are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BoundFields", into = "BoundFields")]
pub struct Bound {
    min: Option<f64>,
    max: Option<f64>,
    min_rows: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_rows: Option<u64>,
}

impl Bound {
    /// The fewest rows (the `rows` beside the metric) a slice must have to be tested.
    pub const fn min_rows(&self) -> Option<u64> {
        self.min_rows
    }

    /// Whether `number` is within the bounds.
    pub fn holds(&self, number: f64) -> bool {
        self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
    }
}

impl TryFrom<BoundFields> for Bound {
    type Error = &'static str;

    fn try_from(fields: BoundFields) -> Result<Self, Self::Error> {
        let BoundFields { min, max, min_rows } = fields;
        if min.is_none() && max.is_none() {
            return Err("an expectation needs `min` or `max`");
        }
        if [min, max].into_iter().flatten().any(|bound| !bound.is_finite()) {
            return Err("`min` and `max` must be finite numbers");
        }
        if min.zip(max).is_some_and(|(min, max)| min > max) {
            return Err("`min` is larger than `max`, so nothing can pass");
        }
        Ok(Self { min, max, min_rows })
    }
}

impl From<Bound> for BoundFields {
    fn from(bound: Bound) -> Self {
        Self { min: bound.min, max: bound.max, min_rows: bound.min_rows }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "min {min}, max {max}"),
            (Some(min), None) => write!(f, "min {min}"),
            (None, Some(max)) => write!(f, "max {max}"),
            (None, None) => f.write_str("no bound"),
        }
    }
}
