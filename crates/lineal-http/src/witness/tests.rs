use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use lineal_app::witness::WitnessOptions;
use lineal_proof::{AddCheckpoint, Checkpoint, LogSigner, Note, tree};
use tower::ServiceExt;

use super::*;

const ORIGIN: &str = "log.example";

struct World {
    folder: tempfile::TempDir,
    log: LogSigner,
}

struct Answer {
    status: u16,
    media_type: String,
    body: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, log: LogSigner::from_seed(ORIGIN, &[1; 32]).unwrap() }
    }

    /// The witness after a start.
    fn witness(&self) -> Witness {
        let options = WitnessOptions {
            name: Some("w.example".to_owned()),
            logs: vec![self.log.vkey()],
            identity: Some(self.folder.path().join("identity.txt")),
        };
        Witness::open(&Witness::folder_in(self.folder.path()).unwrap(), &options).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = router(self.witness()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let media_type = response.headers().get(header::CONTENT_TYPE);
        let media_type = media_type.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
        Answer { status, media_type, body: String::from_utf8(body).unwrap() }
    }

    async fn add(&self, old: u64, note: &[u8]) -> Answer {
        let request = AddCheckpoint { old, path: Vec::new(), note: Note::parse(note).unwrap() };
        self.ask("POST", "/add-checkpoint", request.to_bytes()).await
    }

    async fn monitored(&self) -> Answer {
        let hash = lineal_facts::Digest::of(ORIGIN.as_bytes()).hex();
        self.ask("GET", &format!("/{hash}/checkpoint"), "").await
    }

    fn note(&self, size: u64, data: &str) -> Vec<u8> {
        self.log.sign(&Checkpoint::new(ORIGIN, size, tree::leaf_hash(data.as_bytes()))).unwrap()
    }
}

#[tokio::test]
async fn a_line_for_the_log_and_the_note_for_monitors() {
    let world = World::new();
    assert_eq!(world.monitored().await.status, 404);
    let answer = world.add(0, &world.note(1, "a")).await;
    assert_eq!((answer.status, answer.body.lines().count()), (200, 1), "{}", answer.body);
    let monitored = world.monitored().await;
    assert_eq!((monitored.status, monitored.media_type.as_str()), (200, TEXT));
    let own = String::from_utf8(world.note(1, "a")).unwrap();
    assert_eq!(monitored.body, format!("{own}{}", answer.body));
    let note = Note::parse(monitored.body.as_bytes()).unwrap();
    assert!(world.witness().verifier_key().time_of(&note).unwrap().is_some());
}

#[tokio::test]
async fn the_statuses_of_the_protocol() {
    let world = World::new();
    assert_eq!(world.add(0, &world.note(1, "a")).await.status, 200);
    let conflict = world.add(0, &world.note(1, "a")).await;
    assert_eq!(
        (conflict.status, conflict.media_type.as_str(), conflict.body.as_str()),
        (409, SIZE_MEDIA_TYPE, "1\n")
    );
    assert_eq!(world.add(1, &world.note(1, "b")).await.status, 422, "same size, another root");
    assert_eq!(world.add(1, &world.note(1, "a")).await.status, 200, "the same again, at another time");
    assert_eq!(world.add(2, &world.note(1, "a")).await.status, 400);
    assert_eq!(world.ask("POST", "/add-checkpoint", "old 0\n").await.status, 400);
    let stranger = LogSigner::from_seed("other.example", &[2; 32]).unwrap();
    let note = stranger.sign(&Checkpoint::new("other.example", 0, tree::empty_root())).unwrap();
    assert_eq!(world.add(0, &note).await.status, 404);
    let thief = LogSigner::from_seed(ORIGIN, &[3; 32]).unwrap();
    let note = thief.sign(&Checkpoint::new(ORIGIN, 2, tree::empty_root())).unwrap();
    assert_eq!(world.add(1, &note).await.status, 403);
    let huge = vec![b'x'; REQUEST_LIMIT_BYTES + 1];
    assert_eq!(world.ask("POST", "/add-checkpoint", huge).await.status, 413);
    for path in ["/add-checkpoint", "/checkpoint", "/x/checkpoint", "/log.example/checkpoint"] {
        assert!([404, 405].contains(&world.ask("GET", path, "").await.status), "{path}");
    }
    assert_eq!(world.monitored().await.body.lines().nth(1), Some("1"));
}

#[tokio::test]
async fn a_damaged_memory_is_500_and_nothing_is_signed() {
    let world = World::new();
    world.add(0, &world.note(1, "a")).await;
    let folder = world.witness().folder().join("checkpoints");
    let hash = lineal_facts::Digest::of(ORIGIN.as_bytes()).hex();
    std::fs::write(folder.join(hash), "x").unwrap();
    // No status that a log could take for an answer of the protocol.
    assert_eq!(world.add(0, &world.note(1, "b")).await.status, 500);
    assert_eq!(world.monitored().await.status, 500);
}

#[tokio::test]
async fn the_name_and_the_key_stay() {
    let world = World::new();
    let key = world.witness().verifier_key().clone();
    assert_eq!(*world.witness().verifier_key(), key);
    let folder = Witness::folder_in(world.folder.path()).unwrap();
    let options = |name: &str, log: String| WitnessOptions {
        name: Some(name.to_owned()),
        logs: vec![log],
        identity: Some(world.folder.path().join("identity.txt")),
    };
    let refused = Witness::open(&folder, &options("v.example", world.log.vkey())).unwrap_err();
    assert!(refused.message.contains("`w.example` for good"), "{refused}");
    assert!(Witness::open(&folder, &options("w.example", key.to_string())).is_err(), "no log's key");
    let other = tempfile::tempdir().unwrap();
    let folder = Witness::folder_in(other.path()).unwrap();
    assert!(Witness::open(&folder, &options("a name", world.log.vkey())).is_err());
    assert!(Witness::open(&folder, &WitnessOptions::default()).is_err(), "no log");
    let inside = WitnessOptions { identity: Some(folder.join("i.txt")), ..options("w", world.log.vkey()) };
    assert!(Witness::open(&folder, &inside).is_err(), "what opens the key is not beside it");
}
