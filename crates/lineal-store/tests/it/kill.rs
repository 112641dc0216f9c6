//! `kill -9` of a process that appends, again and again, at moments that the killer does not choose by what the
//! process does; to a folder, and to a bucket.
//!
//! After each kill: every acknowledged statement is where it was acknowledged, no two checkpoints of one size differ
//! and each contains the one before, the index is never ahead of the log. `LINEAL_SOAK_ROUNDS` says how many rounds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lineal_facts::Digest;
use lineal_proof::{Hash, tree};
use lineal_store::{IndexLocation, Keys, Ledger, Store};

use crate::fixture::{Fixture, Kind, bucket, s3};
use crate::s3::VARIABLE;
use crate::statements::told;

/// Rounds when nobody says how many.
const ROUNDS: u64 = 25;
/// In a bucket, where each append takes some requests, one round for so many.
const ROUNDS_OF_ONE_IN_BUCKET: u64 = 3;
/// Callers that commit at the same time; every other one does not wait for rows.
const CALLERS: u64 = 4;
/// Longest time that a process appends.
const LIFE_LIMIT_US: u64 = 120_000;
const FOLDER: &str = "LINEAL_KILLED_FOLDER";
const INDEX: &str = "LINEAL_KILLED_INDEX";
const PREFIX: &str = "LINEAL_KILLED_PREFIX";

/// The process that is killed: commits until then, and tells what was acknowledged.
#[test]
#[ignore = "the process that the other tests kill"]
fn process_that_appends_until_it_is_killed() {
    let [folder, index] = [FOLDER, INDEX].map(|name| std::env::var(name).unwrap());
    let place = std::env::var(PREFIX).ok().map(|prefix| bucket(&prefix));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let root = Path::new(&folder);
        let (keys, index) = (Keys::new(&root.join("keys")), IndexLocation::File(index.into()));
        let store = Store::open_in(root, keys, &index, place).await.unwrap();
        let callers = (0..CALLERS).map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let statements = [told(&format!("{} {caller} {n}", std::process::id()))];
                    let committed = match caller % 2 {
                        0 => store.commit(&statements, store.builder()).await.unwrap(),
                        _ => store.append(&statements, store.builder()).await.unwrap(),
                    };
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

fn start(fixture: &Fixture) -> Child {
    let IndexLocation::File(index) = &fixture.location else { unreachable!("these are files") };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::process_that_appends_until_it_is_killed", "--ignored", "--nocapture"]);
    command.env(FOLDER, fixture.store.root()).env(INDEX, index);
    if let Some(prefix) = &fixture.prefix {
        let (endpoint, objects) = s3();
        let folder = objects.ancestors().nth(2).unwrap();
        command.env(PREFIX, prefix).env(VARIABLE, format!("{endpoint} {}", folder.display()));
    }
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// What one process acknowledged before it was killed.
fn life(fixture: &Fixture, random: u64, killed_early: bool) -> Vec<(u64, Digest)> {
    let mut child = start(fixture);
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
    let end = Instant::now() + life;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
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

/// What was seen so far.
#[derive(Default)]
struct Seen {
    acknowledged: BTreeMap<u64, Digest>,
    roots: BTreeMap<u64, Hash>,
}

impl Seen {
    fn root(&mut self, size: u64, root: Hash, round: u64) {
        assert_eq!(*self.roots.entry(size).or_insert(root), root, "round {round}: two checkpoints of {size}");
    }

    /// Looks at what a killed process left, opens the store, and looks again.
    async fn round(&mut self, fixture: &Fixture, round: u64) {
        let root = fixture.store.root();
        let index = fixture.open().await;
        let indexed = index.size().await.unwrap();
        index.close().await;
        let keys = Keys::new(&root.join("keys")).log_keys().unwrap();
        let ledger = match &fixture.prefix {
            Some(prefix) => Ledger::in_bucket(bucket(prefix), root, keys),
            None => Ledger::new(root, keys),
        };
        let left = ledger.head().unwrap().unwrap();
        assert!(indexed <= left.size, "round {round}: index at {indexed}, log at {}", left.size);
        self.root(left.size, left.root, round);

        let store = fixture.reopen().await;
        let ledger = store.ledger();
        let head = ledger.head().unwrap().unwrap();
        assert!(head.size >= left.size, "round {round}");
        self.root(head.size, head.root, round);
        let path = ledger.consistency_proof(left.size, head.size).unwrap();
        tree::verify_consistency(left.size, &left.root, head.size, &head.root, &path).unwrap();
        let last = self.acknowledged.last_key_value().map_or(0, |(position, _)| *position);
        assert!(last < head.size, "round {round}: {last} was acknowledged, the log has {}", head.size);
        assert_eq!(store.index().size().await.unwrap(), head.size);
        store.index().close().await;
    }

    async fn end(&self, fixture: &Fixture) -> u64 {
        let store = fixture.reopen().await;
        let ledger = store.ledger();
        let check = ledger.check(&|_| ());
        assert_eq!(check.findings, []);
        let head = check.head.unwrap();
        assert_eq!(ledger.check_statements(0..head.size, head.size, &|_| ()), []);
        let leaves = ledger.leaves(0, head.size, head.size).unwrap();
        for (position, digest) in &self.acknowledged {
            assert_eq!(leaves[*position as usize].data, *digest, "position {position}");
        }
        let sizes: Vec<u64> = self.roots.keys().copied().collect();
        for pair in sizes.windows(2) {
            let path = ledger.consistency_proof(pair[0], pair[1]).unwrap();
            let [before, after] = [&self.roots[&pair[0]], &self.roots[&pair[1]]];
            tree::verify_consistency(pair[0], before, pair[1], after, &path).unwrap();
        }
        head.size
    }
}

#[expect(clippy::print_stdout, reason = "the result of a soak")]
async fn kill_again_and_again(kind: Kind, rounds: u64) {
    let fixture = Fixture::new(kind).await;
    let (mut seen, mut random) = (Seen::default(), 0x5eed_u64);
    for round in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let killed_early = (random >> 20).is_multiple_of(5);
        let lines = life(&fixture, random >> 20, killed_early);
        assert!(killed_early || !lines.is_empty(), "round {round}");
        for (position, digest) in lines {
            let other = seen.acknowledged.insert(position, digest);
            assert_eq!(other, None, "round {round}: position {position} was acknowledged twice");
        }
        seen.round(&fixture, round).await;
    }
    let size = seen.end(&fixture).await;
    println!("{rounds} kills, {} acknowledged, {size} in the ledger", seen.acknowledged.len());
}

fn rounds() -> u64 {
    std::env::var("LINEAL_SOAK_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    kill_again_and_again(Kind::Sqlite, rounds()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_a_process_that_writes_to_a_bucket_is_killed() {
    kill_again_and_again(Kind::SqliteAndBucket, rounds().div_ceil(ROUNDS_OF_ONE_IN_BUCKET)).await;
}
