//! What the columns of a table hold, in one pass and with memory that grows with the columns only.
//!
//! [`Profiler`] gathers, [`Profile`] is the finished document and [`Schema`] its short form. Merging two profilers
//! gives what one pass over both tables gives, whatever the order: rows, nulls, types, distinct counts (exact and
//! estimated), minima, maxima, lengths and frequent values are equal; mean and deviation differ by rounding only.

mod column;
mod distinct;
mod document;

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::scalar::{ColumnType, NullValues, Numeric};
use crate::table::{TableError, TableReader, shown};

use self::column::ColumnState;

pub use self::distinct::{DISTINCT_LIMIT, DISTINCT_LIMIT_BYTES};
pub(crate) use self::document::decimal;
pub use self::document::{DOCUMENT_LIMIT_BYTES, DocumentError};

/// Most frequent values that a profile lists for a column.
pub const TOP_LIMIT: usize = 10;

/// Gathers a profile over any number of files with the same columns.
#[derive(Clone)]
pub struct Profiler {
    nulls: NullValues,
    rows: u64,
    /// `None` until the first table.
    columns: Option<Vec<ColumnState>>,
}

/// Why tables cannot be profiled together.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file is not an acceptable table.
    #[error("not an acceptable table")]
    Table(#[from] TableError),
    /// The columns differ, by name or order.
    #[error(
        "column {position} is {actual}, expected {expected}; one profile covers files with the same columns"
    )]
    Columns {
        /// Position from 1 of the first difference.
        position: usize,
        /// The column so far.
        expected: String,
        /// The column of the added table.
        actual: String,
    },
    /// The profilers disagree on what is null.
    #[error("the profiles use different null values; profile both with the same ones")]
    NullValues,
}

/// The finished profile of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Rows of all files.
    pub rows: u64,
    /// One entry for each column, in order.
    pub columns: Vec<ColumnProfile>,
}

/// One column. Fields that do not apply to its type are empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnProfile {
    /// Name of the column.
    pub name: String,
    /// The least type that fits every non-null cell.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// Null cells.
    #[serde(with = "document::decimal")]
    pub nulls: u64,
    /// Different non-null texts (`1` and `1.0` are two).
    pub distinct: Distinct,
    /// Of `integer` and `number` columns with a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NumberSummary>,
    /// Of `timestamp` columns with a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<TimeSummary>,
    /// Of `string` columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<LengthSummary>,
    /// Up to [`TOP_LIMIT`] values of `string` and `boolean` columns, most frequent first, then by text. Empty when
    /// the distinct count is an estimate, because the counts would be too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TopValue>,
}

/// How many different texts a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distinct {
    /// The number.
    #[serde(with = "document::decimal")]
    pub count: u64,
    /// False beyond [`DISTINCT_LIMIT`] values or [`DISTINCT_LIMIT_BYTES`]: then a HyperLogLog estimate, standard
    /// error 1.6 percent.
    pub exact: bool,
}

/// Range and moments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberSummary {
    /// Least value; exact in `integer` columns.
    pub min: Numeric,
    /// Greatest value; exact in `integer` columns.
    pub max: Numeric,
    /// Mean; absent if it overflows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Numeric>,
    /// Sample standard deviation (n - 1); absent for one value or if it overflows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<Numeric>,
}

/// First and last point in time, as written in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSummary {
    /// First.
    pub min: String,
    /// Last.
    pub max: String,
}

/// Shortest and longest text in characters (Unicode scalar values).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthSummary {
    /// Shortest.
    #[serde(with = "document::decimal")]
    pub min: u64,
    /// Longest.
    #[serde(with = "document::decimal")]
    pub max: u64,
}

/// A frequent value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopValue {
    /// The text of the cell.
    pub value: String,
    /// Cells that hold it.
    #[serde(with = "document::decimal")]
    pub count: u64,
}

/// The columns of a table: names, types, nullability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// In table order.
    pub columns: Vec<SchemaColumn>,
}

/// One column of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaColumn {
    /// Name of the column.
    pub name: String,
    /// The least type that fits every non-null cell.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// Whether a null was seen.
    pub nullable: bool,
}

impl Profiler {
    /// A profiler that has seen nothing.
    pub fn new(nulls: NullValues) -> Self {
        Self { nulls, rows: 0, columns: None }
    }

    /// Reads a whole table. On an error nothing of it is counted.
    pub fn add<R: Read>(&mut self, mut table: TableReader<R>) -> Result<(), ProfileError> {
        let mut columns: Vec<_> = table.columns().iter().map(|name| ColumnState::new(name)).collect();
        let mut rows = 0;
        while let Some(row) = table.next_row()? {
            rows = row.number();
            for (column, cell) in columns.iter_mut().zip(row.cells()) {
                if self.nulls.contains(cell) {
                    column.add_null();
                } else {
                    column.add(cell);
                }
            }
        }
        self.absorb(rows, columns)
    }

    /// Adds what `other` has seen. On an error nothing changes.
    pub fn merge(&mut self, other: Self) -> Result<(), ProfileError> {
        if self.nulls != other.nulls {
            return Err(ProfileError::NullValues);
        }
        match other.columns {
            Some(columns) => self.absorb(other.rows, columns),
            None => Ok(()),
        }
    }

    /// The profile of everything added; no columns when there was no table.
    pub fn finish(&self) -> Profile {
        let columns = self.columns.iter().flatten().map(ColumnState::finish).collect();
        Profile { rows: self.rows, columns }
    }

    fn absorb(&mut self, rows: u64, columns: Vec<ColumnState>) -> Result<(), ProfileError> {
        match &mut self.columns {
            None => self.columns = Some(columns),
            Some(present) => {
                check_same(present, &columns)?;
                for (column, other) in present.iter_mut().zip(columns) {
                    column.merge(other);
                }
            }
        }
        self.rows += rows;
        Ok(())
    }
}

impl Profile {
    /// The short form.
    pub fn schema(&self) -> Schema {
        let columns = self.columns.iter().map(|column| SchemaColumn {
            name: column.name.clone(),
            column_type: column.column_type,
            nullable: column.nulls > 0,
        });
        Schema { columns: columns.collect() }
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnProfile> {
        self.columns.iter().find(|column| column.name == name)
    }
}

fn check_same(present: &[ColumnState], added: &[ColumnState]) -> Result<(), ProfileError> {
    let name = |columns: &[ColumnState], position: usize| match columns.get(position) {
        Some(column) => format!("`{}`", shown(column.name())),
        None => "absent".to_owned(),
    };
    let length = present.len().max(added.len());
    let same = |i: &usize| present.get(*i).map(ColumnState::name) == added.get(*i).map(ColumnState::name);
    match (0..length).find(|i| !same(i)) {
        None => Ok(()),
        Some(i) => {
            Err(ProfileError::Columns { position: i + 1, expected: name(present, i), actual: name(added, i) })
        }
    }
}

#[cfg(test)]
mod tests;
