use super::*;

fn run() -> Series {
    Series::Run(RunId::derive(&Digest::of(b"plan"), crate::Timestamp::from_unix_ms(0), 1))
}

fn member(number: u64, previous: Option<&[u8]>, closes: bool) -> Member {
    Member { series: run(), sequence: Sequence { number, previous: previous.map(Digest::of) }, closes }
}

fn end(number: u64, statement: &[u8], closed: bool) -> SeriesEnd {
    SeriesEnd { number, statement: Digest::of(statement), closed }
}

#[test]
fn each_follows_the_one_before() {
    let first = member(1, None, false).follow(None, Digest::of(b"a")).unwrap();
    assert_eq!(first, end(1, b"a", false));
    let second = member(2, Some(b"a"), true).follow(Some(&first), Digest::of(b"b")).unwrap();
    assert_eq!(second, end(2, b"b", true));
    assert_eq!(Sequence::after(Some(&second)).number, 3);
}

#[test]
fn what_does_not_follow_is_named() {
    let series = run();
    let open = end(2, b"b", false);
    let refused = |member: Member, end: Option<&SeriesEnd>| member.follow(end, Digest::of(b"x")).unwrap_err();
    assert_eq!(
        refused(member(4, Some(b"c"), false), Some(&open)),
        SequenceError::Missing { series: series.clone(), missing: 3, number: 4 }
    );
    assert_eq!(
        refused(member(2, Some(b"a"), false), None),
        SequenceError::Missing { series: series.clone(), missing: 1, number: 2 }
    );
    for again in [1, 2] {
        let repeated = SequenceError::Repeated { series: series.clone(), number: again };
        assert_eq!(refused(member(again, Some(b"b"), false), Some(&open)), repeated);
    }
    for other in [None, Some(&b"other"[..])] {
        let previous = SequenceError::Previous { series: series.clone(), number: 3 };
        assert_eq!(refused(member(3, other, false), Some(&open)), previous);
    }
    let first = SequenceError::Previous { series: series.clone(), number: 1 };
    assert_eq!(refused(member(1, Some(b"b"), false), None), first);
    assert_eq!(
        refused(member(3, Some(b"b"), false), Some(&end(2, b"b", true))),
        SequenceError::Closed { series, last: 2, number: 3 }
    );
}

#[test]
fn a_number_is_written_in_one_way() {
    let read = |text: &str| serde_json::from_str::<Sequence>(text);
    assert_eq!(read(r#"{"number":"1"}"#).unwrap(), Sequence { number: 1, previous: None });
    let text = format!(r#"{{"number":"12","previous":"{}"}}"#, Digest::of(b"a"));
    let sequence = read(&text).unwrap();
    assert_eq!(sequence, Sequence { number: 12, previous: Some(Digest::of(b"a")) });
    assert_eq!(serde_json::to_string(&sequence).unwrap(), text);
    for wrong in
        [r#""0""#, r#""01""#, r#""+1""#, r#""-1""#, r#""""#, r#"" 1""#, "1", r#""18446744073709551616""#]
    {
        assert!(read(&format!(r#"{{"number":{wrong}}}"#)).is_err(), "{wrong}");
    }
    assert!(read(r#"{"number":"1","next":"x"}"#).is_err());
}
