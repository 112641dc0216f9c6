//! CSV rows over the `csv` crate, made strict: that crate forgives open quotes, skips blank lines and has no limits.

use std::io::{self, Read};

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::{FIELD_LIMIT_BYTES, ROW_LIMIT_BYTES, Row, TableError, shown};

const BUFFER_BYTES: usize = 64 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) struct CsvRows<R> {
    reader: csv::Reader<Guard<R>>,
    record: StringRecord,
    /// Records read, with the header.
    records: u64,
    /// Line feeds inside cells; counted for tables of one column only.
    inner_lines: u64,
}

impl<R: Read> CsvRows<R> {
    pub(super) fn new(input: R) -> Result<Self, TableError> {
        let guard = Guard::new(input).map_err(|source| TableError::Read { row: 0, source })?;
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(guard);
        Ok(Self { reader, record: StringRecord::new(), records: 0, inner_lines: 0 })
    }

    pub(super) fn header(&mut self) -> Result<Vec<String>, TableError> {
        if !self.read(&[])? {
            return Err(TableError::Empty);
        }
        self.check_sizes(0, &[])?;
        Ok(self.record.iter().map(str::to_owned).collect())
    }

    pub(super) fn next(&mut self, columns: &[String]) -> Result<Option<Row<'_>>, TableError> {
        let number = self.records;
        if !self.read(columns)? {
            self.check_end(columns)?;
            return Ok(None);
        }
        if self.record.len() != columns.len() {
            let (expected, actual) = (columns.len(), self.record.len());
            return Err(TableError::Ragged { row: number, expected, actual });
        }
        self.check_sizes(number, columns)?;
        Ok(Some(Row { number, cells: &self.record }))
    }

    fn read(&mut self, columns: &[String]) -> Result<bool, TableError> {
        self.reader.get_mut().budget_bytes = ROW_LIMIT_BYTES;
        let more = match self.reader.read_record(&mut self.record) {
            Ok(more) => more,
            Err(error) => return Err(self.refusal(error, columns)),
        };
        if more {
            self.records += 1;
            if self.record.len() == 1 {
                self.inner_lines += count(self.record.as_slice().as_bytes(), b'\n');
            }
        }
        Ok(more)
    }

    fn refusal(&self, error: csv::Error, columns: &[String]) -> TableError {
        let row = self.records;
        let last = row.saturating_sub(1);
        if self.reader.get_ref().budget_bytes == 0 {
            return TableError::RowTooLong { row };
        }
        match error.into_kind() {
            ErrorKind::Io(source) => TableError::Read { row: last, source },
            ErrorKind::Utf8 { err, .. } => {
                TableError::Encoding { row, column: column_name(columns, err.field()) }
            }
            other => TableError::Read { row: last, source: io::Error::other(format!("{other:?}")) },
        }
    }

    fn check_sizes(&self, row: u64, columns: &[String]) -> Result<(), TableError> {
        if self.record.as_slice().len() <= FIELD_LIMIT_BYTES {
            return Ok(());
        }
        match self.record.iter().enumerate().find(|(_, cell)| cell.len() > FIELD_LIMIT_BYTES) {
            Some((position, cell)) => Err(TableError::FieldTooLong {
                row,
                column: column_name(columns, position),
                size_bytes: cell.len(),
            }),
            None => Ok(()),
        }
    }

    /// What only the whole file can show.
    fn check_end(&self, columns: &[String]) -> Result<(), TableError> {
        let guard = self.reader.get_ref();
        if guard.quotes % 2 == 1 {
            return Err(TableError::OpenQuote);
        }
        let between = guard.line_feeds.saturating_sub(guard.trailing_line_feeds);
        let expected = (self.records - 1) + self.inner_lines;
        if columns.len() == 1 && between > expected {
            return Err(TableError::BlankLines { lines: between - expected });
        }
        Ok(())
    }
}

/// Passes bytes on, without the byte order mark, and watches what the parser hides.
struct Guard<R> {
    input: R,
    head: [u8; 3],
    head_start: usize,
    head_end: usize,
    /// Bytes that the current row may still take; set anew for each row.
    budget_bytes: usize,
    quotes: u64,
    line_feeds: u64,
    /// Line feeds since the last byte that is not a line end.
    trailing_line_feeds: u64,
}

impl<R: Read> Guard<R> {
    fn new(input: R) -> io::Result<Self> {
        let mut guard = Self {
            input,
            head: [0; 3],
            head_start: 0,
            head_end: 0,
            budget_bytes: ROW_LIMIT_BYTES,
            quotes: 0,
            line_feeds: 0,
            trailing_line_feeds: 0,
        };
        while guard.head_end < guard.head.len() {
            match guard.input.read(&mut guard.head[guard.head_end..]) {
                Ok(0) => break,
                Ok(size) => guard.head_end += size,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if guard.head[..guard.head_end] == *BYTE_ORDER_MARK {
            guard.head_start = guard.head_end;
        }
        Ok(guard)
    }

    fn watch(&mut self, piece: &[u8]) {
        self.quotes += count(piece, b'"');
        self.line_feeds += count(piece, b'\n');
        let end = piece.iter().rposition(|b| !matches!(b, b'\n' | b'\r'));
        let tail = end.map_or(piece, |position| &piece[position + 1..]);
        if end.is_some() {
            self.trailing_line_feeds = 0;
        }
        self.trailing_line_feeds += count(tail, b'\n');
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = self.budget_bytes.min(buffer.len());
        if limit == 0 && !buffer.is_empty() {
            return Err(io::Error::other("row limit"));
        }
        let size = if self.head_start < self.head_end {
            let size = limit.min(self.head_end - self.head_start);
            buffer[..size].copy_from_slice(&self.head[self.head_start..self.head_start + size]);
            self.head_start += size;
            size
        } else {
            read_some(&mut self.input, &mut buffer[..limit])?
        };
        self.budget_bytes -= size;
        self.watch(&buffer[..size]);
        Ok(size)
    }
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // A reader that claims more than it was given room for is broken; do not trust its count.
            done => return done.map(|size| size.min(buffer.len())),
        }
    }
}

fn count(bytes: &[u8], wanted: u8) -> u64 {
    bytes.iter().map(|b| u64::from(*b == wanted)).sum()
}

fn column_name(columns: &[String], position: usize) -> String {
    columns.get(position).map_or_else(|| format!("{}", position + 1), |name| shown(name))
}
