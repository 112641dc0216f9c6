//! A database that somebody broke. The index follows from the ledger, so nothing is lost.

use lineal_facts::predicate::KeyRole;
use lineal_proof::Signer as _;
use lineal_store::index::IndexError;
use lineal_store::{Index, IndexLocation};

use crate::fixture::{Fixture, Kind};
use crate::statements::{all, approval, incident, key_of};

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

/// All but `state` and `incidents`.
const TABLES: [&str; 14] = [
    "entries",
    "subjects",
    "keys",
    "snapshots",
    "results",
    "result_outputs",
    "dependencies",
    "runs",
    "run_steps",
    "gates",
    "versions",
    "approvals",
    "promotions",
    "rollout_steps",
];

#[tokio::test(flavor = "multi_thread")]
async fn any_row_that_the_ledger_does_not_give_is_found() {
    for kind in BOTH {
        let fixture = Fixture::new(kind).await;
        fixture.commit(&all()).await;
        let ana = fixture.store.keys().create("ana", KeyRole::Approver).unwrap();
        fixture.commit(&[key_of("ana", KeyRole::Approver, ana.public_key())]).await;
        fixture.store.commit(&[approval("ana", "fine")], &ana).await.unwrap();
        let raw = fixture.raw().await;
        let mut damages: Vec<(String, String)> = Vec::new();
        for table in TABLES.into_iter().chain(["incidents"]) {
            let last = format!("(SELECT MAX(position) FROM {table})");
            damages.push((
                format!("DELETE FROM {table} WHERE position = {last}"),
                format!("it lacks `{table}: "),
            ));
            damages.push((
                format!("UPDATE {table} SET position = position + 1000 WHERE position = {last}"),
                format!("`{table}: "),
            ));
        }
        let more = |(sql, named): (&str, &str)| (sql.to_owned(), named.to_owned());
        damages.extend(
            [
                ("UPDATE gates SET outcome = 'passed' WHERE outcome = 'failed'", "`gates: "),
                ("UPDATE approvals SET approver = 'eve'", "`approvals: "),
                ("INSERT INTO subjects (position, name, digest) VALUES (3, 'x', 'y')", "it has `subjects: "),
                (
                    "INSERT INTO subjects (position, name, digest) VALUES (999, 'x', 'y')",
                    "it has `subjects: ",
                ),
                ("INSERT INTO subjects (position, name, digest) VALUES (-1, 'x', 'y')", "it has `subjects: "),
                ("UPDATE state SET size = size - 1", "it reaches entry"),
                ("UPDATE state SET root = (SELECT 'sha256:' || substr(root, 10) || 'aa' FROM state)", "it"),
            ]
            .map(more),
        );
        for (sql, named) in damages {
            let (index, ledger) = (fixture.store.index(), fixture.store.ledger());
            let head = ledger.head().unwrap().unwrap();
            assert_eq!(
                index.difference(ledger, &head, &|_| ()).await.unwrap(),
                None,
                "{kind:?} before {sql}"
            );
            raw.execute(&sql).await;
            let found = index.difference(ledger, &head, &|_| ()).await.unwrap().unwrap_or_default();
            assert!(found.contains(&named), "{kind:?}: {sql}: {found}");
            fixture.store.rebuild_index().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_grew_meanwhile_is_the_one_that_the_ledger_gave() {
    for kind in BOTH {
        let fixture = Fixture::new(kind).await;
        fixture.commit(&all()).await;
        let first = fixture.store.ledger().head().unwrap().unwrap();
        let more: Vec<_> = (0..5000).map(incident).collect();
        fixture.commit(&more).await;
        let (index, ledger) = (fixture.store.index(), fixture.store.ledger());
        let last = ledger.head().unwrap().unwrap();
        let done = std::sync::atomic::AtomicU64::new(0);
        let progress = |by| {
            done.fetch_add(by, std::sync::atomic::Ordering::Relaxed);
        };
        assert_eq!(index.difference(ledger, &last, &progress).await.unwrap(), None, "{kind:?}");
        assert_eq!(done.into_inner(), last.size);
        assert_eq!(index.difference(ledger, &first, &|_| ()).await.unwrap(), None, "{kind:?}");
        let sql = "UPDATE incidents SET message = 'other' WHERE position = 4100";
        fixture.raw().await.execute(sql).await;
        assert_eq!(index.difference(ledger, &first, &|_| ()).await.unwrap(), None, "{kind:?}");
        assert!(index.difference(ledger, &last, &|_| ()).await.unwrap().unwrap().contains("message="));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_replaced() {
    let fixture = Fixture::new(Kind::Sqlite).await;
    fixture.commit(&all()).await;
    let good = fixture.store.index().dump().await.unwrap();
    fixture.store.index().close().await;
    let root = fixture.store.root().to_owned();
    let path = root.join("index.db");
    let whole = std::fs::read(&path).unwrap();
    let torn = [&whole[..2 * 4096], &vec![0x55; whole.len() - 2 * 4096][..]].concat();
    for bytes in [b"this is no database".repeat(1000), torn, Vec::new()] {
        std::fs::write(&path, bytes).unwrap();
        let location = IndexLocation::File(path.clone());
        let keys = fixture.store.keys().clone();
        let store = lineal_store::Store::open_rebuilt(&root, keys, &location, None).await.unwrap();
        assert_eq!(store.index().dump().await.unwrap(), good);
        store.index().close().await;
    }
}
