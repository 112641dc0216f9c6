use std::sync::Mutex;

use lineal_facts::predicate::{Incident, KeyRecord, KeyRole, KeyState};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, Predicate, Statement, Timestamp};
use lineal_proof::Signer as _;
use proptest::prelude::*;

use super::*;
use crate::store::Store;

fn key_statement(store: &Store) -> Statement {
    let key = store.builder().public_key();
    let record = KeyRecord {
        holder: "lineal".to_owned(),
        role: KeyRole::Builder,
        state: KeyState::Active,
        public_key: key.to_pem(),
        replaces: None,
        reason: None,
        stated_at: Timestamp::from_unix_ms(0),
    };
    Statement { subject: vec![Subject::new("key/lineal", key.id())], predicate: Predicate::Key(record) }
}

fn incident(message: &str) -> Statement {
    let predicate = Predicate::Incident(Incident {
        code: "test".to_owned(),
        message: message.to_owned(),
        found_at: Timestamp::from_unix_ms(1),
    });
    Statement { subject: vec![Subject::new("thing", Digest::of(message.as_bytes()))], predicate }
}

/// What a text may have to be mistaken for another one.
const MESSAGES: [&str; 8] = ["", "plain", "it's", "''", "a','b", "1;2;", "two\nlines, NULL", "größer"];

async fn filled(folder: &std::path::Path) -> Store {
    let store = Store::create(&folder.join(".lineal"), "lineal.local/test").await.unwrap();
    store.commit(&[key_statement(&store)], store.builder()).await.unwrap();
    store.commit(&MESSAGES.map(incident), store.builder()).await.unwrap();
    store
}

async fn equal(store: &Store) -> bool {
    let head = store.ledger().head().unwrap().unwrap();
    let told = Mutex::new(0);
    let progress = |by| *told.lock().unwrap() += by;
    let equal = is_equal(&store.index().database, store.ledger(), &head, &progress).await;
    assert!(!equal || *told.lock().unwrap() == head.size);
    equal
}

async fn execute(store: &Store, sql: &str) {
    let mut transaction = store.index().database.begin().await.unwrap();
    transaction.execute(sql, Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn the_rows_of_the_ledger_are_equal_and_whatever_was_changed_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    assert!(equal(&store).await);
    let damages = [
        "UPDATE incidents SET message = 'other' WHERE position = 2",
        "UPDATE incidents SET message = message || char(0) WHERE position = 2",
        "UPDATE incidents SET message = message || char(0) || 'more' WHERE position = 8",
        "UPDATE incidents SET message = char(0) WHERE position = 1",
        "UPDATE incidents SET message = CAST(message AS BLOB) WHERE position = 2",
        "UPDATE incidents SET code = 'test'',' WHERE position = 2",
        "UPDATE entries SET holder = NULL WHERE position = 3",
        "UPDATE entries SET holder = 'NULL' WHERE position = 3",
        "UPDATE subjects SET position = 'x' WHERE position = 8",
        "UPDATE subjects SET rowid = rowid + 100 WHERE position = 2",
        "UPDATE subjects SET name = 'other'",
        "DELETE FROM incidents WHERE position = 8",
        "DELETE FROM incidents",
        "DELETE FROM subjects WHERE position = 0",
        "INSERT INTO subjects (position, name, digest) VALUES (8, 'x', 'y')",
        "INSERT INTO subjects (position, name, digest) VALUES (9, 'x', 'y')",
        "INSERT INTO subjects (position, name, digest) VALUES (-1, 'x', 'y')",
        "INSERT INTO subjects (position, name, digest) VALUES ('z', 'x', 'y')",
        "INSERT INTO dependencies (position, name, digest) VALUES (2, 'x', 'y')",
        "INSERT INTO dependencies (position, name, digest) VALUES (99, 'x', 'y')",
    ];
    for sql in damages {
        execute(&store, sql).await;
        assert!(!equal(&store).await, "{sql}");
        store.rebuild_index().await.unwrap();
        assert!(equal(&store).await, "after {sql}");
    }
}

#[tokio::test]
async fn rows_of_entries_that_came_meanwhile_are_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let before = store.ledger().head().unwrap().unwrap();
    store.commit(&[incident("late")], store.builder()).await.unwrap();
    let database = &store.index().database;
    assert!(is_equal(database, store.ledger(), &before, &|_| ()).await);
    execute(&store, "INSERT INTO subjects (position, name, digest) VALUES (8, 'x', 'y')").await;
    assert!(!is_equal(database, store.ledger(), &before, &|_| ()).await);
}

#[tokio::test]
async fn parts_of_any_length_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let many: Vec<Statement> = (0..PART_ENTRIES + 300).map(|n| incident(&n.to_string())).collect();
    for some in many.chunks(1000) {
        store.commit(some, store.builder()).await.unwrap();
    }
    assert!(equal(&store).await);
    execute(&store, "UPDATE incidents SET message = 'x' WHERE position = 4350").await;
    assert!(!equal(&store).await);
}

fn value() -> impl Strategy<Value = Value> {
    let text =
        prop::collection::vec(prop::sample::select(vec!["'", "''", ",", ";", "N", "NULL", "1", ""]), 0..4);
    prop_oneof![
        text.prop_map(|parts| Value::Text(Some(parts.concat()))),
        Just(Value::Text(None)),
        (-2_i64..20).prop_map(|number| Value::Number(Some(number))),
        Just(Value::Number(None)),
        any::<bool>().prop_map(Value::Flag),
    ]
}

/// What a database keeps of a value: a flag is a number there, and nothing has no type.
fn kept(value: &Value) -> Value {
    match value {
        Value::Flag(flag) => Value::Number(Some((*flag).into())),
        Value::Text(None) => Value::Number(None),
        other => other.clone(),
    }
}

proptest! {
    /// No two lists of rows have the same text.
    #[test]
    fn texts_tell_rows_apart(
        one in prop::collection::vec(prop::collection::vec(value(), 2), 0..3),
        other in prop::collection::vec(prop::collection::vec(value(), 2), 0..3),
    ) {
        let text = |rows: &Vec<Vec<Value>>| {
            let mut text = String::new();
            rows.iter().for_each(|row| write_row(row, &mut text));
            text
        };
        let kept = |rows: &Vec<Vec<Value>>| -> Vec<Vec<Value>> {
            rows.iter().map(|row| row.iter().map(kept).collect()).collect()
        };
        prop_assert_eq!(text(&one) == text(&other), kept(&one) == kept(&other));
    }
}
