//! What is in the ledger while the index is behind it.

use lineal_facts::predicate::{KeyRole, RolloutTransition};
use lineal_facts::sequence::SequenceError;
use lineal_proof::Signer as _;
use lineal_store::{Store, StoreError};

use crate::fixture::{Fixture, Kind};
use crate::statements::{incident, key_of, numbered, rollout};

/// The database takes no row until [`unblock`].
async fn block(fixture: &Fixture) {
    fixture.raw().await.execute("ALTER TABLE entries RENAME TO entries_elsewhere").await;
}

async fn unblock(fixture: &Fixture) {
    fixture.raw().await.execute("ALTER TABLE entries_elsewhere RENAME TO entries").await;
}

async fn appended_and_indexed(store: &Store) -> (u64, u64) {
    (store.ledger().head().unwrap().unwrap().size, store.index().size().await.unwrap())
}

fn sequence_error(error: &StoreError) -> &SequenceError {
    let StoreError::Group(error) = error else { panic!("{error}") };
    let StoreError::Sequence(error) = &**error else { panic!("{error}") };
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_needs_no_index() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let fixture = Fixture::new(kind).await;
        let store = &fixture.store;
        block(&fixture).await;
        for number in 0..3 {
            let appended = store.append(&[incident(number)], store.builder()).await.unwrap();
            assert_eq!(appended[0].position, number + 1, "{kind:?}");
        }
        assert_eq!(appended_and_indexed(store).await, (4, 1), "{kind:?}");
        assert!(store.indexed().await.is_err(), "{kind:?}");
        unblock(&fixture).await;
        store.indexed().await.unwrap();
        assert_eq!(appended_and_indexed(store).await, (4, 4), "{kind:?}");
        assert_eq!(store.index().dump().await.unwrap(), fixture.expected().await, "{kind:?}");
    }
}

/// Keys and series are known to the writer although the index has nothing of them yet.
#[tokio::test(flavor = "multi_thread")]
async fn admission_does_not_forget_what_the_index_does_not_have_yet() {
    let fixture = Fixture::new(Kind::Sqlite).await;
    let store = &fixture.store;
    let steps = [RolloutTransition::Started, RolloutTransition::Advanced, RolloutTransition::Promoted];
    let steps = numbered(steps.map(|transition| rollout(7, transition)).to_vec());
    block(&fixture).await;
    store.append(&steps[..1], store.builder()).await.unwrap();
    let error = store.append(&steps[2..], store.builder()).await.unwrap_err();
    assert!(
        matches!(sequence_error(&error), SequenceError::Missing { missing: 2, number: 3, .. }),
        "{error}"
    );
    let error = store.append(&steps[..1], store.builder()).await.unwrap_err();
    assert!(matches!(sequence_error(&error), SequenceError::Repeated { number: 1, .. }), "{error}");
    store.append(&steps[1..], store.builder()).await.unwrap();
    let key = store.keys().create("ana", KeyRole::Builder).unwrap();
    let error = store.append(&[incident(1)], &key).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Group(error) if matches!(**error, StoreError::Keyring(_))),
        "{error}"
    );
    let known = key_of("ana", KeyRole::Builder, key.public_key());
    store.append(&[known], store.builder()).await.unwrap();
    store.append(&[incident(1)], &key).await.unwrap();
    assert_eq!(appended_and_indexed(store).await, (6, 1));
    unblock(&fixture).await;
    store.indexed().await.unwrap();
    assert_eq!(store.index().dump().await.unwrap(), fixture.expected().await);
}

/// Another process appended meanwhile: what this one remembers of the ledger's end is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_appended_counts_for_admission() {
    let fixture = Fixture::new(Kind::Sqlite).await;
    let (store, other) = (&fixture.store, fixture.reopen().await);
    let steps = [RolloutTransition::Started, RolloutTransition::Advanced, RolloutTransition::Promoted];
    let steps = numbered(steps.map(|transition| rollout(7, transition)).to_vec());
    store.append(&steps[..1], store.builder()).await.unwrap();
    other.append(&steps[1..2], other.builder()).await.unwrap();
    let error = store.append(&steps[1..2], store.builder()).await.unwrap_err();
    assert!(matches!(sequence_error(&error), SequenceError::Repeated { number: 2, .. }), "{error}");
    store.append(&steps[2..], store.builder()).await.unwrap();
    store.indexed().await.unwrap();
    assert_eq!(store.index().dump().await.unwrap(), fixture.expected().await);
}

/// Everyone who waits is told its own place, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_for_rows_are_told_that_the_index_is_behind() {
    let fixture = Fixture::new(Kind::Sqlite).await;
    let store = &fixture.store;
    block(&fixture).await;
    let commit = |number| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(&[incident(number)], store.builder()).await })
    };
    let mut positions = Vec::new();
    for task in (0..20).map(commit).collect::<Vec<_>>() {
        match task.await.unwrap() {
            Err(StoreError::Unindexed { position, .. }) => positions.push(position),
            other => panic!("{other:?}"),
        }
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=20).collect::<Vec<_>>());
    unblock(&fixture).await;
    store.commit(&[incident(20)], store.builder()).await.unwrap();
    assert_eq!(appended_and_indexed(store).await, (22, 22));
    assert_eq!(store.index().dump().await.unwrap(), fixture.expected().await);
}
