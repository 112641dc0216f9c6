//! A database that somebody broke. The index follows from the ledger, so nothing is lost.

use lineal_store::index::IndexError;
use lineal_store::{Index, IndexLocation};

use crate::fixture::{Fixture, Kind};
use crate::statements::{all, incident};

const BOTH: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_row_is_named_and_a_rebuild_makes_it_good() {
    for kind in BOTH {
        let fixture = Fixture::new(kind).await;
        fixture.commit(&all()).await;
        let good = fixture.store.index().dump().await.unwrap();
        fixture.raw().await.execute("UPDATE entries SET statement = 'nonsense' WHERE position = 1").await;
        let error = fixture.store.index().entries().await.unwrap_err();
        assert!(matches!(&error, IndexError::Value { column } if column == "statement"), "{error}");
        assert!(error.to_string().contains("lineal ledger rebuild"), "{error}");
        fixture.store.rebuild_index().await.unwrap();
        assert_eq!(fixture.store.index().dump().await.unwrap(), good);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_writer_reads_is_made_anew_on_open() {
    let damages = [
        "UPDATE state SET root = 'nonsense'",
        "UPDATE state SET size = -1",
        "UPDATE state SET size = size + 1",
        "DELETE FROM state",
        "UPDATE keys SET record = '{}'",
        "UPDATE keys SET signer = 'nonsense'",
        "DROP TABLE incidents",
    ];
    for kind in BOTH {
        let fixture = Fixture::new(kind).await;
        fixture.commit(&all()).await;
        let good = fixture.store.index().dump().await.unwrap();
        for damage in damages {
            fixture.raw().await.execute(damage).await;
            let again = fixture.reopen().await;
            assert_eq!(again.index().dump().await.unwrap(), good, "{kind:?}: {damage}");
            again.index().close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_fails_midway_changes_nothing() {
    for kind in BOTH {
        let fixture = Fixture::new(kind).await;
        let writer = fixture.copy("writer").await;
        writer.commit(&all(), writer.builder()).await.unwrap();
        writer.commit(&[incident(9)], writer.builder()).await.unwrap();
        let index = fixture.store.index();
        let old = index.dump().await.unwrap();
        let raw = fixture.raw().await;
        raw.execute("ALTER TABLE incidents RENAME TO hidden").await;
        for _ in 0..2 {
            let error = index.catch_up(writer.ledger()).await.unwrap_err();
            assert!(matches!(error, IndexError::Database(_)), "{error}");
            let error = index.rebuild(writer.ledger()).await.unwrap_err();
            assert!(matches!(error, IndexError::Database(_)), "{error}");
        }
        raw.execute("ALTER TABLE hidden RENAME TO incidents").await;
        assert_eq!(index.dump().await.unwrap(), old, "{kind:?}");
        index.catch_up(writer.ledger()).await.unwrap();
        assert_eq!(index.dump().await.unwrap(), crate::fixture::expected(&writer).await);
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    std::fs::write(&path, "this is no database".repeat(1000)).unwrap();
    let error = Index::open(&IndexLocation::File(path.clone()), "any").await.unwrap_err();
    assert!(matches!(&error, IndexError::Damaged(named) if *named == path), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_another_version_is_made_anew() {
    let fixture = Fixture::new(Kind::Sqlite).await;
    fixture.commit(&all()).await;
    let good = fixture.store.index().dump().await.unwrap();
    let raw = fixture.raw().await;
    raw.execute("CREATE TABLE \"a \"\" table of another build\" (x)").await;
    raw.execute("ALTER TABLE gates DROP COLUMN counts").await;
    raw.execute("PRAGMA user_version = 2").await;
    assert_eq!(fixture.reopen().await.index().dump().await.unwrap(), good);
}
