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
            replaces: None,
            reason: None,
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

/// The size of the log, which has no damage.
fn checked_size(store: &Store) -> u64 {
    let check = store.ledger().check(&|_| ());
    assert_eq!(check.findings, []);
    let size = check.head.unwrap().size;
    assert_eq!(store.ledger().check_statements(0..size, size, &|_| ()), []);
    size
}

#[tokio::test]
async fn commits_are_numbered_durable_and_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let committed = store.commit(&[incident(1), incident(2)], store.builder()).await.unwrap();
    assert_eq!(committed.iter().map(|c| c.position).collect::<Vec<_>>(), [1, 2]);
    let again = Store::open(store.root()).await.unwrap();
    assert_eq!(again.statement(&committed[1].statement).await.unwrap(), incident(2));
    let entries = again.index().entries().await.unwrap();
    assert_eq!(entries.iter().map(|e| e.noun.as_str()).collect::<Vec<_>>(), ["incident", "incident", "key"]);
    assert_eq!(entries[0].holder.as_deref(), Some(SYSTEM_HOLDER));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_share_groups_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let before = store.groups();
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
    assert_eq!(checked_size(&store), 51);
    let groups = store.groups() - before;
    assert!((1..50).contains(&groups), "{groups} groups of 50 commits");
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
    for part in ["log", "journal", "statements"] {
        std::fs::remove_dir_all(store.root().join(part)).unwrap();
        copy(&yesterday.join(part), &store.root().join(part));
    }
    let older = Store::open(store.root()).await.unwrap();
    older.index().catch_up(older.ledger()).await.unwrap();
    assert_eq!(older.index().size().await.unwrap(), 1);
}

#[tokio::test]
async fn only_one_project_a_folder_and_none_without_init() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open(folder.path()).await, Err(StoreError::Absent(_))));
    let store = store(folder.path()).await;
    assert!(matches!(Store::create(store.root(), "x").await, Err(StoreError::Present(_))));
}

fn key_record(key: &lineal_proof::PublicKey, role: KeyRole, state: KeyState) -> Statement {
    Statement {
        subject: vec![Subject::new("key/ana", key.id())],
        predicate: Predicate::Key(KeyRecord {
            holder: "ana".to_owned(),
            role,
            state,
            public_key: key.to_pem(),
            replaces: None,
            reason: None,
            stated_at: Timestamp::from_unix_ms(0),
        }),
    }
}

/// What the group commit answered.
fn cause(error: &StoreError) -> &StoreError {
    match error {
        StoreError::Group(inner) => cause(inner),
        other => other,
    }
}

#[tokio::test]
async fn what_would_not_count_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let approver = store.keys().create("ana", KeyRole::Approver).unwrap();
    let router = store.keys().load(SYSTEM_HOLDER, KeyRole::Router).unwrap();
    let known = key_record(approver.public_key(), KeyRole::Approver, KeyState::Active);
    let mut other_subject = known.clone();
    other_subject.subject = vec![Subject::new("key/ana", Digest::of(b"x"))];
    let revoke_builder = key_record(store.builder().public_key(), KeyRole::Builder, KeyState::Revoked);
    let attempts: [(&Statement, &dyn Signer); 6] = [
        (&incident(1), &approver),
        (&incident(1), &router),
        (&known, &approver),
        (&other_subject, store.builder()),
        (&revoke_builder, store.builder()),
        (&key_record(approver.public_key(), KeyRole::Approver, KeyState::Revoked), store.builder()),
    ];
    for (statement, signer) in attempts {
        let error = store.commit(std::slice::from_ref(statement), signer).await.unwrap_err();
        assert!(matches!(cause(&error), StoreError::Keyring(_)), "{error}: {statement:?}");
        assert_eq!(store.ledger().head().unwrap().unwrap().size, 1);
    }
    // Within one commit a record counts for what comes after it.
    store.commit(&[known, incident(2)], store.builder()).await.unwrap();
    let revoked = key_record(approver.public_key(), KeyRole::Approver, KeyState::Revoked);
    let twice = store.commit(&[revoked.clone(), revoked], store.builder()).await.unwrap_err();
    assert!(matches!(cause(&twice), StoreError::Keyring(_)), "{twice}");
    assert_eq!(store.ledger().head().unwrap().unwrap().size, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_takes_no_other_of_its_group_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let stranger = store.keys().load(SYSTEM_HOLDER, KeyRole::Router).unwrap();
                let signer: &dyn Signer = if n % 2 == 0 { store.builder() } else { &stranger };
                (n % 2 == 0, store.commit(&[incident(n)], signer).await)
            })
        })
        .collect();
    let mut positions = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (true, done) => positions.push(done.unwrap()[0].position),
            (false, done) => assert!(matches!(cause(&done.unwrap_err()), StoreError::Keyring(_))),
        }
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=20).collect::<Vec<_>>());
    assert_eq!(checked_size(&store), 21);
}

#[tokio::test]
async fn a_rotated_log_key_reaches_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let other = Store::open(store.root()).await.unwrap();
    let old = store.ledger().verifier();
    let committed = store.rotate_log_key(Timestamp::from_unix_ms(5)).await.unwrap();
    assert_eq!(committed.position, 1);
    assert_ne!(store.ledger().verifier(), old);
    // The other one knew the old key only.
    let next = other.commit(&[incident(1)], other.builder()).await.unwrap();
    assert_eq!(next[0].position, 2);
    assert_eq!(other.ledger().verifier(), store.ledger().verifier());
    assert_eq!(checked_size(&store), 3);
    store.rotate_log_key(Timestamp::from_unix_ms(6)).await.unwrap();
    let keyring = store.index().keyring().await.unwrap();
    assert_eq!(keyring.log_keys().len(), 2);
    assert_eq!(store.ledger().log_keys().get().later().len(), 2);
}

/// The process died after the checkpoint with the record of the new key, before the key took over.
#[tokio::test]
async fn an_interrupted_rotation_of_the_log_key_is_finished_by_the_next_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let keys = store.keys().clone();
    let old = keys.load_log_key().unwrap();
    let history = std::fs::read(keys.folder().join("ledger.vkey")).unwrap();
    let seed = std::fs::read(keys.folder().join("ledger.seed")).unwrap();
    store.rotate_log_key(Timestamp::from_unix_ms(5)).await.unwrap();
    let new = store.ledger().verifier();
    std::fs::rename(keys.folder().join("ledger.seed"), keys.folder().join("ledger.next.seed")).unwrap();
    files::replace(&keys.folder().join("ledger.seed"), &seed).unwrap();
    files::replace(&keys.folder().join("ledger.vkey"), &history).unwrap();
    let again = Store::open(store.root()).await.unwrap();
    assert_eq!(again.ledger().head().unwrap().unwrap().size, 2, "what is there can be read");
    again.commit(&[incident(1)], again.builder()).await.unwrap();
    assert_eq!(again.ledger().verifier(), new);
    assert_eq!(again.ledger().log_keys().get().at(1), old.verifier_key());
    assert_eq!(again.ledger().log_keys().get().at(2), &new);
    assert_eq!(checked_size(&again), 3);
    assert!(!keys.folder().join("ledger.next.seed").exists());
}

/// The process died when the record of the new key was in the journal, before the checkpoint over it.
#[tokio::test]
async fn a_rotation_of_the_log_key_that_is_in_the_journal_only_is_published_by_both_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let keys = store.keys().clone();
    let [history, seed] =
        ["ledger.vkey", "ledger.seed"].map(|name| std::fs::read(keys.folder().join(name)).unwrap());
    let before = ["log/checkpoint", "journal/mark"]
        .map(|name| (name, std::fs::read(store.root().join(name)).unwrap()));
    store.rotate_log_key(Timestamp::from_unix_ms(5)).await.unwrap();
    let published = store.ledger().head().unwrap();
    store.index().close().await;
    std::fs::rename(keys.folder().join("ledger.seed"), keys.folder().join("ledger.next.seed")).unwrap();
    files::replace(&keys.folder().join("ledger.seed"), &seed).unwrap();
    files::replace(&keys.folder().join("ledger.vkey"), &history).unwrap();
    for (name, bytes) in before {
        std::fs::write(store.root().join(name), bytes).unwrap();
    }
    let again = Store::open(store.root()).await.unwrap();
    assert_eq!(again.ledger().head().unwrap(), published, "the same note, by both keys");
    again.commit(&[incident(1)], again.builder()).await.unwrap();
    assert_eq!(checked_size(&again), 3);
    assert!(!keys.folder().join("ledger.next.seed").exists());
}

#[tokio::test]
async fn a_rotated_builder_key_reaches_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let other = Store::open(store.root()).await.unwrap();
    other.commit(&[incident(1)], other.builder()).await.unwrap();
    for round in 0..2 {
        let old = store.keys().load(SYSTEM_HOLDER, KeyRole::Builder).unwrap();
        let new = store.keys().create_next(SYSTEM_HOLDER, KeyRole::Builder).unwrap();
        let mut records = [(&new, KeyState::Active), (&old, KeyState::Revoked)]
            .map(|(key, state)| key_record(key.public_key(), KeyRole::Builder, state));
        for record in &mut records {
            let Predicate::Key(record) = &mut record.predicate else { unreachable!() };
            record.holder = SYSTEM_HOLDER.to_owned();
        }
        store.commit(&records[..1], &old).await.unwrap();
        store.keys().adopt_next(SYSTEM_HOLDER, KeyRole::Builder).unwrap();
        store.commit(&records[1..], &new).await.unwrap();
        let done = other.commit(&[incident(2 + round)], other.builder()).await.unwrap();
        let leaf = other.ledger().leaf(done[0].position, done[0].position + 1).unwrap();
        assert_eq!(leaf.key, *new.public_key());
        // Whoever holds the old key itself is refused.
        let error = other.commit(&[incident(9)], &old).await.unwrap_err();
        assert!(matches!(cause(&error), StoreError::Keyring(_)));
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_half_written_is_removed_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let long_ago = SystemTime::now() - 2 * ABANDONED_AFTER;
    let places = [store.root().to_owned(), store.keys().folder().to_owned()];
    for place in &places {
        for (name, old) in [(".new-Xy12", true), (".new-fresh", false), ("kept", true)] {
            let file = std::fs::File::create(place.join(name)).unwrap();
            if old {
                file.set_modified(long_ago).unwrap();
            }
        }
    }
    Store::open(store.root()).await.unwrap();
    for place in &places {
        let left = |name: &str| place.join(name).exists();
        assert_eq!(
            (left(".new-Xy12"), left(".new-fresh"), left("kept")),
            (false, true, true),
            "{}",
            place.display()
        );
    }
}

#[tokio::test]
async fn what_is_recorded_but_not_indexed_says_so_and_is_indexed_later() {
    use sqlx::Connection as _;
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    // The database takes no row, as one whose disk is full.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(store.root().join("index.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let trigger = "CREATE TRIGGER stuck BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'no row'); END";
    sqlx::query(trigger).execute(&mut database).await.unwrap();
    let error = store.commit(&[incident(1)], store.builder()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("from entry 1 on, so do not repeat it") && text.contains("no row"), "{text}");
    assert_eq!((checked_size(&store), store.index().size().await.unwrap()), (2, 1));
    sqlx::query("DROP TRIGGER stuck").execute(&mut database).await.unwrap();
    let again = Store::open(store.root()).await.unwrap();
    assert_eq!((checked_size(&again), again.index().size().await.unwrap()), (2, 2));
}
