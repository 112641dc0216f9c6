//! The index compared with the ledger, a part at a time: memory does not grow with them.
//!
//! Mostly they are equal, and that can be seen in texts that the database makes of many rows (`equal`). Only where
//! these differ, or in PostgreSQL, row is compared with row, until it is known which one differs.

mod equal;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use lineal_facts::{Digest, Statement};
use lineal_proof::Leaf;
use lineal_proof::keyring::Keyring;

use super::apply::{self, Entry};
use super::batch::{Batch, Rows};
use super::database::{Database, Row, Value, tables};
use super::projection::{self, State};
use super::{Index, IndexError};
use crate::ledger::{Head, Ledger};

/// Entries whose rows are compared at once.
const CHUNK_ENTRIES: u64 = 2048;
/// Rows of a table that are read at once.
const PAGE_ROWS: i64 = 4096;
/// Tables whose first row of a key stands, and how many of the first columns are the key.
const FIRST_STANDS: [(&str, usize); 3] = [("results", 1), ("runs", 1), ("versions", 2)];

impl Index {
    /// The first row, in ledger order, that only the index has or only the ledger gives; `None` if it has all rows of
    /// the first entries up to `head` as they must be. Appends meanwhile do not matter. `progress` hears how many more
    /// entries are done.
    pub async fn difference(
        &self,
        ledger: &Ledger,
        head: &Head,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<String>, IndexError> {
        if let Some(difference) = self.reaches(ledger, head).await? {
            return Ok(Some(difference));
        }
        let told = AtomicU64::new(0);
        let advanced = |by| {
            told.fetch_add(by, Ordering::Relaxed);
            progress(by);
        };
        if !equal::is_equal(&self.database, ledger, head, &advanced).await {
            let (told, done) = (told.load(Ordering::Relaxed), AtomicU64::new(0));
            let advanced = |by| {
                let before = done.fetch_add(by, Ordering::Relaxed);
                progress((before + by).saturating_sub(before.max(told)));
            };
            if let Some(difference) = self.different_row(ledger, head, &advanced).await? {
                return Ok(Some(difference));
            }
        }
        self.reaches(ledger, head).await
    }

    /// Row by row.
    async fn different_row(
        &self,
        ledger: &Ledger,
        head: &Head,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<String>, IndexError> {
        let mut found = Found::new(&self.database);
        let mut expected = Expected::default();
        let mut from = 0;
        while from < head.size {
            let to = (from + CHUNK_ENTRIES).min(head.size);
            let entries = projection::read_statements(ledger, from, to, head.size)?;
            let mut wanted = expected.rows(from, entries)?;
            for table in tables().into_iter().filter(|table| *table != "state") {
                let (columns, rows) = wanted.remove(table).unwrap_or_default();
                let rows = rows.into_iter().map(|row| line(table, columns, &row));
                let found = found.rows(table, from, to).await?;
                if let Some(difference) = first_difference(rows.collect(), found) {
                    return Ok(Some(difference));
                }
            }
            progress(to - from);
            from = to;
        }
        // What is beyond belongs to entries that came meanwhile, or to none.
        let now = State::of(ledger)?;
        if now.size == head.size
            && let Some(row) = found.any_from(head.size).await?
        {
            return Ok(Some(format!("it has `{row}`")));
        }
        Ok(None)
    }

    /// Why the rows cannot be those of the ledger at `head`.
    async fn reaches(&self, ledger: &Ledger, head: &Head) -> Result<Option<String>, IndexError> {
        let state = projection::read_state(self.database.fetch(projection::READ_STATE, Vec::new()).await?);
        let Some(state) = state else { return Ok(Some("it does not say how far it reaches".to_owned())) };
        if state.size < head.size {
            return Ok(Some(format!("it reaches entry {} of {}", state.size, head.size)));
        }
        let now = State::of(ledger)?;
        let root = match state.size {
            size if size == now.size => Some(now.root),
            size if size < now.size => Some(ledger.root_at(size, now.size)?),
            _ => None,
        };
        Ok((root != Some(state.root)).then(|| "it is the index of another ledger".to_owned()))
    }
}

/// The rows that the ledger gives.
#[derive(Default)]
struct Expected {
    keyring: Keyring,
    /// Digests of the keys of [`FIRST_STANDS`], cut: they tell tables and keys apart, nothing else.
    seen: HashSet<[u8; 16]>,
}

impl Expected {
    /// Of the next entries, from position `from` on.
    fn rows(
        &mut self,
        from: u64,
        entries: Vec<(Leaf, Option<Statement>)>,
    ) -> Result<BTreeMap<&'static str, Rows>, IndexError> {
        let mut batch = Batch::default();
        for (position, (leaf, statement)) in (from..).zip(entries) {
            let entry = Entry { position, statement: leaf.data, key: leaf.key.id() };
            if let Some(statement) = &statement {
                self.keyring
                    .apply_statement(position, &entry.key, statement)
                    .map_err(|source| IndexError::Key { position, source })?;
            }
            apply::apply(&mut batch, &entry, statement.as_ref(), &self.keyring);
        }
        let mut rows = batch.into_rows();
        for (table, key) in FIRST_STANDS {
            if let Some((_, rows)) = rows.get_mut(table) {
                rows.retain(|row| self.seen.insert(short(table, &row[..key])));
            }
        }
        Ok(rows)
    }
}

fn short(table: &str, key: &[Value]) -> [u8; 16] {
    let digest = Digest::of(format!("{table} {key:?}").as_bytes());
    let mut cut = [0; 16];
    cut.copy_from_slice(&digest.as_bytes()[..16]);
    cut
}

/// The rows that the index has.
struct Found<'a> {
    database: &'a Database,
    /// Of SQLite, which keeps rows in the order in which they came: where the reading of each table is.
    places: BTreeMap<&'static str, Place>,
}

#[derive(Default)]
struct Place {
    /// Of the last row that was read.
    row: i64,
    /// Read already; the next one to be given is the last.
    read: Vec<Row>,
    ended: bool,
}

impl<'a> Found<'a> {
    const fn new(database: &'a Database) -> Self {
        Self { database, places: BTreeMap::new() }
    }

    /// The lines of the rows of the entries `from..to`, which are asked for in order.
    async fn rows(&mut self, table: &'static str, from: u64, to: u64) -> Result<Vec<String>, IndexError> {
        if let Database::Postgres(_) = self.database {
            let sql = format!("SELECT * FROM {table} WHERE position >= $1 AND position < $2");
            let rows = self.database.fetch(&sql, vec![number(from), number(to)]).await?;
            return Ok(rows.iter().map(|row| row_line(table, row)).collect());
        }
        let mut lines = Vec::new();
        while let Some(row) = self.next(table).await? {
            // One that stands where it must not is taken as it comes, and differs.
            if row.number::<u64>("position").is_ok_and(|position| position >= to) {
                if let Some(place) = self.places.get_mut(table) {
                    place.read.push(row);
                }
                break;
            }
            lines.push(row_line(table, &row));
        }
        Ok(lines)
    }

    async fn next(&mut self, table: &'static str) -> Result<Option<Row>, IndexError> {
        let place = self.places.entry(table).or_insert_with(|| Place { row: i64::MIN, ..Place::default() });
        if place.read.is_empty() && !place.ended {
            let sql = format!(
                "SELECT rowid AS row_number, * FROM {table} WHERE rowid > $1 ORDER BY rowid LIMIT $2"
            );
            place.read = self.database.fetch(&sql, vec![place.row.into(), PAGE_ROWS.into()]).await?;
            place.ended = place.read.len() < PAGE_ROWS as usize;
            if let Some(last) = place.read.last() {
                place.row = last.number("row_number")?;
            }
            place.read.reverse();
        }
        Ok(place.read.pop())
    }

    /// A row of an entry from `position` on, or of one before the first.
    async fn any_from(&mut self, position: u64) -> Result<Option<String>, IndexError> {
        for table in tables().into_iter().filter(|table| *table != "state") {
            let sql = format!("SELECT * FROM {table} WHERE position >= $1 OR position < 0 LIMIT 1");
            let row = match self.database {
                Database::Postgres(_) => self.database.fetch(&sql, vec![number(position)]).await?.pop(),
                Database::Sqlite(_) => self.next(table).await?,
            };
            if let Some(row) = row {
                return Ok(Some(row_line(table, &row)));
            }
        }
        Ok(None)
    }
}

fn number(position: u64) -> Value {
    i64::try_from(position).unwrap_or(i64::MAX).into()
}

fn line(table: &str, columns: &[&str], row: &[Value]) -> String {
    let mut fields: Vec<String> =
        columns.iter().zip(row).map(|(name, value)| format!("{name}={value:?}")).collect();
    fields.sort_unstable();
    format!("{table}: {}", fields.join(" "))
}

fn row_line(table: &str, row: &Row) -> String {
    let mut fields: Vec<String> = row
        .fields()
        .filter(|(name, _)| *name != "row_number")
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    fields.sort_unstable();
    format!("{table}: {}", fields.join(" "))
}

/// The first line that only one of them has.
fn first_difference(mut expected: Vec<String>, mut found: Vec<String>) -> Option<String> {
    if expected == found {
        return None;
    }
    expected.sort_unstable();
    found.sort_unstable();
    let place = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    match (expected.get(place), found.get(place)) {
        (None, None) => None,
        (Some(missing), other) if other.is_none_or(|other| missing < other) => {
            Some(format!("it lacks `{missing}`"))
        }
        (_, Some(extra)) => Some(format!("it has `{extra}`")),
        (Some(missing), None) => Some(format!("it lacks `{missing}`")),
    }
}
