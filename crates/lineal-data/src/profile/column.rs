//! The running state of one column.

use std::cmp::Ordering;

use crate::scalar::{ColumnType, Instant, Numeric, Scalar};

use super::distinct::DistinctValues;
use super::{ColumnProfile, LengthSummary, NumberSummary, TOP_LIMIT, TimeSummary, TopValue};

#[derive(Clone)]
pub(super) struct ColumnState {
    name: String,
    column_type: ColumnType,
    nulls: u64,
    integers: Option<(i64, i64)>,
    moments: Moments,
    times: Option<(Time, Time)>,
    /// Shortest and longest text, in characters.
    lengths: Option<(u64, u64)>,
    values: DistinctValues,
}

/// A point in time with its text; of two spellings the lesser one counts, so that the row order does not matter.
type Time = (Instant, Box<str>);

/// Welford's running mean and sum of squared deviations; Chan's formula merges two.
#[derive(Clone, Copy)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl ColumnState {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            column_type: ColumnType::Null,
            nulls: 0,
            integers: None,
            moments: Moments {
                count: 0,
                mean: 0.0,
                squares: 0.0,
                min: f64::INFINITY,
                max: f64::NEG_INFINITY,
            },
            times: None,
            lengths: None,
            values: DistinctValues::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn add_null(&mut self) {
        self.nulls += 1;
    }

    pub(super) fn add(&mut self, text: &str) {
        self.values.add(text);
        let length = if text.is_ascii() { text.len() } else { text.chars().count() } as u64;
        self.lengths = widened(self.lengths, length, length);
        // A string column stays one, and its numbers and times are never reported.
        if self.column_type == ColumnType::String {
            return;
        }
        let scalar = Scalar::of(text);
        self.column_type = self.column_type.join(scalar.column_type());
        match scalar {
            Scalar::Numeric(number) => {
                self.moments.add(number.as_f64());
                if let Numeric::Integer(n) = number {
                    self.integers = widened(self.integers, n, n);
                }
            }
            Scalar::Timestamp(instant) => self.add_time(instant, text),
            Scalar::Boolean(_) | Scalar::Text => {}
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.column_type = self.column_type.join(other.column_type);
        self.nulls += other.nulls;
        if let Some((least, most)) = other.integers {
            self.integers = widened(self.integers, least, most);
        }
        if let Some((least, most)) = other.lengths {
            self.lengths = widened(self.lengths, least, most);
        }
        if let Some((first, last)) = other.times {
            self.add_time(first.0, &first.1);
            self.add_time(last.0, &last.1);
        }
        self.moments.merge(other.moments);
        self.values.merge(other.values);
    }

    pub(super) fn finish(&self) -> ColumnProfile {
        let is = |wanted: &[ColumnType]| wanted.contains(&self.column_type);
        let numbers = if is(&[ColumnType::Integer, ColumnType::Number]) { self.numbers() } else { None };
        let times = self.times.as_ref().filter(|_| is(&[ColumnType::Timestamp]));
        let lengths = self.lengths.filter(|_| is(&[ColumnType::String]));
        let top = if is(&[ColumnType::String, ColumnType::Boolean]) { self.top() } else { Vec::new() };
        ColumnProfile {
            name: self.name.clone(),
            column_type: self.column_type,
            nulls: self.nulls,
            distinct: self.values.distinct(),
            numbers,
            times: times
                .map(|(first, last)| TimeSummary { min: first.1.to_string(), max: last.1.to_string() }),
            lengths: lengths.map(|(min, max)| LengthSummary { min, max }),
            top,
        }
    }

    fn add_time(&mut self, instant: Instant, text: &str) {
        let (first, last) =
            self.times.get_or_insert_with(|| ((instant, text.into()), (instant, text.into())));
        let lesser = |present: &str| text < present;
        match instant.cmp(&first.0) {
            Ordering::Less => *first = (instant, text.into()),
            Ordering::Equal if lesser(&first.1) => first.1 = text.into(),
            Ordering::Equal | Ordering::Greater => {}
        }
        match instant.cmp(&last.0) {
            Ordering::Greater => *last = (instant, text.into()),
            Ordering::Equal if lesser(&last.1) => last.1 = text.into(),
            Ordering::Equal | Ordering::Less => {}
        }
    }

    fn numbers(&self) -> Option<NumberSummary> {
        let moments = self.moments;
        if moments.count == 0 {
            return None;
        }
        let (min, max) = match (self.column_type, self.integers) {
            (ColumnType::Integer, Some((least, most))) => (Numeric::Integer(least), Numeric::Integer(most)),
            (_, _) => (Numeric::Number(moments.min), Numeric::Number(moments.max)),
        };
        let finite = |n: f64| Some(Numeric::Number(n)).filter(|n| n.is_finite());
        let variance = moments.squares / (moments.count.saturating_sub(1)) as f64;
        Some(NumberSummary { min, max, mean: finite(moments.mean), sd: finite(variance.sqrt()) })
    }

    fn top(&self) -> Vec<TopValue> {
        let mut counts = self.values.counts();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let values = counts.into_iter().take(TOP_LIMIT);
        values.map(|(value, count)| TopValue { value: value.to_owned(), count }).collect()
    }
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let total = (self.count + other.count) as f64;
        let share = other.count as f64 / total;
        let delta = other.mean - self.mean;
        self.mean += delta * share;
        self.squares += other.squares + delta * delta * share * self.count as f64;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

fn widened<T: Ord + Copy>(range: Option<(T, T)>, least: T, most: T) -> Option<(T, T)> {
    Some(range.map_or((least, most), |(a, b)| (a.min(least), b.max(most))))
}
