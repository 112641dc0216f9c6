use std::process::Command;

use lineal_facts::predicate::{Incident, KeyRecord, KeyState};
use lineal_facts::statement::Subject;
use lineal_facts::{Predicate, Timestamp};

use super::*;

fn key_statement(store: &Store) -> Statement {
    let key = store.builder().public_key();
    Statement {
        subject: vec![Subject::new("key/lineal", key.id())],
        predicate: Predicate::Key(KeyRecord {
            holder: SYSTEM_HOLDER.to_owned(),
            role: KeyRole::Builder,
            state: KeyState::Active,
            public_key: key.to_pem(),
            stated_at: Timestamp::from_unix_ms(0),
        }),
    }
}

fn incident(n: u64) -> Statement {
    Statement {
        subject: vec![Subject::new(format!("thing-{n}"), Digest::of(&n.to_be_bytes()))],
        predicate: Predicate::Incident(Incident {
            code: "test".to_owned(),
            message: format!("incident {n}"),
            found_at: Timestamp::from_unix_ms(1),
        }),
    }
}

async fn store(folder: &Path) -> Store {
    let store = Store::create(&folder.join(".lineal"), "lineal.local/test").await.unwrap();
    store.commit(&[key_statement(&store)], store.builder()).await.unwrap();
    store
}

#[tokio::test]
async fn commits_are_numbered_durable_and_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let committed = store.commit(&[incident(1), incident(2)], store.builder()).await.unwrap();
    assert_eq!(committed.iter().map(|c| c.position).collect::<Vec<_>>(), [1, 2]);
    let again = Store::open(store.root()).await.unwrap();
    assert_eq!(again.statement(&committed[1].statement).unwrap(), incident(2));
    let entries = again.index().entries().await.unwrap();
    assert_eq!(entries.iter().map(|e| e.noun.as_str()).collect::<Vec<_>>(), ["incident", "incident", "key"]);
    assert_eq!(entries[0].holder.as_deref(), Some(SYSTEM_HOLDER));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_share_groups_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(&[incident(n)], store.builder()).await.unwrap()[0] })
        })
        .collect();
    let mut positions = Vec::new();
    for task in tasks {
        positions.push(task.await.unwrap().position);
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..51).collect::<Vec<_>>());
    assert_eq!(store.ledger().check().unwrap().unwrap().size, 51);
}

#[tokio::test]
async fn a_rebuilt_index_equals_the_live_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    for n in 0..5 {
        store.commit(&[incident(n), incident(n + 100)], store.builder()).await.unwrap();
    }
    let live = store.index().dump().await.unwrap();
    store.rebuild_index().await.unwrap();
    assert_eq!(store.index().dump().await.unwrap(), live);
    assert!(live.len() > 20);
}

#[tokio::test]
async fn an_index_that_lags_or_leads_is_put_right_on_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let yesterday = folder.path().join("yesterday");
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").args(["-a", "-T"]).arg(from).arg(to).status().unwrap().success());
    };
    store.index().close().await;
    copy(store.root(), &yesterday);
    let store = Store::open(store.root()).await.unwrap();
    store.commit(&[incident(1)], store.builder()).await.unwrap();
    let live = store.index().dump().await.unwrap();
    store.index().close().await;

    // The crash: the checkpoint was published, the index transaction was not.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(store.root().join(format!("index.db{suffix}")));
    }
    std::fs::copy(yesterday.join("index.db"), store.root().join("index.db")).unwrap();
    let lagging = Store::open(store.root()).await.unwrap();
    assert_eq!(lagging.index().dump().await.unwrap(), live);
    lagging.index().close().await;

    // An older log under a newer index: the log is the record.
    std::fs::remove_dir_all(store.root().join("log")).unwrap();
    copy(&yesterday.join("log"), &store.root().join("log"));
    let older = Store::open(store.root()).await.unwrap();
    older.index().catch_up(older.ledger(), older.blobs()).await.unwrap();
    assert_eq!(older.index().size().await.unwrap(), 1);
}

#[tokio::test]
async fn only_one_project_a_folder_and_none_without_init() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open(folder.path()).await, Err(StoreError::Absent(_))));
    let store = store(folder.path()).await;
    assert!(matches!(Store::create(store.root(), "x").await, Err(StoreError::Present(_))));
}
