use std::collections::BTreeMap;

use lineal_blob::tree;
use lineal_facts::predicate::Artifact;
use lineal_sandbox::{Determinism, EntropyReport, Exit, Limits, Report};
use lineal_step::{Finished, Input};

use super::*;

struct World {
    _folder: tempfile::TempDir,
    project: Project,
    exchange: Exchange,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity.txt");
    let options =
        crate::project::InitOptions { identity: Some(&identity), ..crate::project::InitOptions::default() };
    let root = folder.path().join("project");
    std::fs::create_dir(&root).unwrap();
    Project::init_with(&root, "ana", options).await.unwrap();
    let project = Project::open(&root, "lineal".into()).await.unwrap();
    let exchange = Exchange::open(&project).unwrap();
    World { _folder: folder, project, exchange }
}

fn pass(pod: &str) -> Pass {
    Pass {
        attempt: "a".to_owned(),
        pod: pod.to_owned(),
        location: [("node".to_owned(), "n".to_owned())].into(),
    }
}

fn request() -> WorkRequest {
    WorkRequest {
        version: "1".to_owned(),
        cpu_class: "v3".to_owned(),
        kernel: "6".to_owned(),
        previous: None,
    }
}

impl World {
    /// An order with one input, `input`, and one output, `model`.
    fn order(&self, input: &[u8]) -> StepOrder {
        let blobs = self.project.store.blobs();
        let code = lineal_facts::Manifest::new(Vec::new()).unwrap();
        blobs.put(&code.to_bytes()).unwrap();
        StepOrder {
            version: "1".to_owned(),
            attempt: "a".to_owned(),
            step: "train".parse().unwrap(),
            run: vec!["true".to_owned()],
            env: BTreeMap::new(),
            code: code.digest(),
            inputs: [(
                "data".to_owned(),
                Input { kind: ArtifactKind::File, digest: blobs.put(input).unwrap() },
            )]
            .into(),
            parameters: "{}".to_owned(),
            outputs: [("model".to_owned(), "model.bin".to_owned())].into(),
            determinism: Determinism::Observe,
            limits: Limits::default(),
        }
    }

    fn taken(&self, order: StepOrder) -> Offer {
        let offer = self.exchange.offer(order, "v3").unwrap();
        assert!(self.exchange.work(&pass("p"), &request()).is_some());
        offer
    }
}

fn result(output: Artifact) -> StepResult {
    let report = Report {
        exit: Exit::Code(0),
        wall_ms: 1,
        cpu_ms: 1,
        max_rss_bytes: 1,
        log_cut: false,
        entropy: EntropyReport::default(),
        clock_reads: 0,
        controlled: Vec::new(),
        uncontrolled: Vec::new(),
    };
    let outputs = [("model".to_owned(), output)].into();
    StepResult {
        version: "1".to_owned(),
        attempt: "a".to_owned(),
        outcome: Outcome::Finished(Box::new(Finished { report, outputs, log: None })),
        machine: Machine { cpu_class: "v3".to_owned(), kernel: "6".to_owned() },
    }
}

fn file(bytes: &[u8]) -> Artifact {
    let size_bytes = bytes.len().to_string();
    Artifact { kind: ArtifactKind::File, digest: Digest::of(bytes), size_bytes }
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    result.unwrap_err().code
}

#[tokio::test]
async fn a_pod_gets_its_inputs_and_gives_a_result_once() {
    let world = world().await;
    let mut offer = world.taken(world.order(b"rows"));
    let path = world.exchange.blob(&pass("p"), &Digest::of(b"rows")).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"rows");
    world.exchange.send(&pass("p"), &Digest::of(b"model"), &mut &b"model"[..]).unwrap();
    world.exchange.take(&pass("p"), result(file(b"model"))).unwrap();
    assert_eq!(offer.taken().await.unwrap().location["node"], "n");
    // Its answer may have been lost; another result is too late.
    world.exchange.take(&pass("p"), result(file(b"model"))).unwrap();
    assert_eq!(code(world.exchange.take(&pass("p"), result(file(b"rows")))), "gone");
    assert!(world.exchange.work(&pass("p"), &request()).is_none());
}

#[tokio::test]
async fn bytes_of_others_can_neither_be_read_nor_claimed() {
    let world = world().await;
    let blobs = world.project.store.blobs();
    let secret = blobs.put(b"of another team").unwrap();
    let _offer = world.taken(world.order(b"rows"));
    assert_eq!(code(world.exchange.blob(&pass("p"), &secret)), "not-found");
    assert_eq!(code(world.exchange.take(&pass("p"), result(file(b"of another team")))), "unknown-bytes");
    // Nor as a file of a directory that was sent.
    let entry = lineal_facts::manifest::FileEntry {
        path: "x".to_owned(),
        digest: secret,
        size_bytes: 15,
        executable: false,
    };
    let manifest = lineal_facts::Manifest::new(vec![entry]).unwrap();
    let bytes = manifest.to_bytes();
    world.exchange.send(&pass("p"), &manifest.digest(), &mut &bytes[..]).unwrap();
    let artifact =
        Artifact { kind: ArtifactKind::Directory, digest: manifest.digest(), size_bytes: "15".to_owned() };
    assert_eq!(code(world.exchange.take(&pass("p"), result(artifact))), "unknown-bytes");
    // Nor as the log.
    let mut claims = result(file(b"rows"));
    if let Outcome::Finished(finished) = &mut claims.outcome {
        finished.log = Some(secret);
    }
    assert_eq!(code(world.exchange.take(&pass("p"), claims)), "unknown-bytes");
    // What it was given may be its output.
    world.exchange.take(&pass("p"), result(file(b"rows"))).unwrap();
    assert!(tree::blobs_of(blobs, ArtifactKind::File, &secret).is_ok());
}

#[tokio::test]
async fn what_is_sent_is_hashed_and_measured() {
    let world = world().await;
    let _offer = world.taken(world.order(b"rows"));
    let wrong = world.exchange.send(&pass("p"), &Digest::of(b"model"), &mut &b"modem"[..]);
    assert_eq!(code(wrong), "digest");
    world.exchange.send(&pass("p"), &Digest::of(b"model"), &mut &b"model"[..]).unwrap();
    let lies = Artifact { size_bytes: "6".to_owned(), ..file(b"model") };
    assert_eq!(code(world.exchange.take(&pass("p"), result(lies))), "outputs");
    let mut nothing = result(file(b"model"));
    if let Outcome::Finished(finished) = &mut nothing.outcome {
        finished.outputs.clear();
    }
    assert_eq!(code(world.exchange.take(&pass("p"), nothing)), "outputs");
    let other = StepResult { attempt: "b".to_owned(), ..result(file(b"model")) };
    assert_eq!(code(world.exchange.take(&pass("p"), other)), "attempt");
}

#[tokio::test]
async fn the_latest_pod_of_an_attempt_counts() {
    let world = world().await;
    let _offer = world.taken(world.order(b"rows"));
    world.exchange.send(&pass("p"), &Digest::of(b"model"), &mut &b"model"[..]).unwrap();
    assert!(world.exchange.work(&pass("q"), &request()).is_some());
    assert_eq!(code(world.exchange.take(&pass("p"), result(file(b"model")))), "gone");
    // What the first one sent is not the second one's.
    assert_eq!(code(world.exchange.take(&pass("q"), result(file(b"model")))), "unknown-bytes");
}

#[tokio::test]
async fn a_result_survives_a_restart_until_it_is_forgotten() {
    let world = world().await;
    let order = world.order(b"rows");
    let offer = world.taken(order.clone());
    world.exchange.take(&pass("p"), result(file(b"rows"))).unwrap();
    drop(offer);
    let again = Exchange::open(&world.project).unwrap();
    let taken = again.offer(order.clone(), "v3").unwrap().taken().await.unwrap();
    assert_eq!(taken.result, result(file(b"rows")));
    again.forget("a").unwrap();
    again.forget("a").unwrap();
    let _offer = again.offer(order, "v3").unwrap();
    assert!(again.work(&pass("p"), &request()).is_some());
}

#[tokio::test]
async fn a_withdrawn_order_is_over_and_another_processor_ends_the_attempt() {
    let world = world().await;
    let offer = world.taken(world.order(b"rows"));
    drop(offer);
    assert!(world.exchange.work(&pass("p"), &request()).is_none());
    assert_eq!(code(world.exchange.blob(&pass("p"), &Digest::of(b"rows"))), "gone");
    let mut offer = world.exchange.offer(world.order(b"rows"), "v4").unwrap();
    assert!(world.exchange.work(&pass("p"), &request()).is_none());
    match offer.taken().await.unwrap().result.outcome {
        Outcome::Refused(refusal) => assert_eq!(refusal.code, "cpu-class"),
        Outcome::Finished(_) => panic!("it never ran"),
    }
}

#[tokio::test]
async fn a_pod_that_is_at_work_goes_on_after_a_restart() {
    let world = world().await;
    let offer = world.taken(world.order(b"rows"));
    world.exchange.send(&pass("p"), &Digest::of(b"model"), &mut &b"model"[..]).unwrap();
    drop(offer);
    // What an operator has that starts again.
    let exchange = Exchange::open(&world.project).unwrap();
    let mut offer = exchange.offer(world.order(b"rows"), "v3").unwrap();
    assert_eq!(code(exchange.take(&pass("p"), result(file(b"model")))), "unknown-bytes");
    exchange.send(&pass("p"), &Digest::of(b"model"), &mut &b"model"[..]).unwrap();
    exchange.take(&pass("p"), result(file(b"model"))).unwrap();
    assert_eq!(offer.taken().await.unwrap().location["node"], "n");
    // Another pod of the attempt, once one is known, must ask for work first.
    let _offer = exchange.offer(StepOrder { attempt: "b".to_owned(), ..world.order(b"rows") }, "v3").unwrap();
    let of_b = |pod: &str| Pass { attempt: "b".to_owned(), ..pass(pod) };
    exchange.blob(&of_b("p"), &Digest::of(b"rows")).unwrap();
    assert_eq!(code(exchange.blob(&of_b("q"), &Digest::of(b"rows"))), "gone");
}
