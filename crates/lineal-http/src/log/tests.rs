//! The log over real sockets, as a client of tlog-tiles sees it.

use std::io::Read as _;
use std::net::SocketAddr;

use flate2::read::GzDecoder;
use lineal_app::Project;
use lineal_app::control::Control;
use lineal_app::self_audit::AuditReport;
use lineal_facts::predicate::Incident;
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, Predicate, Statement, Timestamp};
use lineal_proof::{checkpoint, tile, tree};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::*;

struct World {
    _folder: tempfile::TempDir,
    project: Project,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Project::init(folder.path(), "ana").await.unwrap();
        let project = Project::open(folder.path(), "/nonexistent/lineal".into()).await.unwrap();
        let control = Control::start(project.clone()).await.unwrap();
        let served = crate::serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, api) = (
            served.address(),
            Api { control, project: project.clone(), audit: watch::channel(AuditReport::default()).1 },
        );
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            served.run(api, async { stopped.await.unwrap() }).await.unwrap();
        });
        Self { _folder: folder, project, address, stop, server }
    }

    /// Appends that many entries in one checkpoint.
    async fn append(&self, count: usize) {
        let statement = |number: usize| Statement {
            subject: vec![Subject::new("test", Digest::of(&number.to_le_bytes()))],
            predicate: Predicate::Incident(Incident {
                code: "test".to_owned(),
                message: number.to_string(),
                found_at: Timestamp::from_unix_ms(0),
            }),
        };
        let statements: Vec<_> = (0..count).map(statement).collect();
        self.project.store.commit(&statements, self.project.store.builder()).await.unwrap();
    }

    /// One request on a connection of its own.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: log\r\nconnection: close\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        Answer { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }

    async fn get(&self, name: &str) -> Answer {
        self.ask("GET", &format!("/log/{name}"), "").await
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_the_whole_log_and_gets_the_checkpoints_root() {
    let world = World::new().await;
    world.append(600).await;
    let answer = world.get("checkpoint").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=1"));
    let keys = [world.project.store.ledger().verifier().clone()];
    let head = checkpoint::open(&answer.body, &keys).unwrap();
    assert_eq!(head.size, 603);
    let mut leaves = Vec::new();
    for id in tile::entry_bundles_of(head.size) {
        let answer = world.get(&id.path()).await;
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        let entries = tile::decode_bundle(&answer.body, id.width).unwrap();
        leaves.extend(entries.into_iter().map(tree::leaf_hash));
    }
    assert_eq!(tree::root(&leaves), head.root);
    for id in tile::tiles_of(head.size) {
        let answer = world.get(&id.path()).await;
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        let hashes = tile::decode_tile(&answer.body, id.width).unwrap();
        if id.level == 0 {
            let first = id.index as usize * 256;
            assert_eq!(hashes, leaves[first..first + usize::from(id.width)]);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_tile_that_was_replaced_is_cut_from_the_larger_one() {
    let world = World::new().await;
    world.append(7).await;
    let names = ["tile/0/000.p/10", "tile/entries/000.p/10"];
    let mut before = Vec::new();
    for name in names {
        before.push(world.get(name).await.body);
    }
    world.append(20).await;
    for name in &names {
        std::fs::remove_file(world.project.store.ledger().root().join(name)).unwrap();
    }
    for (name, before) in names.iter().zip(&before) {
        assert_eq!(world.get(name).await.body, *before, "{name} cut from a larger partial one");
    }
    world.append(300).await;
    for (name, before) in names.iter().zip(&before) {
        let answer = world.get(name).await;
        assert_eq!((answer.status, &answer.body), (200, before), "{name} cut from a full one");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_checkpoint_covers_and_what_has_another_spelling_is_absent() {
    let world = World::new().await;
    // Written and not published, as after a crash before the commit point.
    let staged = world.project.store.ledger().root().join("tile/0/000.p/9");
    std::fs::write(&staged, [0; 9 * 32]).unwrap();
    assert_eq!(world.get("tile/0/000.p/3").await.status, 200);
    let absent = [
        "tile/0/000.p/9",
        "tile/0/000",
        "tile/1/000.p/1",
        "tile/entries/000.p/4",
        "tile/entries/000",
        "tile/0/000.p/03",
        "tile/00/000.p/3",
        "tile/0/0.p/3",
        "tile/0/x000/000.p/3",
        "tile/0/000.p/3/",
        "tile//0/000.p/3",
        "tile/0/000%2ep/3",
        "tile%2F0/000.p/3",
        "tile/64/000.p/1",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999.p/1",
        "tile/0/x018/x446/x744/x073/x709/x551/615.p/1",
        "tile/8/0/000.p/3",
        "checkpoint/",
        "Checkpoint",
        "../config.toml",
        "tile/../../config.toml",
        "%2e%2e/config.toml",
        "",
    ];
    for name in absent {
        assert_eq!(world.get(name).await.status, 404, "{name}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_bundles_are_compressed_for_clients_that_ask_and_head_has_no_body() {
    let world = World::new().await;
    let plain = world.get("tile/entries/000.p/3").await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let path = "/log/tile/entries/000.p/3";
    for accept in ["gzip", "deflate, GZip;q=0.5, br"] {
        let packed = world.ask("GET", path, &format!("accept-encoding: {accept}\r\n")).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{accept}");
        assert!(packed.body.len() < plain.body.len());
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.body);
    }
    for refused in ["gzip;q=0", "br", "gzip; q=0.0, br"] {
        let answer = world.ask("GET", path, &format!("accept-encoding: {refused}\r\n")).await;
        assert_eq!((answer.header("content-encoding"), &answer.body), (None, &plain.body), "{refused}");
    }
    for name in ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"] {
        let full = world.get(name).await;
        let head = world.ask("HEAD", &format!("/log/{name}"), "").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{name}");
        assert_eq!(head.header("content-length"), Some(full.body.len().to_string().as_str()), "{name}");
    }
    assert_eq!(world.ask("POST", "/log/checkpoint", "content-length: 0\r\n").await.status, 405);
    world.stop().await;
}
