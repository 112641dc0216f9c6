//! Rows on their way into their tables: many in one statement, because every statement is a round trip.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::IndexError;
use super::database::{Transaction, Value};

/// Most rows in one statement, a power of two: a remainder is cut into smaller ones, so that the database has to know
/// seven texts for a table and not one for each number of rows.
const ROWS_LIMIT: usize = 64;

/// Rows of one table, and the names of their columns.
pub(super) type Rows = (&'static [&'static str], Vec<Vec<Value>>);

/// Rows that wait to be inserted.
#[derive(Debug, Default)]
pub(super) struct Batch {
    tables: Vec<Waiting>,
}

/// The rows of one table. Their order is the ledger's.
#[derive(Debug)]
struct Waiting {
    table: &'static str,
    columns: &'static [&'static str],
    /// Whether a later row of the same key is left out; otherwise it is an error.
    first_stands: bool,
    values: Vec<Value>,
}

impl Batch {
    /// Adds a row that has a key of its own.
    pub(super) fn insert(&mut self, table: &'static str, columns: &'static [&'static str], row: Vec<Value>) {
        self.waiting(table, columns, false).values.extend(row);
    }

    /// Adds a row unless there is one of the same key, which then stands.
    pub(super) fn insert_first(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
        row: Vec<Value>,
    ) {
        self.waiting(table, columns, true).values.extend(row);
    }

    /// Inserts everything.
    pub(super) async fn flush(&mut self, transaction: &mut Transaction) -> Result<(), IndexError> {
        for waiting in &mut self.tables {
            let width = waiting.columns.len();
            let mut values = std::mem::take(&mut waiting.values);
            while !values.is_empty() {
                let rows = largest_power_of_two(values.len() / width).min(ROWS_LIMIT);
                let rest = values.split_off(rows * width);
                transaction.execute(&waiting.statement(rows), values).await?;
                values = rest;
            }
        }
        Ok(())
    }

    /// The rows by their tables.
    pub(super) fn into_rows(self) -> BTreeMap<&'static str, Rows> {
        let rows = |waiting: Waiting| {
            let (width, mut values) = (waiting.columns.len(), waiting.values.into_iter().peekable());
            let mut rows = Vec::new();
            while values.peek().is_some() {
                rows.push(values.by_ref().take(width).collect());
            }
            (waiting.table, (waiting.columns, rows))
        };
        self.tables.into_iter().map(rows).collect()
    }

    fn waiting(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
        first_stands: bool,
    ) -> &mut Waiting {
        let known = self.tables.iter().position(|waiting| waiting.table == table);
        let position = known.unwrap_or_else(|| {
            self.tables.push(Waiting { table, columns, first_stands, values: Vec::new() });
            self.tables.len() - 1
        });
        &mut self.tables[position]
    }
}

impl Waiting {
    fn statement(&self, rows: usize) -> String {
        let mut text = format!("INSERT INTO {} ({}) VALUES", self.table, self.columns.join(", "));
        let mut number = 1;
        for row in 0..rows {
            text.push_str(if row == 0 { " (" } else { ", (" });
            for column in 0..self.columns.len() {
                // Writing to a string does not fail.
                let _ = write!(text, "{}${number}", if column == 0 { "" } else { ", " });
                number += 1;
            }
            text.push(')');
        }
        if self.first_stands {
            text.push_str(" ON CONFLICT DO NOTHING");
        }
        text
    }
}

/// The largest power of two that is not above `number`, and at least 1.
const fn largest_power_of_two(number: usize) -> usize {
    match number.checked_ilog2() {
        Some(bits) => 1 << bits,
        None => 1,
    }
}
