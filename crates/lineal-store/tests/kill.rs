//! `kill -9` of a process that appends, again and again, at moments that the killer does not choose by what the
//! process does.
//!
//! After each kill: every acknowledged statement is where it was acknowledged, no two checkpoints of one size differ
//! and each contains the one before, the index is never ahead of the log. `LINEAL_SOAK_ROUNDS` says how many rounds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use lineal_facts::predicate::{Incident, KeyRecord, KeyRole, KeyState};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, Predicate, Statement, Timestamp};
use lineal_proof::{Hash, Signer, tree};
use lineal_store::store::SYSTEM_HOLDER;
use lineal_store::{Index, IndexLocation, Store};

/// Rounds when nobody says how many.
const ROUNDS: u64 = 25;
/// Callers that commit at the same time.
const CALLERS: u64 = 4;
/// Longest time that a process appends.
const LIFE_LIMIT_US: u64 = 120_000;
const FOLDER: &str = "LINEAL_KILLED_FOLDER";

fn incident(text: &str) -> Statement {
    Statement {
        subject: vec![Subject::new("round", Digest::of(text.as_bytes()))],
        predicate: Predicate::Incident(Incident {
            code: "soak".to_owned(),
            message: text.to_owned(),
            found_at: Timestamp::from_unix_ms(0),
        }),
    }
}

async fn create(root: &Path) -> Store {
    let store = Store::create(root, "lineal.local/soak").await.unwrap();
    let key = store.builder().public_key();
    let record = Statement {
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
    };
    store.commit(&[record], store.builder()).await.unwrap();
    store
}

/// The process that is killed: commits until then, and tells what was acknowledged.
#[test]
#[ignore = "the process that the other test kills"]
fn process_that_appends_until_it_is_killed() {
    let folder = std::env::var(FOLDER).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(Path::new(&folder)).await.unwrap();
        let callers = (0..CALLERS).map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let text = format!("{} {caller} {n}", std::process::id());
                    let committed = store.commit(&[incident(&text)], store.builder()).await.unwrap();
                    say(&format!("{} {}", committed[0].position, committed[0].statement));
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The harness has begun a line of its own.
    writeln!(out, "\nacknowledged {line}").unwrap();
    out.flush().unwrap();
}

/// What one process acknowledged before it was killed.
fn life(root: &Path, random: u64, killed_early: bool) -> Vec<(u64, Digest)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process_that_appends_until_it_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, receive) = mpsc::channel();
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            // A line that the kill cut is none.
            let Ok(line) = line else { break };
            if let Some(line) = line.strip_prefix("acknowledged ") {
                send.send(line.to_owned()).unwrap();
            }
        }
    });
    // Some are killed while they open the store and repair what the one before left.
    let life = Duration::from_micros(random % LIFE_LIMIT_US);
    let mut lines = Vec::new();
    if !killed_early {
        lines.push(receive.recv().expect("the process appends"));
    }
    let end = std::time::Instant::now() + life;
    while let Some(rest) = end.checked_duration_since(std::time::Instant::now()) {
        match receive.recv_timeout(rest) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Timeout) => break,
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the process died by itself"),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    lines.extend(receive);
    let parse = |line: &String| {
        let (position, digest) = line.split_once(' ')?;
        Some((position.parse().ok()?, digest.parse().ok()?))
    };
    lines.iter().filter_map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let rounds = std::env::var("LINEAL_SOAK_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(".lineal");
    create(&root).await.index().close().await;
    let mut acknowledged: BTreeMap<u64, Digest> = BTreeMap::new();
    let mut roots: BTreeMap<u64, Hash> = BTreeMap::new();
    let mut random: u64 = 0x5eed;
    for round in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let killed_early = (random >> 20).is_multiple_of(5);
        let lines = life(&root, random >> 20, killed_early);
        assert!(killed_early || !lines.is_empty(), "round {round}");
        for (position, digest) in lines {
            let other = acknowledged.insert(position, digest);
            assert_eq!(other, None, "round {round}: position {position} was acknowledged twice");
        }
        let index =
            Index::open(&IndexLocation::File(root.join("index.db")), "lineal.local/soak").await.unwrap();
        let indexed = index.size().await.unwrap();
        index.close().await;
        let keys = lineal_store::Keys::new(&root.join("keys")).log_keys().unwrap();
        let left = lineal_store::Ledger::new(&root, keys).head().unwrap().unwrap();
        assert!(indexed <= left.size, "round {round}: index at {indexed}, log at {}", left.size);
        assert_eq!(*roots.entry(left.size).or_insert(left.root), left.root, "round {round}");

        let store = Store::open(&root).await.unwrap();
        let ledger = store.ledger();
        let head = ledger.head().unwrap().unwrap();
        assert!(head.size >= left.size, "round {round}");
        assert_eq!(*roots.entry(head.size).or_insert(head.root), head.root, "round {round}");
        let path = ledger.consistency_proof(left.size, head.size).unwrap();
        tree::verify_consistency(left.size, &left.root, head.size, &head.root, &path).unwrap();
        let last = acknowledged.last_key_value().map_or(0, |(position, _)| *position);
        assert!(last < head.size, "round {round}: {last} was acknowledged, the log has {}", head.size);
        assert_eq!(store.index().size().await.unwrap(), head.size);
        store.index().close().await;
    }
    let store = Store::open(&root).await.unwrap();
    let ledger = store.ledger();
    let check = ledger.check(&|_| ());
    assert_eq!(check.findings, []);
    let head = check.head.unwrap();
    assert_eq!(ledger.check_statements(0..head.size, head.size, &|_| ()), []);
    let leaves = ledger.leaves(0, head.size, head.size).unwrap();
    for (position, digest) in &acknowledged {
        assert_eq!(leaves[*position as usize].data, *digest, "position {position}");
    }
    let sizes: Vec<u64> = roots.keys().copied().collect();
    for pair in sizes.windows(2) {
        let path = ledger.consistency_proof(pair[0], pair[1]).unwrap();
        tree::verify_consistency(pair[0], &roots[&pair[0]], pair[1], &roots[&pair[1]], &path).unwrap();
    }
    println!("{rounds} kills, {} acknowledged, {} in the ledger", acknowledged.len(), head.size);
}
