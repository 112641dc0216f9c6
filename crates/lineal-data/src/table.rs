//! A table as a header and a stream of rows, whatever the file format.
//!
//! Rows are numbered from 1; row 0 is the header. A file that cannot be read in full is an error, never a shorter
//! table.

mod csv;

use std::io::{self, Read};

use self::csv::CsvRows;

/// Most columns of a table.
pub const COLUMN_LIMIT: usize = 10_000;
/// Longest cell or column name in bytes.
pub const FIELD_LIMIT_BYTES: usize = 1 << 20;
/// Longest row in bytes, as it is written in the file; bounds the memory that one row can take.
pub const ROW_LIMIT_BYTES: usize = 16 << 20;

/// Reads one table row by row. Memory is bounded by [`ROW_LIMIT_BYTES`], not by the file.
pub struct TableReader<R> {
    columns: Vec<String>,
    rows: Rows<R>,
    stopped: bool,
}

/// One row; it has as many cells as the table has columns.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    number: u64,
    cells: &'a ::csv::StringRecord,
}

/// Why a file is not an acceptable table. Row 0 is the header.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// No bytes, or nothing but a byte order mark and line ends.
    #[error("the file is empty; a table starts with a header row")]
    Empty,
    /// The bytes could not be had.
    #[error("cannot read beyond {}", place(*row))]
    Read {
        /// The last complete row.
        row: u64,
        /// What the reader reported.
        source: io::Error,
    },
    /// A cell is not UTF-8.
    #[error("{}, column `{column}`: not valid UTF-8; convert the file to UTF-8", place(*row))]
    Encoding {
        /// The row.
        row: u64,
        /// Name of the column, or its position from 1 where it has none.
        column: String,
    },
    /// A row has another number of cells than the header.
    #[error("{}: {actual} columns, the header has {expected}", place(*row))]
    Ragged {
        /// The row.
        row: u64,
        /// Columns of the header.
        expected: usize,
        /// Cells of the row.
        actual: usize,
    },
    /// A column without a name.
    #[error("column {position} has no name; the header must name every column")]
    EmptyName {
        /// Position from 1.
        position: usize,
    },
    /// Two columns with one name.
    #[error("column `{name}` occurs twice in the header")]
    DuplicateName {
        /// The name, shortened.
        name: String,
    },
    /// More than [`COLUMN_LIMIT`] columns.
    #[error("{columns} columns; a table has at most {COLUMN_LIMIT}")]
    TooManyColumns {
        /// Columns of the header.
        columns: usize,
    },
    /// A cell longer than [`FIELD_LIMIT_BYTES`].
    #[error("{}, column `{column}`: {size_bytes} bytes; a cell has at most {FIELD_LIMIT_BYTES}", place(*row))]
    FieldTooLong {
        /// The row.
        row: u64,
        /// Name of the column, or its position from 1 where it has none.
        column: String,
        /// Size of the cell.
        size_bytes: usize,
    },
    /// A row longer than [`ROW_LIMIT_BYTES`]; often a quote that is never closed.
    #[error("{}: more than {ROW_LIMIT_BYTES} bytes; check for a quote that is not closed", place(*row))]
    RowTooLong {
        /// The row.
        row: u64,
    },
    /// An odd number of quotes: one is never closed, or a bare one stands inside an unquoted cell.
    #[error("the file has an odd number of quotes; close the quote that is open, write a literal one twice")]
    OpenQuote,
    /// Blank lines inside a table of one column, where they could be null rows or nothing.
    #[error("{lines} blank lines in a table of one column are ambiguous; write a null as `\"\"` or `NA`")]
    BlankLines {
        /// How many, without those at the end of the file.
        lines: u64,
    },
    /// A row was asked for after an error.
    #[error("the table was refused before; read it again from its start")]
    Stopped,
}

enum Rows<R> {
    Csv(CsvRows<R>),
}

impl<R: Read> TableReader<R> {
    /// Reads the header of a CSV file: UTF-8 (a byte order mark is skipped), comma, RFC 4180 quoting, any line end.
    ///
    /// Blank lines are no rows. In a table of one column they are refused, because they could be meant as nulls.
    pub fn csv(input: R) -> Result<Self, TableError> {
        let mut rows = CsvRows::new(input)?;
        let columns = rows.header()?;
        check_names(&columns)?;
        Ok(Self { columns, rows: Rows::Csv(rows), stopped: false })
    }

    /// The names of the columns in file order: not empty, no duplicates.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next row; `None` once the whole file was read and found whole.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        if self.stopped {
            return Err(TableError::Stopped);
        }
        let next = match &mut self.rows {
            Rows::Csv(rows) => rows.next(&self.columns),
        };
        self.stopped = next.is_err();
        next
    }
}

impl<'a> Row<'a> {
    /// Number of the row; the first one after the header is 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The cells in column order, unquoted.
    pub fn cells(&self) -> impl Iterator<Item = &'a str> {
        self.cells.iter()
    }

    /// The cell of a column by its position from 0.
    pub fn cell(&self, position: usize) -> Option<&'a str> {
        self.cells.get(position)
    }
}

/// A text from a file for a message: at most 80 characters, nothing that could steer a terminal.
pub(crate) fn shown(text: &str) -> String {
    const LIMIT_CHARS: usize = 80;
    let mut out = String::new();
    for c in text.chars().take(LIMIT_CHARS) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().nth(LIMIT_CHARS).is_some() {
        out.push_str("...");
    }
    out
}

fn check_names(columns: &[String]) -> Result<(), TableError> {
    if columns.len() > COLUMN_LIMIT {
        return Err(TableError::TooManyColumns { columns: columns.len() });
    }
    let mut seen = std::collections::HashSet::new();
    for (position, name) in columns.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(TableError::EmptyName { position: position + 1 });
        }
        if !seen.insert(name.as_str()) {
            return Err(TableError::DuplicateName { name: shown(name) });
        }
    }
    Ok(())
}

fn place(row: u64) -> String {
    if row == 0 { "header".to_owned() } else { format!("row {row}") }
}

#[cfg(test)]
mod tests;
