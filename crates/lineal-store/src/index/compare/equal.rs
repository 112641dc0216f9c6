//! Whether all rows in SQLite are those that the ledger gives, seen in texts of some thousand rows at once.
//!
//! Cores read and parse entries, one thread makes the text that their rows must have, and the database makes the text
//! that they have: to decode every value of every row would take longer than all else. Rows stand in the order in which
//! they came, which is the ledger's. A no says only that row must be compared with row.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use tokio::sync::mpsc;

use super::super::batch::Rows;
use super::super::database::{Database, Value, tables};
use super::super::projection::{self, State};
use super::{Expected, IndexError};
use crate::ledger::{Head, Ledger};
use crate::parallel;

/// Entries that a thread reads at once: those of a bundle.
const READ_ENTRIES: u64 = 256;
/// From so many bytes or entries on, a part is compared.
const PART_BYTES: usize = 4 << 20;
const PART_ENTRIES: u64 = 4096;
/// Parts that wait for the database.
const WAITING_PARTS: usize = 2;

/// The rows of some entries.
#[derive(Default)]
struct Part {
    entries: u64,
    tables: BTreeMap<&'static str, Wanted>,
}

/// The rows that a table must have.
struct Wanted {
    /// An expression that makes one row into text.
    line: String,
    count: i64,
    text: String,
}

/// Whether the rows are those of the first entries up to `head`, and no others. Without an answer, for whatever reason, no.
pub(super) async fn is_equal(
    database: &Database,
    ledger: &Ledger,
    head: &Head,
    progress: &(dyn Fn(u64) + Sync),
) -> bool {
    match database {
        Database::Sqlite(_) => compare(database, ledger, head, progress).await.unwrap_or(false),
        Database::Postgres(_) => false,
    }
}

async fn compare(
    database: &Database,
    ledger: &Ledger,
    head: &Head,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<bool, IndexError> {
    let (sender, mut parts) = mpsc::channel(WAITING_PARTS);
    let (read, size) = (ledger.clone(), head.size);
    // It ends when nobody receives any more.
    let expecting = tokio::task::spawn_blocking(move || expect(&read, size, &sender));
    let mut places: BTreeMap<&'static str, i64> = BTreeMap::new();
    while let Some(Part { entries, tables }) = parts.recv().await {
        for (table, wanted) in tables {
            let place = places.entry(table).or_insert(i64::MIN);
            match found(database, table, &wanted, *place).await? {
                Some((last, text)) if text == wanted.text => *place = last,
                Some(_) | None => return Ok(false),
            }
        }
        progress(entries);
    }
    // A panic is no yes.
    if !matches!(expecting.await, Ok(Ok(()))) {
        return Ok(false);
    }
    let now = State::of(ledger)?;
    for table in tables().into_iter().filter(|table| *table != "state") {
        let place = places.get(table).copied().unwrap_or(i64::MIN);
        // Rows of entries that came meanwhile may stand there, and no others.
        let came = if now.size > head.size { number(head.size) } else { i64::MAX };
        let sql = format!(
            "SELECT 'more' FROM {table} WHERE rowid > $1 \
             AND (typeof(position) <> 'integer' OR position < $2) LIMIT 1"
        );
        if database.text(&sql, &[place, came]).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The text of the next rows of a table after row `place`, and the number of the last one.
async fn found(
    database: &Database,
    table: &str,
    wanted: &Wanted,
    place: i64,
) -> Result<Option<(i64, String)>, IndexError> {
    let line = &wanted.line;
    let sql = format!(
        "SELECT max(row_number) || ';' || group_concat(line, '') FROM \
         (SELECT rowid AS row_number, {line} AS line FROM {table} WHERE rowid > $1 ORDER BY rowid LIMIT $2)"
    );
    let Some(mut text) = database.text(&sql, &[place, wanted.count]).await? else { return Ok(None) };
    let Some(end) = text.find(';') else { return Ok(None) };
    let last = text[..end].parse().ok();
    text.drain(..=end);
    Ok(last.map(|last| (last, text)))
}

/// Sends the rows that the ledger of `size` entries gives, in order.
fn expect(ledger: &Ledger, size: u64, sender: &mpsc::Sender<Part>) -> Result<(), IndexError> {
    let (mut expected, mut part) = (Expected::default(), Part::default());
    let mut result = Ok(());
    let range = |index: u64| (index * READ_ENTRIES, ((index + 1) * READ_ENTRIES).min(size));
    let work = |index| {
        let (from, to) = range(index);
        projection::read_statements(ledger, from, to, size)
    };
    parallel::in_order(0..size.div_ceil(READ_ENTRIES), &work, &mut |index, entries| {
        let (from, to) = range(index);
        match entries.and_then(|entries| expected.rows(from, entries)) {
            Ok(rows) => part.extend(to - from, rows),
            Err(error) => {
                result = Err(error);
                return ControlFlow::Break(());
            }
        }
        if !part.is_full() && to < size {
            return ControlFlow::Continue(());
        }
        match sender.blocking_send(std::mem::take(&mut part)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    result
}

impl Part {
    fn is_full(&self) -> bool {
        let bytes: usize = self.tables.values().map(|wanted| wanted.text.len()).sum();
        self.entries >= PART_ENTRIES || bytes >= PART_BYTES
    }

    fn extend(&mut self, entries: u64, rows: BTreeMap<&'static str, Rows>) {
        self.entries += entries;
        for (table, (columns, rows)) in rows {
            for row in rows {
                let wanted = self.tables.entry(table).or_insert_with(|| Wanted {
                    line: line_of(columns, &row),
                    count: 0,
                    text: String::new(),
                });
                wanted.count += 1;
                write_row(&row, &mut wanted.text);
            }
        }
    }
}

/// The expression by which SQLite makes the text of [`write_row`]. `quote` tells text, number and null apart, and ends at
/// a NUL, which no statement holds; the sum of the lengths tells that.
fn line_of(columns: &[&str], row: &[Value]) -> String {
    let mut expression = String::new();
    let mut lengths = "0".to_owned();
    // Writing to a string does not fail.
    for (column, value) in columns.iter().zip(row) {
        let _ = write!(expression, "quote({column}) || ',' || ");
        if let Value::Text(_) = value {
            let _ = write!(lengths, " + coalesce(octet_length({column}), 0)");
        }
    }
    format!("{expression}({lengths}) || ';'")
}

/// A row as text; two different rows have different ones.
fn write_row(row: &[Value], text: &mut String) {
    let mut bytes = 0;
    for value in row {
        match value {
            Value::Text(Some(value)) => {
                bytes += value.len();
                text.push('\'');
                if value.contains('\'') {
                    text.push_str(&value.replace('\'', "''"));
                } else {
                    text.push_str(value);
                }
                text.push('\'');
            }
            // Writing to a string does not fail.
            Value::Number(Some(number)) => {
                let _ = write!(text, "{number}");
            }
            Value::Flag(flag) => text.push(if *flag { '1' } else { '0' }),
            Value::Text(None) | Value::Number(None) => text.push_str("NULL"),
        }
        text.push(',');
    }
    let _ = write!(text, "{bytes};");
}

fn number(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
