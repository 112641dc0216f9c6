use lineal_facts::Timestamp;

use super::*;

fn record(id: &str, prediction: Option<f64>) -> RequestRecord {
    RequestRecord {
        id: id.to_owned(),
        model: "m".parse().unwrap(),
        version: 2,
        role: Role::Canary,
        generation: 7,
        prediction,
        answered_at: Timestamp::from_unix_ms(0),
    }
}

#[test]
fn either_half_may_come_first() {
    let mut join = Join::default();
    assert_eq!(join.request(record("a", Some(0.25))), None);
    let joined = join.outcome("a".to_owned(), 1.0).unwrap();
    assert_eq!((joined.loss, joined.generation, joined.role), (0.5625, 7, Role::Canary));
    assert_eq!(join.outcome("b".to_owned(), 0.0), None);
    assert_eq!(join.request(record("b", Some(0.5))).unwrap().loss, 0.25);
}

#[test]
fn nothing_is_counted_twice_or_made_up() {
    let mut join = Join::default();
    join.request(record("a", Some(0.5)));
    join.request(record("a", Some(0.9)));
    assert_eq!(join.outcome("a".to_owned(), 1.0).unwrap().loss, 0.25);
    assert_eq!(join.outcome("a".to_owned(), 1.0), None);
    assert_eq!(join.request(record("none", None)), None);
    assert_eq!(join.outcome("none".to_owned(), 1.0), None);
    assert_eq!(join.outcome("nan".to_owned(), f64::NAN), None);
    assert_eq!(join.request(record("nan", Some(0.5))), None);
}

#[test]
fn the_window_is_bounded() {
    let mut join = Join::default();
    for n in 0..WINDOW_LIMIT + 5 {
        join.request(record(&n.to_string(), Some(0.5)));
    }
    assert_eq!(join.predictions.by_id.len(), WINDOW_LIMIT);
    assert_eq!(join.outcome("0".to_owned(), 1.0), None);
    assert!(join.outcome("7".to_owned(), 1.0).is_some());
}
