//! Contracts: the schema and quality promises of a dataset, as a YAML file.
//!
//! ```yaml
//! apiVersion: lineal.dev/v1alpha1
//! kind: Contract
//! metadata: {name: flights}
//! tables:
//!   - files: "flights-*.csv"      # `*` stands for any text within one path component
//!     min_rows: 20000             # in each file
//!     columns:                    # each must exist; other columns are free
//!       - {name: carrier, type: string, required: true}        # required: no nulls
//!       - {name: month, type: integer, min: 1, max: 12}
//!       - {name: dep_delay, type: number, max_null_fraction: 0.1}
//!       - {name: origin, type: string, allowed: [EWR, JFK, LGA]}
//!     null_values: ["", "NA"]     # the default
//! ```
//!
//! Type, bounds and allowed values are promises about the cells that are not null; bounds about those that are
//! numbers. [`Contract::check`] evaluates all of them in one pass over the files.

mod check;
mod glob;
mod rule;

use std::collections::HashSet;

use lineal_facts::DatasetName;
use serde::Deserialize;

use crate::scalar::{ColumnType, NullValues, NullValuesError, Numeric};
use crate::table::{COLUMN_LIMIT, shown};

pub use self::check::Check;

/// The only format version.
pub const API_VERSION: &str = "lineal.dev/v1alpha1";
/// The kind of document.
pub const KIND: &str = "Contract";
/// Largest contract file.
pub const CONTRACT_LIMIT_BYTES: usize = 1 << 20;
/// Most tables of a contract.
pub const TABLE_LIMIT: usize = 1_000;
/// Most allowed values of a column.
pub const ALLOWED_LIMIT: usize = 10_000;

/// A parsed contract whose promises make sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    name: DatasetName,
    tables: Vec<TableContract>,
}

/// The promises about the files that match one pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct TableContract {
    /// Pattern over snapshot paths.
    pub files: String,
    /// Least rows of each file.
    pub min_rows: Option<u64>,
    /// The promised columns.
    pub columns: Vec<ColumnContract>,
    /// What counts as null.
    pub null_values: NullValues,
}

/// The promises about one column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnContract {
    /// Name of the column.
    pub name: String,
    /// Type that every non-null cell fits.
    pub column_type: ColumnType,
    /// Whether nulls are excluded.
    pub required: bool,
    /// Least number.
    pub min: Option<Numeric>,
    /// Greatest number.
    pub max: Option<Numeric>,
    /// Greatest share of null cells over all files, 0 to 1.
    pub max_null_fraction: Option<f64>,
    /// The only texts that may occur.
    pub allowed: Option<Vec<String>>,
}

/// Why a file is not a contract.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ContractError {
    /// More than [`CONTRACT_LIMIT_BYTES`].
    #[error("{0} bytes; a contract has at most {CONTRACT_LIMIT_BYTES}")]
    TooLarge(usize),
    /// Not YAML, an unknown or missing field, or a value of the wrong type.
    #[error("not a contract: {0}")]
    Syntax(String),
    /// Another kind of document or format version.
    #[error("`{field}` is `{actual}`, expected `{expected}`")]
    Header {
        /// `apiVersion` or `kind`.
        field: &'static str,
        /// What this build reads.
        expected: &'static str,
        /// What the file says.
        actual: String,
    },
    /// No tables, too many, or one pattern twice.
    #[error("tables: {0}")]
    Tables(String),
    /// A table that promises nothing sensible.
    #[error("table `{table}`: {reason}")]
    Table {
        /// Its pattern.
        table: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A column whose promises contradict each other or its type.
    #[error("table `{table}`, column `{column}`: {reason}")]
    Column {
        /// The table's pattern.
        table: String,
        /// The column's name.
        column: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl Contract {
    /// Parses and checks a YAML document; unknown fields are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContractError> {
        if bytes.len() > CONTRACT_LIMIT_BYTES {
            return Err(ContractError::TooLarge(bytes.len()));
        }
        let document: Document =
            serde_norway::from_slice(bytes).map_err(|e| ContractError::Syntax(e.to_string()))?;
        check_header("apiVersion", API_VERSION, &document.api_version)?;
        check_header("kind", KIND, &document.kind)?;
        if document.tables.is_empty() || document.tables.len() > TABLE_LIMIT {
            let reason = format!("{} tables, expected 1 to {TABLE_LIMIT}", document.tables.len());
            return Err(ContractError::Tables(reason));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = document.tables.iter().find(|table| !seen.insert(&table.files)) {
            let reason = format!("pattern `{}` occurs twice; list its columns once", shown(&twice.files));
            return Err(ContractError::Tables(reason));
        }
        let tables = document.tables.into_iter().map(TableContract::try_from).collect::<Result<_, _>>()?;
        Ok(Self { name: document.metadata.name, tables })
    }

    /// The dataset that it is about.
    pub fn name(&self) -> &DatasetName {
        &self.name
    }

    /// The tables in the order of the file.
    pub fn tables(&self) -> &[TableContract] {
        &self.tables
    }

    /// Whether a promise is made about the file, so that it has to be opened.
    pub fn covers(&self, path: &str) -> bool {
        self.tables.iter().any(|table| table.matches(path))
    }
}

impl TableContract {
    /// Whether the pattern matches a snapshot path.
    pub fn matches(&self, path: &str) -> bool {
        glob::matches(&self.files, path)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: Metadata,
    tables: Vec<TableDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: DatasetName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableDocument {
    files: String,
    min_rows: Option<u64>,
    columns: Vec<ColumnDocument>,
    null_values: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnDocument {
    name: String,
    #[serde(rename = "type")]
    column_type: ColumnType,
    #[serde(default)]
    required: bool,
    min: Option<Bound>,
    max: Option<Bound>,
    max_null_fraction: Option<f64>,
    allowed: Option<Vec<AllowedValue>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`min` and `max` must be numbers")]
enum Bound {
    Integer(i64),
    Number(f64),
}

/// A float has many spellings, so it is read only to be refused with a reason.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`allowed` lists texts, whole numbers or booleans")]
enum AllowedValue {
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Text(String),
}

impl TryFrom<TableDocument> for TableContract {
    type Error = ContractError;

    fn try_from(document: TableDocument) -> Result<Self, ContractError> {
        let table = document.files;
        let refuse = |reason: String| ContractError::Table { table: shown(&table), reason };
        if table.is_empty() {
            return Err(refuse("`files` is empty; name a path or a pattern such as `data/*.csv`".to_owned()));
        }
        if document.columns.len() > COLUMN_LIMIT {
            return Err(refuse(format!("{} columns; at most {COLUMN_LIMIT}", document.columns.len())));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = document.columns.iter().find(|column| !seen.insert(&column.name)) {
            return Err(refuse(format!("column `{}` occurs twice", shown(&twice.name))));
        }
        let tokens = document.null_values.map_or_else(|| Ok(NullValues::default()), NullValues::new);
        let null_values = tokens.map_err(|e: NullValuesError| refuse(e.to_string()))?;
        let mut columns = Vec::new();
        for column in document.columns {
            let name = shown(&column.name);
            let column = ColumnContract::try_from(column).map_err(|reason| ContractError::Column {
                table: shown(&table),
                column: name,
                reason,
            })?;
            columns.push(column);
        }
        Ok(Self { files: table, min_rows: document.min_rows, columns, null_values })
    }
}

impl TryFrom<ColumnDocument> for ColumnContract {
    type Error = String;

    fn try_from(document: ColumnDocument) -> Result<Self, String> {
        let min = document.min.map(Bound::finite).transpose()?;
        let max = document.max.map(Bound::finite).transpose()?;
        let numeric = matches!(document.column_type, ColumnType::Integer | ColumnType::Number);
        if (min.is_some() || max.is_some()) && !numeric {
            return Err("`min` and `max` need type integer or number".to_owned());
        }
        if let (Some(least), Some(most)) = (min, max)
            && least.compare(most) == Some(std::cmp::Ordering::Greater)
        {
            return Err(format!("`min` {least} is above `max` {most}"));
        }
        if let Some(fraction) = document.max_null_fraction {
            if !(0.0..=1.0).contains(&fraction) {
                return Err(format!("`max_null_fraction` {fraction} is not between 0 and 1"));
            }
            if document.required {
                return Err("`required` already excludes nulls; drop it or `max_null_fraction`".to_owned());
            }
        }
        let allowed = document.allowed.map(allowed_texts).transpose()?;
        Ok(Self {
            name: document.name,
            column_type: document.column_type,
            required: document.required,
            min,
            max,
            max_null_fraction: document.max_null_fraction,
            allowed,
        })
    }
}

impl Bound {
    fn finite(self) -> Result<Numeric, String> {
        match self {
            Self::Integer(n) => Ok(Numeric::Integer(n)),
            Self::Number(n) if n.is_finite() => Ok(Numeric::Number(n)),
            Self::Number(n) => Err(format!("bound {n} is not a finite number; leave it out")),
        }
    }
}

fn allowed_texts(values: Vec<AllowedValue>) -> Result<Vec<String>, String> {
    if values.is_empty() || values.len() > ALLOWED_LIMIT {
        return Err(format!("{} allowed values, expected 1 to {ALLOWED_LIMIT}", values.len()));
    }
    let text = |value| match value {
        AllowedValue::Integer(n) => Ok(n.to_string()),
        AllowedValue::Boolean(flag) => Ok(flag.to_string()),
        AllowedValue::Text(text) => Ok(text),
        AllowedValue::Number(n) => Err(format!("allowed value {n}: quote it as it is spelt in the file")),
    };
    values.into_iter().map(text).collect()
}

fn check_header(field: &'static str, expected: &'static str, actual: &str) -> Result<(), ContractError> {
    if actual == expected {
        return Ok(());
    }
    Err(ContractError::Header { field, expected, actual: shown(actual) })
}

#[cfg(test)]
mod tests;
