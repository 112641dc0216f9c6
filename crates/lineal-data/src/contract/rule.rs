//! One promise and what was counted against it.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::scalar::{ColumnType, Numeric, Scalar};
use crate::table::shown;

use super::ColumnContract;

/// A promise about the cells of a column.
pub(super) enum Rule<'c> {
    /// Non-null cells fit the type.
    Type(ColumnType),
    /// No nulls.
    Required,
    /// Numbers are not below.
    Min(Numeric),
    /// Numbers are not above.
    Max(Numeric),
    /// Non-null cells are one of these.
    Allowed(HashSet<&'c str>),
    /// Share of nulls over all files; nulls are tallied, the share is taken at the end.
    NullFraction(f64),
}

/// What was counted against a promise.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) violations: u64,
    /// The first offence, with its place.
    pub(super) first: Option<String>,
    /// Why some rows were not looked at.
    pub(super) unevaluated: Option<String>,
}

/// Longest list of allowed values in the text of a check.
const LISTED_LIMIT: usize = 20;

impl<'c> Rule<'c> {
    pub(super) fn all_of(column: &'c ColumnContract) -> Vec<Self> {
        let required = column.required.then_some(Rule::Required);
        let allowed = column.allowed.as_ref();
        let allowed = allowed.map(|texts| Rule::Allowed(texts.iter().map(String::as_str).collect()));
        let rules = [
            Some(Rule::Type(column.column_type)),
            required,
            column.min.map(Rule::Min),
            column.max.map(Rule::Max),
            allowed,
            column.max_null_fraction.map(Rule::NullFraction),
        ];
        rules.into_iter().flatten().collect()
    }

    /// The promise in words, such as `only EWR, JFK, LGA`.
    pub(super) fn text(&self, column: &ColumnContract) -> String {
        match self {
            Self::Type(column_type) => format!("type {}", type_name(*column_type)),
            Self::Required => "no nulls".to_owned(),
            Self::Min(least) => format!("at least {least}"),
            Self::Max(most) => format!("at most {most}"),
            Self::Allowed(_) => {
                let texts = column.allowed.as_deref().unwrap_or_default();
                let listed: Vec<_> = texts.iter().take(LISTED_LIMIT).map(|text| shown(text)).collect();
                match texts.len().checked_sub(LISTED_LIMIT) {
                    Some(more @ 1..) => format!("only {} and {more} more", listed.join(", ")),
                    Some(0) | None => format!("only {}", listed.join(", ")),
                }
            }
            Self::NullFraction(fraction) => format!("null fraction at most {fraction}"),
        }
    }

    /// Whether the rule needs to know what the cell means.
    pub(super) fn needs_scalar(&self) -> bool {
        match self {
            Self::Type(column_type) => *column_type != ColumnType::String,
            Self::Min(_) | Self::Max(_) => true,
            Self::Required | Self::Allowed(_) | Self::NullFraction(_) => false,
        }
    }

    /// Whether a null speaks against the promise.
    pub(super) fn null_offends(&self) -> bool {
        match self {
            Self::Required | Self::NullFraction(_) => true,
            Self::Type(_) | Self::Min(_) | Self::Max(_) | Self::Allowed(_) => false,
        }
    }

    /// Whether a non-null cell speaks against the promise.
    pub(super) fn offends(&self, text: &str, scalar: Scalar) -> bool {
        let number = match scalar {
            Scalar::Numeric(number) => Some(number),
            Scalar::Boolean(_) | Scalar::Timestamp(_) | Scalar::Text => None,
        };
        match self {
            Self::Type(column_type) => !column_type.accepts(scalar.column_type()),
            Self::Min(least) => number.is_some_and(|n| n.compare(*least) == Some(Ordering::Less)),
            Self::Max(most) => number.is_some_and(|n| n.compare(*most) == Some(Ordering::Greater)),
            Self::Allowed(texts) => !texts.contains(text),
            Self::Required | Self::NullFraction(_) => false,
        }
    }
}

impl Tally {
    /// Counts one violation; `first` is asked for its words once.
    pub(super) fn violate(&mut self, first: impl FnOnce() -> String) {
        self.violations += 1;
        if self.first.is_none() {
            self.first = Some(first());
        }
    }

    /// Notes that not everything could be looked at.
    pub(super) fn miss(&mut self, reason: &str) {
        self.unevaluated.get_or_insert_with(|| reason.to_owned());
    }

    /// Nothing speaks against the promise and everything was looked at.
    pub(super) fn held(&self) -> bool {
        self.violations == 0 && self.unevaluated.is_none()
    }

    /// The first offence with the number of all, and what was missed. `unit` is what is counted.
    pub(super) fn detail(&self, unit: &str) -> Option<String> {
        let offence = self.first.as_ref().map(|first| {
            let plural = if self.violations == 1 { "" } else { "s" };
            format!("{first} ({} {unit}{plural} in all)", self.violations)
        });
        let missed = self.unevaluated.as_ref().map(|reason| format!("not fully evaluated: {reason}"));
        match (offence, missed) {
            (Some(offence), Some(missed)) => Some(format!("{offence}; {missed}")),
            (offence, missed) => offence.or(missed),
        }
    }
}

fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Null => "null",
        ColumnType::Boolean => "boolean",
        ColumnType::Integer => "integer",
        ColumnType::Number => "number",
        ColumnType::Timestamp => "timestamp",
        ColumnType::String => "string",
    }
}
