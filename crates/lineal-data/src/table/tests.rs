use std::io::{Cursor, Read};

use proptest::prelude::*;

use super::*;

/// Gives one byte at a time, with interruptions.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let size = buffer.len().min(self.0.len()).min(1);
        buffer[..size].copy_from_slice(&self.0[..size]);
        self.0 = &self.0[size..];
        Ok(size)
    }
}

/// Fails after some good bytes.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.0.read(buffer)?;
        if size == 0 { Err(io::Error::other("disk gone")) } else { Ok(size) }
    }
}

fn read(input: impl Read) -> Result<Vec<Vec<String>>, TableError> {
    let mut table = TableReader::csv(input)?;
    let mut rows = vec![table.columns().to_vec()];
    while let Some(row) = table.next_row()? {
        assert_eq!(row.number(), rows.len() as u64);
        rows.push(row.cells().map(str::to_owned).collect());
    }
    Ok(rows)
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).map(|rows| format!("accepted {rows:?}")).unwrap_or_else(|e| e.to_string())
}

#[test]
fn good_tables() {
    let cases: &[(&str, &[&[&str]])] = &[
        ("a,b\n1,2\n", &[&["a", "b"], &["1", "2"]]),
        ("a,b\r\n1,2\r\n\r\n3,4", &[&["a", "b"], &["1", "2"], &["3", "4"]]),
        ("\u{feff}a,b\n1,2", &[&["a", "b"], &["1", "2"]]),
        ("\u{feff}\"a\",b\n", &[&["a", "b"]]),
        ("a,b\n\"x,\"\"y\"\"\n\",é\n", &[&["a", "b"], &["x,\"y\"\n", "é"]]),
        ("a\n\"\"\n\"x\n\n\"\n\n\n", &[&["a"], &[""], &["x\n\n"]]),
        ("a", &[&["a"]]),
        ("a,b\n,\n", &[&["a", "b"], &["", ""]]),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text.as_bytes()).unwrap(), *expected, "{text:?}");
        assert_eq!(read(Slow(text.as_bytes(), false)).unwrap(), *expected, "slowly {text:?}");
    }
}

#[test]
fn bad_tables() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "the file is empty; a table starts with a header row"),
        (b"\xef\xbb\xbf", "the file is empty; a table starts with a header row"),
        (b"\n\r\n", "the file is empty; a table starts with a header row"),
        (b"a,a\n", "column `a` occurs twice in the header"),
        (b"a,,b\n", "column 2 has no name; the header must name every column"),
        (b"a, \n", "column 2 has no name; the header must name every column"),
        (b"a,b\n1,2\n1\n", "row 2: 1 columns, the header has 2"),
        (b"a,b\n1,2,3\n", "row 1: 3 columns, the header has 2"),
        (b"a,b\n1,2\n1,\xff\n", "row 2, column `b`: not valid UTF-8; convert the file to UTF-8"),
        (b"a,\xff\n", "header, column `2`: not valid UTF-8; convert the file to UTF-8"),
        // Valid only when the cells are glued together.
        (b"a,b\n\xc3,\xa9\n", "row 1, column `a`: not valid UTF-8; convert the file to UTF-8"),
        (
            b"a,b\n1,\"2\n3,4\n",
            "the file has an odd number of quotes; close the quote that is open, write a literal one twice",
        ),
        (
            b"a\n1\n\n2\n\n",
            "1 blank lines in a table of one column are ambiguous; write a null as `\"\"` or `NA`",
        ),
        (
            b"a\r\n\r\n1\r\n\"x\r\ny\"\r\n\r\n2",
            "2 blank lines in a table of one column are ambiguous; write a null as `\"\"` or `NA`",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn limits() {
    let header = |columns: usize| (0..columns).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    assert_eq!(read(header(COLUMN_LIMIT).as_bytes()).unwrap()[0].len(), COLUMN_LIMIT);
    assert_eq!(refusal(header(COLUMN_LIMIT + 1).as_bytes()), "10001 columns; a table has at most 10000");
    let cell = |size: usize| format!("a,b\n1,{}\n", "x".repeat(size));
    assert_eq!(read(cell(FIELD_LIMIT_BYTES).as_bytes()).unwrap().len(), 2);
    assert_eq!(
        refusal(cell(FIELD_LIMIT_BYTES + 1).as_bytes()),
        "row 1, column `b`: 1048577 bytes; a cell has at most 1048576"
    );
    let endless = Cursor::new("a,b\n1,2\n1,\"").chain(io::repeat(b'x'));
    assert!(matches!(read(endless), Err(TableError::RowTooLong { row: 2 })));
    let rows = "1,2\n".repeat(ROW_LIMIT_BYTES / 4 + 100_000);
    let mut table = TableReader::csv(Cursor::new("a,b\n").chain(rows.as_bytes())).unwrap();
    while table.next_row().unwrap().is_some() {}
}

#[test]
fn a_failing_reader_is_no_end_of_file() {
    let mut table = TableReader::csv(Broken(b"a,b\n1,2\n3,4\n")).unwrap();
    assert!(table.next_row().unwrap().is_some());
    assert!(table.next_row().unwrap().is_some());
    let error = table.next_row().map(|_| ()).unwrap_err();
    assert!(matches!(error, TableError::Read { row: 2, .. }), "{error:?}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "disk gone");
    assert!(matches!(table.next_row(), Err(TableError::Stopped)));
    assert!(matches!(TableReader::csv(Broken(b"")), Err(TableError::Read { row: 0, .. })));
}

#[test]
fn messages_cannot_steer_a_terminal() {
    assert_eq!(shown("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
    assert_eq!(shown(&"é".repeat(81)), format!("{}...", "é".repeat(80)));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(
        prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0xef), any::<u8>()], 0..200)
    ) {
        let fast = read(&bytes[..]).map_err(|e| e.to_string());
        let slow = read(Slow(&bytes, false)).map_err(|e| e.to_string());
        prop_assert_eq!(fast, slow);
    }

    #[test]
    fn what_is_written_is_read(rows in prop::collection::vec(prop::collection::vec(".{0,8}", 3), 0..20)) {
        let mut text = "x,y,z\n".to_owned();
        for row in &rows {
            let cells: Vec<_> = row.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
            text += &(cells.join(",") + "\n");
        }
        prop_assert_eq!(&read(text.as_bytes()).unwrap()[1..], &rows[..]);
    }
}
