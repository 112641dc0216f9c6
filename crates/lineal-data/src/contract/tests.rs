use std::io;

use proptest::prelude::*;

use super::*;

const FLIGHTS: &str = r#"
apiVersion: lineal.dev/v1alpha1
kind: Contract
metadata: {name: flights}
tables:
  - files: "flights-*.csv"
    min_rows: 2
    columns:
      - {name: carrier, type: string, required: true}
      - {name: month, type: integer, min: 1, max: 12}
      - {name: dep_delay, type: number, max_null_fraction: 0.5}
      - {name: origin, type: string, allowed: [EWR, JFK, LGA]}
    null_values: ["", "NA"]
"#;

/// A contract with one table `t.csv` and one column.
fn one(column: &str) -> String {
    format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: x}}\ntables:\n- files: t.csv\n  columns: [{column}]\n"
    )
}

fn check(contract: &str, files: &[(&str, &[u8])]) -> Vec<Check> {
    let contract = Contract::parse(contract.as_bytes()).unwrap();
    contract.check(files.iter().map(|(path, bytes)| ((*path).to_owned(), Ok(*bytes))))
}

/// `text | held or VIOLATED n | detail` of each check.
fn lines(checks: &[Check]) -> Vec<String> {
    let verdict = |c: &Check| if c.held { "held".to_owned() } else { format!("VIOLATED {}", c.violations) };
    checks
        .iter()
        .map(|c| format!("{} | {} | {}", c.text, verdict(c), c.detail.as_deref().unwrap_or("-")))
        .collect()
}

#[test]
fn a_contract_that_is_kept() {
    let contract = Contract::parse(FLIGHTS.as_bytes()).unwrap();
    assert_eq!(contract.name().as_str(), "flights");
    assert!(contract.covers("flights-01.csv") && !contract.covers("README.md"));
    let good: &[u8] = b"carrier,month,dep_delay,origin\nUA,1,2,EWR\nAA,12,NA,JFK\n";
    let checks =
        check(FLIGHTS, &[("README.md", b"\xff"), ("flights-01.csv", good), ("flights-02.csv", good)]);
    let expected = [
        "at least one file | held | 2 files, 4 rows",
        "every file is a readable table | held | -",
        "at least 2 rows in each file | held | -",
        "carrier: present | held | -",
        "carrier: type string | held | -",
        "carrier: no nulls | held | -",
        "month: present | held | -",
        "month: type integer | held | -",
        "month: at least 1 | held | -",
        "month: at most 12 | held | -",
        "dep_delay: present | held | -",
        "dep_delay: type number | held | -",
        "dep_delay: null fraction at most 0.5 | held | 2 of 4 rows are null",
        "origin: present | held | -",
        "origin: type string | held | -",
        "origin: only EWR, JFK, LGA | held | -",
    ];
    assert_eq!(lines(&checks), expected);
    assert!(checks.iter().all(|c| c.table == "flights-*.csv"));
}

#[test]
fn every_violation_is_counted_and_the_first_is_shown() {
    let first: &[u8] = b"origin,carrier,month,dep_delay\nEWR,UA,0,NA\nBOS,NA,13,\nBOS,,1.5,x\n";
    let second: &[u8] = b"origin,carrier,month,dep_delay\nNA,UA,14,NA\n\x1b[2J,UA,NA,1\n";
    let third: &[u8] = b"origin,carrier,month,dep_delay\n";
    let files = [("flights-1.csv", first), ("flights-2.csv", second), ("flights-3.csv", third)];
    let expected = [
        "at least one file | held | 3 files, 5 rows",
        "every file is a readable table | held | -",
        "at least 2 rows in each file | VIOLATED 1 | flights-3.csv has 0 (1 file in all)",
        "carrier: present | held | -",
        "carrier: type string | held | -",
        "carrier: no nulls | VIOLATED 2 | flights-1.csv row 2: `NA` (2 rows in all)",
        "month: present | held | -",
        "month: type integer | VIOLATED 1 | flights-1.csv row 3: `1.5` (1 row in all)",
        "month: at least 1 | VIOLATED 1 | flights-1.csv row 1: `0` (1 row in all)",
        "month: at most 12 | VIOLATED 2 | flights-1.csv row 2: `13` (2 rows in all)",
        "dep_delay: present | held | -",
        "dep_delay: type number | VIOLATED 1 | flights-1.csv row 3: `x` (1 row in all)",
        "dep_delay: null fraction at most 0.5 | VIOLATED 3 | \
         3 of 5 rows are null; flights-1.csv row 1: `NA` (3 rows in all)",
        "origin: present | held | -",
        "origin: type string | held | -",
        "origin: only EWR, JFK, LGA | VIOLATED 3 | flights-1.csv row 2: `BOS` (3 rows in all)",
    ];
    assert_eq!(lines(&check(FLIGHTS, &files)), expected);
}

#[test]
fn nothing_that_was_not_looked_at_is_held() {
    let none = check(FLIGHTS, &[("other.csv", b"a\n1\n")]);
    assert!(none.iter().all(|c| !c.held));
    assert_eq!(none[0].detail.as_deref(), Some("no file matches `flights-*.csv`"));
    assert_eq!(none[5].detail.as_deref(), Some("not fully evaluated: no file matches"));

    let bad_files: &[(&[u8], &str)] = &[
        (b"", "t.csv: the file is empty; a table starts with a header row (1 file in all)"),
        (b"a\n1\n2,3\n", "t.csv: row 2: 2 columns, the header has 1 (1 file in all)"),
        (
            b"a\n\xff\n",
            "t.csv: row 1, column `a`: not valid UTF-8; convert the file to UTF-8 (1 file in all)",
        ),
    ];
    for (bytes, expected) in bad_files {
        let checks = check(&one("{name: a, type: integer}"), &[("t.csv", bytes)]);
        assert_eq!(checks[1].detail.as_deref(), Some(*expected));
        assert_eq!(checks[2].held, !bytes.is_empty(), "present");
        assert!(!checks[1].held && !checks[3].held);
        assert_eq!(checks[3].detail.as_deref(), Some("not fully evaluated: t.csv was not read to its end"));
    }

    let contract = Contract::parse(one("{name: a, type: integer}").as_bytes()).unwrap();
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let checks = contract.check([("t.csv".to_owned(), Err::<&[u8], _>(denied))]);
    let expected = "t.csv: cannot read beyond header: permission denied (1 file in all)";
    assert_eq!(checks[1].detail.as_deref(), Some(expected));
}

#[test]
fn a_missing_column_fails_all_its_promises() {
    let checks = check(
        &one("{name: a, type: integer, required: true}, {name: b, type: string}"),
        &[("t.csv", b"b\nx\n")],
    );
    let expected = [
        "at least one file | held | 1 file, 1 rows",
        "every file is a readable table | held | -",
        "a: present | VIOLATED 1 | t.csv has no column `a` (1 file in all)",
        "a: type integer | VIOLATED 0 | not fully evaluated: t.csv has no column `a`",
        "a: no nulls | VIOLATED 0 | not fully evaluated: t.csv has no column `a`",
        "b: present | held | -",
        "b: type string | held | -",
    ];
    assert_eq!(lines(&checks), expected);
}

/// The last check of a one-column contract.
fn last(column: &str, cells: &[&str]) -> Check {
    let text = format!("a,z\n{}", cells.iter().map(|cell| format!("{cell},\n")).collect::<String>());
    check(&one(column), &[("t.csv", text.as_bytes())]).pop().unwrap()
}

#[test]
fn rules() {
    let cases: &[(&str, &[&str], u64)] = &[
        ("{name: a, type: integer}", &["1", "NA", "", "1.0", "007", "x"], 3),
        ("{name: a, type: number}", &["1", "1.0", "1e5", "NaN", "x"], 2),
        ("{name: a, type: boolean}", &["true", "FALSE", "1"], 1),
        ("{name: a, type: timestamp}", &["2013-01-01", "2013-01-01T10:00:00Z", "2013"], 1),
        ("{name: a, type: string}", &["1", "x", "NA"], 0),
        ("{name: a, type: number, min: 0.5}", &["0.5", "0.49", "x", "NA", "-1"], 2),
        ("{name: a, type: integer, max: 9007199254740992}", &["9007199254740992", "9007199254740993"], 1),
        (
            "{name: a, type: integer, allowed: [1, 2, true, NO]}",
            &["1", "2", "true", "NO", "01", "NA", "no"],
            2,
        ),
        ("{name: a, type: string, required: true}", &["x", "NA", ""], 2),
    ];
    for (column, cells, violations) in cases {
        let check = last(column, cells);
        assert_eq!((check.violations, check.held), (*violations, *violations == 0), "{column} {check:?}");
    }
    let mut cells = vec!["NA"; 29];
    cells.extend(["1"; 71]);
    assert!(last("{name: a, type: integer, max_null_fraction: 0.29}", &cells).held);
    assert!(!last("{name: a, type: integer, max_null_fraction: 0.28}", &cells).held);
    assert!(last("{name: a, type: integer, max_null_fraction: 0}", &[]).held);
}

#[test]
fn null_values_and_overlapping_tables() {
    let contract = format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: x}}\ntables:\n\
         - {{files: '*.csv', columns: [{{name: a, type: integer, required: true}}], null_values: ['-']}}\n\
         - {{files: 't.*', columns: [{{name: a, type: integer, required: true}}], null_values: []}}\n"
    );
    let checks = check(&contract, &[("t.csv", b"a,b\n1,1\n-,2\n,3\n")]);
    let counts: Vec<_> = checks.iter().map(|c| c.violations).collect();
    assert_eq!(counts, [0, 0, 0, 1, 1, 0, 0, 0, 2, 0]);
}

#[test]
fn contracts_that_are_refused() {
    let column = |column: &str| one(column);
    let cases = [
        ("kind: [".to_owned(), "not a contract: "),
        (FLIGHTS.replace("kind: Contract", "kind: Contrast"), "`kind` is `Contrast`, expected `Contract`"),
        (FLIGHTS.replace("v1alpha1", "v9"), "`apiVersion` is `lineal.dev/v9`, expected"),
        (FLIGHTS.replace("min_rows", "min_row"), "not a contract: tables[0]: unknown field `min_row`"),
        (FLIGHTS.replace("min_rows: 2", "min_rows: -2"), "not a contract: tables[0].min_rows"),
        (
            FLIGHTS.replace("name: flights", "name: Flights"),
            "not a contract: metadata: `Flights` is not a dataset",
        ),
        (FLIGHTS.replace("flights-*.csv", ""), "table ``: `files` is empty"),
        (FLIGHTS.replace("month", "origin"), "table `flights-*.csv`: column `origin` occurs twice"),
        (
            format!("{FLIGHTS}  - {{files: 'flights-*.csv', columns: []}}\n"),
            "tables: pattern `flights-*.csv` occurs",
        ),
        (column("").replace("- files: t.csv\n  columns: []", "  []"), "tables: 0 tables, expected 1 to 1000"),
        (
            column("{name: a, type: text}"),
            "not a contract: tables[0].columns[0].type: unknown variant `text`",
        ),
        (column("{name: a}"), "not a contract: tables[0].columns[0]: missing field `type`"),
        (column("{name: a, name: b, type: string}"), "not a contract: tables[0].columns[0]: duplicate field"),
        (
            column("{name: a, type: string, min: 1}"),
            "table `t.csv`, column `a`: `min` and `max` need type integer",
        ),
        (
            column("{name: a, type: number, min: 2, max: 1.5}"),
            "table `t.csv`, column `a`: `min` 2 is above `max` 1.5",
        ),
        (
            column("{name: a, type: number, min: .nan}"),
            "table `t.csv`, column `a`: bound NaN is not a finite number",
        ),
        (
            column("{name: a, type: number, min: x}"),
            "not a contract: tables[0].columns[0]: `min` and `max` must be numbers",
        ),
        (
            column("{name: a, type: number, max_null_fraction: 1.1}"),
            "table `t.csv`, column `a`: `max_null_fraction`",
        ),
        (
            column("{name: a, type: number, max_null_fraction: .nan}"),
            "table `t.csv`, column `a`: `max_null_fraction`",
        ),
        (
            column("{name: a, type: number, required: true, max_null_fraction: 0}"),
            "table `t.csv`, column `a`: `required` already excludes nulls",
        ),
        (column("{name: a, type: number, allowed: []}"), "table `t.csv`, column `a`: 0 allowed values"),
        (
            column("{name: a, type: number, allowed: [1.5]}"),
            "table `t.csv`, column `a`: allowed value 1.5: quote it",
        ),
        (
            FLIGHTS.replace("[\"\", \"NA\"]", &format!("{:?}", vec![""; 101])),
            "table `flights-*.csv`: 101 null values",
        ),
        (" ".repeat(CONTRACT_LIMIT_BYTES + 1), "1048577 bytes; a contract has at most 1048576"),
    ];
    for (text, expected) in cases {
        let error = Contract::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "expected {expected:?}, got {error:?}");
    }
}

#[test]
fn long_lists_are_cut_in_the_text_only() {
    let listed = (0..25).map(|i| i.to_string()).collect::<Vec<_>>();
    let check = last(&format!("{{name: a, type: integer, allowed: [{}]}}", listed.join(",")), &["24", "25"]);
    assert_eq!(check.text, format!("a: only {} and 5 more", listed[..20].join(", ")));
    assert_eq!(check.violations, 1);
    let exact = last(&format!("{{name: a, type: integer, allowed: [{}]}}", listed[..20].join(",")), &[]);
    assert_eq!(exact.text, format!("a: only {}", listed[..20].join(", ")));
}

#[test]
fn checks_are_documents() {
    let check = last("{name: a, type: integer}", &["x"]);
    let text = serde_json::to_string(&check).unwrap();
    let expected = concat!(
        r#"{"table":"t.csv","text":"a: type integer","held":false,"violations":"1","#,
        r#""detail":"t.csv row 1: `x` (1 row in all)"}"#
    );
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<Check>(&text).unwrap(), check);
}

#[test]
fn patterns() {
    let cases = [
        ("a.csv", "a.csv", true),
        ("a.csv", "b.csv", false),
        ("*.csv", "a.csv", true),
        ("*.csv", ".csv", true),
        ("*.csv", "d/a.csv", false),
        ("*/*.csv", "d/a.csv", true),
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("a*", "a", true),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "aXbYbZ", false),
        ("**", "a", true),
        ("**", "a/b", false),
        ("é*", "éa", true),
        ("a?", "ab", false),
        ("*a/b", "xa/b", true),
        ("*/b", "a/c/b", false),
    ];
    for (pattern, path, expected) in cases {
        assert_eq!(glob::matches(pattern, path), expected, "{pattern} {path}");
    }
    assert!(!glob::matches(&("*a".repeat(200) + "b"), &"a".repeat(10_000)));
}

/// The obvious definition.
fn slowly(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        ([], path) => path.is_empty(),
        ([b'*', rest @ ..], path) => {
            slowly(rest, path) || path.first().is_some_and(|b| *b != b'/' && slowly(pattern, &path[1..]))
        }
        ([a, rest @ ..], [b, left @ ..]) => a == b && slowly(rest, left),
        ([_, ..], []) => false,
    }
}

proptest! {
    #[test]
    fn patterns_follow_their_definition(pattern in "[ab/*]{0,8}", path in "[ab/]{0,10}") {
        prop_assert_eq!(glob::matches(&pattern, &path), slowly(pattern.as_bytes(), path.as_bytes()));
    }

    #[test]
    fn random_contracts_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "[-{}:a&* \n\\[\\]\"']{0,60}") {
        prop_assert!(Contract::parse(&bytes).is_err() && Contract::parse(text.as_bytes()).is_err());
    }

    #[test]
    fn damaged_contracts_never_panic(at in 0..FLIGHTS.len(), byte in any::<u8>()) {
        let mut bytes = FLIGHTS.as_bytes().to_vec();
        bytes[at] = byte;
        if let Ok(contract) = Contract::parse(&bytes) {
            contract.check([("flights-1.csv".to_owned(), Ok(&bytes[..]))]);
        }
    }

    #[test]
    fn the_counts_are_exact(cells in prop::collection::vec(prop::sample::select(vec!["EWR", "BOS", "NA", "1"]), 0..50)) {
        let check = last("{name: a, type: string, allowed: [EWR, JFK]}", &cells);
        let bad = |cell: &&&str| matches!(**cell, "BOS" | "1");
        prop_assert_eq!(check.violations, cells.iter().filter(bad).count() as u64);
        let first = cells.iter().position(|cell| bad(&cell)).map(|i| format!("t.csv row {}: `{}`", i + 1, cells[i]));
        prop_assert!(check.detail.unwrap_or_default().starts_with(&first.unwrap_or_default()));
    }
}
