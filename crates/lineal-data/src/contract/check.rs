//! Evaluating a contract in one pass over the files.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::profile::decimal;
use crate::scalar::Scalar;
use crate::table::{Row, TableError, TableReader, shown};

use super::rule::{Rule, Tally};
use super::{ColumnContract, Contract, TableContract};

/// One promise and whether it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Pattern of the table.
    pub table: String,
    /// The promise, such as `origin: only EWR, JFK, LGA`.
    pub text: String,
    /// Whether all rows of all matching files keep it. A promise that could not be looked at is not held.
    pub held: bool,
    /// Exact number of offending rows, or of files for a promise about files. Of a null fraction: the null rows.
    #[serde(with = "decimal")]
    pub violations: u64,
    /// The first offending row and value, such as `flights-01.csv row 17: BOS (3 rows in all)` with the value in
    /// backticks; why it was not looked at; or the measured figure of a promise that held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Contract {
    /// Reads every covered file once and reports on every promise, in the order of the contract.
    ///
    /// `files` are the paths of a snapshot with their content; a file that could not be opened is an error there and
    /// a violation here. Files that no table covers are not read.
    pub fn check<R: Read>(&self, files: impl IntoIterator<Item = (String, io::Result<R>)>) -> Vec<Check> {
        let mut tables: Vec<_> = self.tables.iter().map(TableState::new).collect();
        for (path, opened) in files {
            let mut covering: Vec<_> = tables.iter_mut().filter(|t| t.contract.matches(&path)).collect();
            if covering.is_empty() {
                continue;
            }
            let opened = opened.map_err(|source| TableError::Read { row: 0, source });
            let result = opened.and_then(|input| read_file(&path, input, &mut covering));
            for table in covering {
                table.end_file(&path, &result);
            }
        }
        tables.into_iter().flat_map(TableState::finish).collect()
    }
}

/// Rows of the file; what was counted before an error stays counted.
fn read_file(path: &str, input: impl Read, tables: &mut [&mut TableState<'_>]) -> Result<u64, TableError> {
    let mut reader = TableReader::csv(input)?;
    for table in tables.iter_mut() {
        table.start_file(path, reader.columns());
    }
    let mut rows = 0;
    while let Some(row) = reader.next_row()? {
        rows = row.number();
        for table in tables.iter_mut() {
            table.observe(path, row);
        }
    }
    Ok(rows)
}

struct TableState<'c> {
    contract: &'c TableContract,
    files: u64,
    rows: u64,
    /// Whether the header of the current file was read.
    header_read: bool,
    readable: Tally,
    min_rows: Tally,
    columns: Vec<ColumnState<'c>>,
}

struct ColumnState<'c> {
    contract: &'c ColumnContract,
    /// Position in the current file.
    position: Option<usize>,
    rows: u64,
    needs_scalar: bool,
    present: Tally,
    rules: Vec<(Rule<'c>, Tally)>,
}

impl<'c> TableState<'c> {
    fn new(contract: &'c TableContract) -> Self {
        let columns = contract.columns.iter().map(ColumnState::new).collect();
        let (readable, min_rows) = (Tally::default(), Tally::default());
        Self { contract, files: 0, rows: 0, header_read: false, readable, min_rows, columns }
    }

    fn start_file(&mut self, path: &str, names: &[String]) {
        self.header_read = true;
        for column in &mut self.columns {
            column.position = names.iter().position(|name| *name == column.contract.name);
            if column.position.is_none() {
                let reason = format!("{} has no column `{}`", shown(path), shown(&column.contract.name));
                column.miss(&reason);
                column.present.violate(|| reason);
            }
        }
    }

    fn observe(&mut self, path: &str, row: Row<'_>) {
        for column in &mut self.columns {
            if let Some(cell) = column.position.and_then(|position| row.cell(position)) {
                let null = self.contract.null_values.contains(cell);
                column.observe(null, cell, || {
                    format!("{} row {}: `{}`", shown(path), row.number(), shown(cell))
                });
            }
        }
    }

    fn end_file(&mut self, path: &str, result: &Result<u64, TableError>) {
        self.files += 1;
        match result {
            Ok(rows) => {
                self.rows += rows;
                if self.contract.min_rows.is_some_and(|least| *rows < least) {
                    self.min_rows.violate(|| format!("{} has {rows}", shown(path)));
                }
            }
            Err(error) => {
                self.readable.violate(|| format!("{}: {}", shown(path), with_source(error)));
                let reason = format!("{} was not read to its end", shown(path));
                self.min_rows.miss(&reason);
                for column in &mut self.columns {
                    if !self.header_read {
                        column.present.miss(&reason);
                    }
                    column.miss(&reason);
                }
            }
        }
        self.header_read = false;
    }

    fn finish(mut self) -> Vec<Check> {
        let table = self.contract.files.clone();
        let found = Check {
            table: table.clone(),
            text: "at least one file".to_owned(),
            held: self.files > 0,
            violations: u64::from(self.files == 0),
            detail: Some(match self.files {
                0 => format!("no file matches `{}`", shown(&table)),
                1 => format!("1 file, {} rows", self.rows),
                files => format!("{files} files, {} rows", self.rows),
            }),
        };
        if self.files == 0 {
            self.readable.miss("no file matches");
            self.min_rows.miss("no file matches");
            for column in &mut self.columns {
                column.present.miss("no file matches");
                column.miss("no file matches");
            }
        }
        let about_files = |text: String, tally: &Tally| check(&table, text, tally, "file");
        let mut checks =
            vec![found, about_files("every file is a readable table".to_owned(), &self.readable)];
        if let Some(least) = self.contract.min_rows {
            checks.push(about_files(format!("at least {least} rows in each file"), &self.min_rows));
        }
        for column in &self.columns {
            column.finish(&table, &mut checks);
        }
        checks
    }
}

impl<'c> ColumnState<'c> {
    fn new(contract: &'c ColumnContract) -> Self {
        let rules: Vec<_> = Rule::all_of(contract).into_iter().map(|rule| (rule, Tally::default())).collect();
        let needs_scalar = rules.iter().any(|(rule, _)| rule.needs_scalar());
        Self { contract, position: None, rows: 0, needs_scalar, present: Tally::default(), rules }
    }

    fn observe(&mut self, null: bool, cell: &str, place: impl Fn() -> String) {
        self.rows += 1;
        let scalar = if null || !self.needs_scalar { Scalar::Text } else { Scalar::of(cell) };
        for (rule, tally) in &mut self.rules {
            if if null { rule.null_offends() } else { rule.offends(cell, scalar) } {
                tally.violate(&place);
            }
        }
    }

    fn miss(&mut self, reason: &str) {
        for (_, tally) in &mut self.rules {
            tally.miss(reason);
        }
    }

    fn finish(&self, table: &str, checks: &mut Vec<Check>) {
        let name = shown(&self.contract.name);
        checks.push(check(table, format!("{name}: present"), &self.present, "file"));
        for (rule, tally) in &self.rules {
            let text = format!("{name}: {}", rule.text(self.contract));
            let mut check = check(table, text, tally, "row");
            if let Rule::NullFraction(most) = rule {
                // Division rounds once, so 29 of 100 equals a limit written as 0.29.
                let within = tally.violations == 0 || tally.violations as f64 / self.rows as f64 <= *most;
                check.held = within && tally.unevaluated.is_none();
                let share = format!("{} of {} rows are null", tally.violations, self.rows);
                let detail = check.detail.map(|detail| format!("{share}; {detail}"));
                check.detail = detail.filter(|_| !check.held).or(Some(share));
            }
            checks.push(check);
        }
    }
}

fn check(table: &str, text: String, tally: &Tally, unit: &str) -> Check {
    Check {
        table: table.to_owned(),
        text,
        held: tally.held(),
        violations: tally.violations,
        detail: tally.detail(unit),
    }
}

fn with_source(error: &TableError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
