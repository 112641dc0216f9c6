//! Witnesses as processes: quorum, forks, restored copies, `kill -9`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use lineal_facts::Digest;
use lineal_proof::{AddCheckpoint, Checkpoint, Hash, LogSigner, Note, tree};
use serde_json::Value;

use crate::model::Model;
use crate::project::{Project, Started, eventually};
use crate::thief::{Thief, incident};

/// A witness in a folder of its own, with a key of its own.
struct Witness {
    place: Project,
    log: String,
    process: Option<Started>,
}

/// A project and its witnesses.
struct World {
    project: Project,
    witnesses: Vec<Witness>,
}

/// What a server answers to the first line of a request.
type Lie = Box<dyn Fn(&str) -> String + Send>;

pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Witness {
    fn new(log: &str, name: &str) -> Self {
        let mut witness = Self { place: Project::absent(), log: log.to_owned(), process: None };
        witness.start(&["--name", name]);
        witness
    }

    /// Starts, again at the same address, and waits until it listens.
    fn start(&mut self, more: &[&str]) {
        let file = self.place.path(".lineal-witness/witness.json");
        let _ = fs::remove_file(&file);
        let arguments: Vec<&str> =
            ["witness", "--log", &self.log, "--json"].into_iter().chain(more.iter().copied()).collect();
        let mut process = self.place.start(&arguments);
        eventually("the witness listens", || {
            assert!(process.is_running(), "the witness ended");
            file.exists().then_some(())
        });
        self.process = Some(process);
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn url(&self) -> String {
        let file = fs::read(self.place.path(".lineal-witness/witness.json")).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        file["url"].as_str().unwrap().to_owned()
    }

    fn key(&self) -> String {
        fs::read_to_string(self.place.path(".lineal-witness/witness.vkey")).unwrap().trim().to_owned()
    }

    /// What it shows monitors.
    fn shows(&self, origin: &str) -> HttpAnswer {
        http(&self.url(), "GET", &format!("/{}/checkpoint", Digest::of(origin.as_bytes()).hex()), b"")
    }
}

impl World {
    /// A project with a snapshot `d@1`, and that many witnesses, of which `quorum` must sign.
    fn new(count: usize, quorum: usize) -> Self {
        let project = Project::new();
        let log = log_key(&project);
        let names: Vec<String> = (1..=count).map(|number| format!("w{number}.example")).collect();
        let witnesses = names.iter().map(|name| Witness::new(&log, name)).collect();
        let world = Self { project, witnesses };
        world.write_policy(quorum, "");
        world.grow("1");
        world
    }

    fn write_policy(&self, quorum: usize, more: &str) {
        let line = |(number, witness): (usize, &Witness)| {
            format!("witness w{number} {} {}\n", witness.key(), witness.url())
        };
        let lines: String = (1..).zip(&self.witnesses).map(line).collect();
        let names: Vec<String> = (1..=self.witnesses.len()).map(|number| format!("w{number}")).collect();
        let group = format!("group q {quorum} {}\nquorum q\n", names.join(" "));
        self.project.write(".lineal/witnesses.policy", format!("{more}{lines}{group}"));
    }

    /// Adds the snapshot `d@TAG`.
    fn grow(&self, tag: &str) {
        self.project.write("d.csv", format!("a\n{tag}\n"));
        self.project.json(&["data", "add", "d", "d.csv", "--tag", tag]);
    }

    fn ask(&self) -> Value {
        self.project.json(&["ledger", "witness"])
    }

    fn size(&self) -> u64 {
        size_in(&fs::read(self.project.path(".lineal/log/checkpoint")).unwrap())
    }

    /// The witnessed checkpoint, if there is one.
    fn witnessed(&self) -> Option<Vec<u8>> {
        fs::read(self.project.path(".lineal/log/checkpoint.witnessed")).ok()
    }

    fn verified(&self, subject: &str) -> bool {
        self.project.json(&["verify", subject])["verified"] == true
    }

    /// Keeps a copy of `.lineal` as it is.
    fn copy(&self, name: &str) {
        let status = Command::new("cp")
            .arg("-a")
            .args([self.project.path(".lineal"), self.project.path(name)])
            .status();
        assert!(status.unwrap().success());
    }

    /// Puts the copy `name` in the place of `.lineal`, which is kept as `aside`.
    fn put_back(&self, name: &str, aside: &str) {
        fs::rename(self.project.path(".lineal"), self.project.path(aside)).unwrap();
        fs::rename(self.project.path(name), self.project.path(".lineal")).unwrap();
    }
}

fn log_key(project: &Project) -> String {
    let keys = fs::read_to_string(project.path(".lineal/keys/ledger.vkey")).unwrap();
    keys.lines().next().unwrap().to_owned()
}

fn size_in(note: &[u8]) -> u64 {
    String::from_utf8_lossy(note).lines().nth(1).unwrap().parse().unwrap()
}

/// One request on a connection of its own.
pub(crate) fn http(url: &str, method: &str, path: &str, body: &[u8]) -> HttpAnswer {
    http_or_gone(url, method, path, body).expect("an answer")
}

/// The same; `None` if the server went away before it had answered.
fn http_or_gone(url: &str, method: &str, path: &str, body: &[u8]) -> Option<HttpAnswer> {
    let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).ok()?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = String::from_utf8_lossy(&bytes[..end]).split(' ').nth(1).unwrap().parse().unwrap();
    Some(HttpAnswer { status, body: bytes[end + 4..].to_vec() })
}

/// A server that answers every request like this, for as long as the test runs.
fn stub(answer: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = vec![0; 64 << 10];
            let read = socket.read(&mut request).unwrap();
            let line =
                String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned();
            // The client may have gone away.
            let _ = socket.write_all(answer(&line).as_bytes());
        }
    });
    url
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn two_of_three_are_enough_and_one_is_not() {
    let mut world = World::new(3, 2);
    let unseen = ["no witness has seen this ledger", "lineal ledger witness"];
    world.project.fails(&["verify", "d@1"], 1, "not-verified", &unseen);
    let asked = world.ask();
    assert_eq!((&asked["quorum"], &asked["published"]), (&Value::Bool(true), &Value::Bool(true)), "{asked}");
    assert!(asked["witnesses"].as_array().unwrap().iter().all(|w| w["cosigned_at"].is_string()), "{asked}");
    assert!(world.verified("d@1"));
    // What came after is not covered by what they signed.
    world.grow("2");
    world.project.fails(&["verify", "d@2"], 1, "not-verified", &["no witness has seen it yet"]);
    assert!(world.verified("d@1"));
    world.witnesses[0].kill();
    let asked = world.ask();
    assert_eq!(
        (&asked["quorum"], &asked["size"]),
        (&Value::Bool(true), &Value::from(world.size())),
        "{asked}"
    );
    assert!(asked["witnesses"][0]["problem"].as_str().unwrap().contains("does not answer"), "{asked}");
    assert!(world.verified("d@2"));
    let before = world.witnessed();
    world.witnesses[1].kill();
    world.grow("3");
    world.project.fails(&["ledger", "witness"], 1, "not-verified", &["cosigned by w3", "2 of w1, w2, w3"]);
    assert_eq!(world.witnessed(), before, "nothing less than the quorum is published");
    world.project.fails(&["verify", "d@3"], 1, "not-verified", &["no witness has seen it yet"]);
    // They come back, and one that was away catches up.
    world.witnesses[0].start(&[]);
    assert_eq!(world.ask()["quorum"], true);
    assert!(world.verified("d@3"));
}

#[test]
fn a_fork_under_the_valid_key_is_refused() {
    let world = World::new(3, 2);
    world.ask();
    world.copy("fork");
    world.grow("2");
    world.ask();
    let honest = world.witnessed().unwrap();
    world.put_back("fork", "honest");
    let thief = Thief::of(&world.project);
    let forged = Thief::append(&world.project, &incident("forged"), &thief.builder, &thief.log).to_string();
    assert_eq!(size_in(&honest), world.size(), "as large as the other, so no size tells them apart");
    // It continues what the witnesses saw before, and that is not enough.
    world.project.fails(&["verify", &forged], 1, "not-verified", &["no witness has seen it yet"]);
    world.project.fails(&["ledger", "witness"], 5, "tampered", &["two ledgers under one key"]);
    world.project.refuses(&["data", "add", "d", "d.csv", "--tag", "x"], 5, "tampered", &["two ledgers"]);
    // A larger fork.
    Thief::append(&world.project, &incident("more"), &thief.builder, &thief.log);
    world.project.fails(&["ledger", "witness"], 5, "tampered", &["two ledgers under one key"]);
    // What they signed for the other one does not fit this one.
    world.project.write(".lineal/log/checkpoint.witnessed", honest);
    world.project.fails(
        &["verify", &forged],
        5,
        "tampered",
        &["does not continue", "another one under the same key"],
    );
    world.project.fails(&["verify", "d@1"], 5, "tampered", &["does not continue"]);
}

#[test]
fn what_no_quorum_has_seen_moves_no_traffic() {
    let model = Model::new();
    let project = &model.project;
    let mut witness = Witness::new(&log_key(project), "w1.example");
    let policy = format!("witness w1 {} {}\nquorum w1\n", witness.key(), witness.url());
    project.write(".lineal/witnesses.policy", policy);
    let _roles = model.serve();
    model.first();
    witness.kill();
    let version = model.promoted(&["value=0.31"]);
    let start = ["rollout", "start", version.as_str(), "--to", "production"];
    project.refuses(&start, 1, "not-verified", &["no quorum of witnesses has seen yet", &version]);
    // The policy is asked, and not only for what is new.
    project.write(".lineal/log/checkpoint.witnessed", "");
    project.fails(&start, 5, "tampered", &[]);
    fs::remove_file(project.path(".lineal/log/checkpoint.witnessed")).unwrap();
    project.refuses(&start, 1, "not-verified", &["no witness has seen this ledger"]);
    witness.start(&[]);
    project.json(&["ledger", "witness"]);
    model.rollout(&version);
}

#[test]
fn yesterdays_folder_is_refused_before_anything_is_signed() {
    let world = World::new(3, 2);
    world.ask();
    world.copy("yesterday");
    world.grow("2");
    world.ask();
    world.put_back("yesterday", "today");
    let fragments = ["the witness `w", "5 entries", "here are 4", "Put the newer one back"];
    world.project.refuses(&["data", "add", "d", "d.csv", "--tag", "x"], 5, "rolled-back", &fragments);
    world.project.refuses(&["ledger", "rotate", "lineal", "builder"], 5, "rolled-back", &fragments);
    world.project.refuses(&["serve"], 5, "rolled-back", &fragments);
    world.project.fails(&["ledger", "witness"], 5, "rolled-back", &fragments);
    assert_eq!(world.size(), 4, "nothing was signed");
    world.put_back("today", "yesterday");
    world.grow("3");
    assert_eq!(world.ask()["quorum"], true);
    assert!(world.verified("d@3"));
    // Offline too, if what the witnesses signed is still there.
    let newest = world.witnessed().unwrap();
    world.put_back("yesterday", "today");
    world.project.write(".lineal/log/checkpoint.witnessed", newest);
    world.project.fails(&["verify", "d@1"], 5, "rolled-back", &["the witnesses saw 6 entries", "here are 4"]);
}

#[test]
fn a_copy_from_before_a_new_log_key_is_refused() {
    let mut world = World::new(3, 2);
    world.ask();
    world.copy("yesterday");
    world.project.json(&["ledger", "rotate", "--log"]);
    assert_eq!(world.ask()["quorum"], true, "the old key signed this one too");
    world.grow("2");
    world.project.fails(&["ledger", "witness"], 1, "not-verified", &["cosigned by nobody"]);
    let keys = fs::read_to_string(world.project.path(".lineal/keys/ledger.vkey")).unwrap();
    let new = keys.lines().last().unwrap().split(' ').next().unwrap().to_owned();
    for witness in &mut world.witnesses {
        witness.kill();
        witness.start(&["--log", &new]);
    }
    assert_eq!(world.ask()["quorum"], true);
    assert!(world.verified("d@2") && world.verified("d@1"));
    world.put_back("yesterday", "today");
    let fragments = ["a quorum of witnesses, under a newer key of the log", "6 entries", "here are 4"];
    world.project.refuses(&["data", "add", "d", "d.csv", "--tag", "x"], 5, "rolled-back", &fragments);
    world.project.fails(&["ledger", "witness"], 5, "rolled-back", &fragments);
    // One of them alone is not believed.
    world.witnesses[0].kill();
    world.witnesses[1].kill();
    let asked = world.ask();
    let problem = asked["witnesses"][2]["problem"].as_str().unwrap();
    assert!(problem.contains("6 entries under a log key that is not known here"), "{asked}");
}

#[test]
fn what_the_witnesses_saw_gets_stale() {
    let world = World::new(1, 1);
    world.ask();
    let within = ["verify", "d@1", "--witness-max-age", "1h"];
    assert_eq!(world.project.json(&within)["verified"], true);
    eventually("a second has gone by", || {
        let answer = world.project.lineal(&["verify", "d@1", "--witness-max-age", "1ms", "--json"]);
        (!answer.status.success()).then(|| answer.failed(1, "stale", &["s ago", "lineal ledger witness"]))
    });
    // The settings can say it too; asking again makes it fresh.
    let config = fs::read_to_string(world.project.path(".lineal/config.toml")).unwrap();
    world.project.write(".lineal/config.toml", format!("witness_max_age = '1ms'\n{config}"));
    world.project.fails(&["verify", "d@1"], 1, "stale", &["s ago"]);
    world.project.write(".lineal/config.toml", format!("witness_max_age = '1h'\n{config}"));
    world.ask();
    assert!(world.verified("d@1"));
    world.project.write(".lineal/config.toml", format!("witness_max_age = 'soon'\n{config}"));
    world.project.fails(&["verify", "d@1"], 3, "config-invalid", &["witness_max_age", "`soon`"]);
}

#[test]
fn a_wrong_clock_makes_nothing_fresh() {
    let mut world = World::new(1, 1);
    world.ask();
    let bounded = ["verify", "d@1", "--witness-max-age", "1h"];
    // A verifier's clock: what will be signed in a year is not believed, what was signed a year ago is stale.
    for (days, code) in [(-365, "not-verified"), (365, "stale")] {
        world.project.set_clock(days);
        world.project.fails(&bounded, 1, code, &[]);
    }
    world.project.set_clock(0);
    assert_eq!(world.project.json(&bounded)["verified"], true);
    // A witness's clock: it goes on, and what it says is as old as it says.
    world.witnesses[0].kill();
    world.witnesses[0].place.set_clock(-365);
    world.witnesses[0].start(&[]);
    world.grow("2");
    world.ask();
    assert!(world.verified("d@2"));
    world.project.fails(&["verify", "d@2", "--witness-max-age", "1h"], 1, "stale", &["s ago"]);
}

#[test]
fn fsck_looks_at_what_the_witnesses_signed() {
    let world = World::new(1, 1);
    world.ask();
    assert_eq!(world.project.json(&["ledger", "fsck"])["ok"], true);
    let mut note = world.witnessed().unwrap();
    // A byte of the log's own signature, which is the first line.
    let log = note.windows(5).position(|bytes| bytes == "\n\n\u{2014}".as_bytes()).unwrap();
    let at = note[log + 2..].iter().position(|byte| *byte == b'\n').unwrap() + log - 8;
    note[at] = if note[at] == b'A' { b'B' } else { b'A' };
    world.project.write(".lineal/log/checkpoint.witnessed", note);
    let answer = world.project.lineal(&["ledger", "fsck", "--json"]);
    answer.failed(5, "tampered", &["remove it and run `lineal ledger witness`"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let kinds: Vec<&Value> =
        report["findings"].as_array().unwrap().iter().map(|found| &found["kind"]).collect();
    assert_eq!(kinds, ["checkpoint"], "nothing else is accused: {report:#}");
}

#[test]
fn the_folder_of_a_witness_is_made() {
    let world = World::new(1, 1);
    let place = Project::absent();
    let file = place.path("new/place/.lineal-witness/witness.json");
    let mut process = place.start(&["--dir", "new/place", "witness", "--log", &log_key(&world.project)]);
    eventually("the witness listens", || {
        assert!(process.is_running(), "the witness ended");
        file.exists().then_some(())
    });
}

#[test]
fn a_killed_witness_remembers() {
    let mut world = World::new(1, 1);
    let origin = log_key(&world.project).split('+').next().unwrap().to_owned();
    assert_eq!(world.witnesses[0].shows(&origin).status, 404);
    let key = world.witnesses[0].key();
    world.copy("yesterday");
    for round in 2..=6_u64 {
        world.ask();
        world.witnesses[0].kill();
        world.witnesses[0].start(&[]);
        let shown = world.witnesses[0].shows(&origin);
        assert_eq!((shown.status, size_in(&shown.body)), (200, world.size()));
        assert_eq!(Some(shown.body), world.witnessed(), "what monitors see is what was published");
        world.grow(&round.to_string());
    }
    assert_eq!(world.witnesses[0].key(), key);
    world.put_back("yesterday", "today");
    world.project.fails(&["ledger", "witness"], 5, "rolled-back", &["the witness `w1`"]);
    // There is one of it in a folder.
    let place = &world.witnesses[0].place;
    place.fails(&["witness", "--log", &world.witnesses[0].log], 3, "already-running", &["lineal witness"]);
}

#[test]
fn a_witness_killed_at_any_moment_has_what_it_answered() {
    const ROUNDS: u64 = 8;
    let log = LogSigner::from_seed("log.example", &[6; 32]).unwrap();
    let mut witness = Witness::new(&log.vkey(), "w.example");
    let leaves: Vec<Hash> = (0..4096_u64).map(|number| tree::leaf_hash(&number.to_be_bytes())).collect();
    let read = |level: u8, at: u64| {
        let (from, width) = ((at << level) as usize, 1 << level);
        Ok::<Hash, tree::ProofError>(tree::root(&leaves[from..from + width]))
    };
    let checkpoint = |size: u64| Checkpoint::new("log.example", size, tree::root(&leaves[..size as usize]));
    let request = |old: u64| {
        let note = Note::parse(&log.sign(&checkpoint(old + 1)).unwrap()).unwrap();
        let path = tree::consistency_proof(old, old + 1, read).unwrap();
        AddCheckpoint { old, path, note }.to_bytes()
    };
    let mut known = 0;
    for round in 1..=ROUNDS {
        // What was answered last; the sender goes on until nobody listens.
        let (answered, url) = (AtomicU64::new(known), witness.url());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for old in known.. {
                    match http_or_gone(&url, "POST", "/add-checkpoint", &request(old)) {
                        Some(answer) => {
                            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body))
                        }
                        None => return,
                    }
                    answered.store(old + 1, Ordering::SeqCst);
                }
            });
            eventually("some are answered", || {
                (answered.load(Ordering::SeqCst) >= known + round).then_some(())
            });
            witness.kill();
        });
        witness.start(&[]);
        let answered = answered.into_inner();
        let shown = witness.shows("log.example");
        let size = size_in(&shown.body);
        assert!(size == answered || size == answered + 1, "{answered} answered, {size} remembered");
        assert!(String::from_utf8_lossy(&shown.body).starts_with(&checkpoint(size).to_text()));
        known = size;
    }
}

#[test]
fn of_two_forks_at_one_size_exactly_one_wins() {
    const EACH: u64 = 6;
    let log = LogSigner::from_seed("log.example", &[5; 32]).unwrap();
    let witness = Witness::new(&log.vkey(), "w.example");
    let url = witness.url();
    let note = |size: u64, branch: u64| {
        let root = tree::leaf_hash(&branch.to_be_bytes());
        Note::parse(&log.sign(&Checkpoint::new("log.example", size, root)).unwrap()).unwrap()
    };
    let barrier = Barrier::new(2 * EACH as usize);
    let answers: Vec<(u64, u16)> = std::thread::scope(|scope| {
        let (note, url, barrier) = (&note, &url, &barrier);
        let senders: Vec<_> = (0..2 * EACH)
            .map(|number| {
                scope.spawn(move || {
                    let body =
                        AddCheckpoint { old: 0, path: Vec::new(), note: note(1, number % 2) }.to_bytes();
                    barrier.wait();
                    (number % 2, http(url, "POST", "/add-checkpoint", &body).status)
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let won: Vec<_> = answers.iter().filter(|(_, status)| *status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, status)| [200, 409].contains(status)), "{answers:?}");
    let (winner, loser) = (won[0].0, 1 - won[0].0);
    let shown = witness.shows("log.example");
    assert!(String::from_utf8_lossy(&shown.body).starts_with(&note(1, winner).text));
    let ask = |branch| AddCheckpoint { old: 1, path: Vec::new(), note: note(1, branch) }.to_bytes();
    assert_eq!(http(&url, "POST", "/add-checkpoint", &ask(loser)).status, 422);
    assert_eq!(http(&url, "POST", "/add-checkpoint", &ask(winner)).status, 200);
}

#[test]
fn a_running_control_plane_asks_by_itself_and_serves_what_was_signed() {
    let mut world = World::new(3, 2);
    let serve = world.project.start(&["serve"]);
    let file = world.project.path(".lineal/serve.json");
    eventually("serve is ready", || file.exists().then_some(()));
    let is_seen = |world: &World| world.witnessed().is_some_and(|note| size_in(&note) == world.size());
    eventually("the witnesses saw it", || is_seen(&world).then_some(()));
    world.witnesses[2].kill();
    world.grow("2");
    eventually("the others saw the growth", || is_seen(&world).then_some(()));
    let url: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let url = url["url"].as_str().unwrap();
    let own = http(url, "GET", "/log/checkpoint", b"");
    let witnessed = http(url, "GET", "/log/checkpoint.witnessed", b"");
    assert_eq!((own.status, witnessed.status), (200, 200));
    assert_eq!(own.body, witnessed.body, "of one size they are served as one");
    assert_eq!(Some(&own.body), world.witnessed().as_ref());
    assert_eq!(Note::parse(&own.body).unwrap().signatures.len(), 3, "the log and two witnesses");
    // Without a quorum nothing is published, and commits do not wait.
    world.witnesses[1].kill();
    world.grow("3");
    let alone = http(url, "GET", "/log/checkpoint", b"");
    assert_eq!(Note::parse(&alone.body).unwrap().signatures.len(), 1);
    world.witnesses[1].start(&[]);
    eventually("the quorum is back", || is_seen(&world).then_some(()));
    serve.terminate();
    assert!(serve.finish().status.success());
}

#[test]
fn a_control_plane_stops_when_the_ledger_turns_out_to_be_old() {
    let mut world = World::new(1, 1);
    world.ask();
    world.copy("yesterday");
    world.grow("2");
    world.ask();
    // While nobody answers nothing is known; then somebody does.
    world.witnesses[0].kill();
    world.put_back("yesterday", "today");
    let serve = world.project.start(&["serve", "--json"]);
    eventually("serve is ready", || world.project.path(".lineal/serve.json").exists().then_some(()));
    world.witnesses[0].start(&[]);
    serve.finish().failed(5, "rolled-back", &["the witness `w1`"]);
    assert!(!world.project.path(".lineal/serve.json").exists());
}

#[test]
fn what_a_witness_only_says_is_no_finding() {
    let world = World::new(2, 1);
    let key = world.witnesses[0].key();
    let other = LogSigner::from_seed(log_key(&world.project).split('+').next().unwrap(), &[4; 32]).unwrap();
    let stranger =
        other.sign(&Checkpoint::new(other.verifier_key().name(), 999, tree::empty_root())).unwrap();
    let stranger = String::from_utf8(stranger).unwrap();
    let lies: [(Lie, &str); 4] = [
        (
            Box::new(|line| match line.starts_with("POST") {
                true => response("409 Conflict", "999999\n"),
                false => response("404 Not Found", ""),
            }),
            "shows nothing that this log does not have",
        ),
        (
            Box::new(move |line| match line.starts_with("POST") {
                true => response("409 Conflict", "999\n"),
                false => response("200 OK", &stranger),
            }),
            "no checkpoint of this log",
        ),
        (
            Box::new(|_| response("200 OK", "\u{2014} w1.example AAAAAAAAAAAAAAAA\n")),
            "no signature by its key",
        ),
        (Box::new(|_| response("200 OK", &"x".repeat(70 << 10))), "larger than"),
    ];
    for (answer, problem) in lies {
        let url = stub(answer);
        let policy = format!("witness liar {key} {url}\nquorum liar\n");
        world.project.write(".lineal/witnesses.policy", policy);
        let answer = world.project.lineal(&["ledger", "witness", "--json"]);
        answer.failed(1, "not-verified", &["cosigned by nobody"]);
        assert!(answer.stdout.contains(problem), "no `{problem}` in {answer:#?}");
    }
}

#[test]
fn a_witness_refuses_what_it_cannot_work_with() {
    let place = Project::absent();
    let log = LogSigner::from_seed("log.example", &[5; 32]).unwrap().vkey();
    let witness = |more: &[&'static str]| {
        let arguments = ["witness", "--log", log.as_str()].into_iter().chain(more.iter().copied());
        arguments.map(str::to_owned).collect::<Vec<_>>()
    };
    let fails = |arguments: Vec<String>, exit: i32, code: &str, fragments: &[&str]| {
        place.fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), exit, code, fragments);
    };
    fails(witness(&["--listen", "0.0.0.0:0"]), 3, "address", &["0.0.0.0:0", "127.0.0.1"]);
    fails(witness(&["--listen", "here"]), 2, "usage", &["`here` is not an address"]);
    fails(witness(&["--log", "nonsense"]), 2, "usage", &["the log's key `nonsense`"]);
    fails(witness(&["--name", "other.example"]), 2, "usage", &["for good", "without --name"]);
    assert_eq!(place.lineal(&["witness"]).status.code(), Some(2), "without a log there is nothing to do");
    let fresh = Project::absent();
    fresh.fails(&["witness", "--log", &log, "--name", "a b"], 2, "name-invalid", &["without spaces"]);
    // The key file is encrypted for an identity outside the folder.
    let seed = fs::read_to_string(place.path(".lineal-witness/keys/witness.seed.age")).unwrap_err();
    assert_eq!(seed.kind(), std::io::ErrorKind::InvalidData, "age's own bytes");
    fs::remove_file(place.identity()).unwrap();
    fails(witness(&[]), 3, "key", &["no identity file"]);
}

#[test]
fn policies_that_cannot_be_used_are_named() {
    let world = World::new(1, 1);
    world.write_policy(1, &format!("log {}\n", log_key(&world.project)));
    assert_eq!(world.ask()["quorum"], true);
    let key = world.witnesses[0].key();
    let stranger = LogSigner::from_seed("other.example", &[4; 32]).unwrap().vkey();
    world.write_policy(1, &format!("log {stranger}\n"));
    world.project.fails(
        &["ledger", "witness"],
        3,
        "policy-invalid",
        &["does not name this ledger's key", "log "],
    );
    world.project.fails(&["verify", "d@1"], 1, "untrusted-key", &["not signed by a trusted key"]);
    let bad = [
        (format!("witness w {key} https://w.example\nquorum w\n"), "plain HTTP only"),
        (format!("witness w {key} ftp://w.example\nquorum w\n"), "does not begin with http://"),
        (format!("witness w {key}\nquorum v\n"), "line 2"),
        ("quorum".to_owned(), "no newline"),
    ];
    for (text, reason) in bad {
        world.project.write(".lineal/witnesses.policy", text);
        world.project.fails(&["ledger", "witness"], 3, "policy-invalid", &["witnesses.policy", reason]);
    }
    // An auditor's own policy: another quorum than the project is content with.
    world.write_policy(1, "");
    let other = Witness::new(&log_key(&world.project), "other.example");
    world.project.write("mine.policy", format!("witness mine {}\nquorum mine\n", other.key()));
    assert!(world.verified("d@1"));
    let mine = ["verify", "d@1", "--witness-policy", "mine.policy"];
    world.project.fails(&mine, 1, "not-verified", &["cosigned by nobody; the quorum is mine"]);
    fs::remove_file(world.project.path(".lineal/witnesses.policy")).unwrap();
    world.project.fails(&["ledger", "witness"], 3, "not-found", &["witnesses.policy"]);
    assert!(world.verified("d@1"), "without a policy nobody has to have seen it");
    let aged = ["verify", "d@1", "--witness-max-age", "1h"];
    world.project.fails(&aged, 3, "policy-invalid", &["needs a policy with a quorum"]);
}
