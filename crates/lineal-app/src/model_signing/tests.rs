use std::fs;

use lineal_facts::Statement;
use lineal_facts::statement::PAYLOAD_TYPE;
use lineal_proof::bundle::LogEntry;
use lineal_proof::{Envelope, Leaf, Signer, envelope};

use lineal_store::ledger::{LedgerEntry, Writer};

use super::*;

/// A project, a model of one file, and its signature's place.
struct World {
    folder: tempfile::TempDir,
    project: Project,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Project::init(folder.path(), "ana").await.unwrap();
        let project = Project::open(folder.path(), "no-program".into()).await.unwrap();
        fs::create_dir(folder.path().join("m")).unwrap();
        fs::write(folder.path().join("m/a"), "weights").unwrap();
        Self { folder, project }
    }

    fn check(&self) -> Check {
        let (target, signature) = (self.folder.path().join("m"), self.folder.path().join("m/model.sig"));
        Check { target, signature, ignore_paths: Vec::new(), follow_links: false }
    }

    async fn verify(&self) -> Result<Checked, Failure> {
        verify(&self.check(), &Trust::Project(&self.project)).await
    }

    /// Appends a signature by `signer`, whether it counts or not, and writes its bundle.
    async fn sign(&self, project: &Project, signer: &dyn Signer) {
        let (store, ledger) = (&project.store, project.store.ledger());
        let pae = envelope::pae(PAYLOAD_TYPE, &statement().to_bytes().unwrap());
        let signature = signer.sign(&pae).unwrap();
        let leaf =
            Leaf { data: Digest::of(&pae), signature: signature.clone(), key: signer.public_key().clone() };
        // `Store::commit` refuses a key of another role; whoever has the log's key does not ask it.
        let log_key = store.keys().load_log_key().unwrap();
        let entry = LedgerEntry { leaf: leaf.clone(), statement: pae.clone() };
        let head = Writer::default().append(ledger, &|value| log_key.sign(value), &[entry]).unwrap();
        store.rebuild_index().await.unwrap();
        let position = head.size - 1;
        let path = ledger.inclusion_proof(position, head.size).unwrap();
        let envelope = Envelope::from_pae(&pae, signature).unwrap();
        let entry = LogEntry::new((position, &leaf), path, &head.note, &ledger.verifier()).unwrap();
        let bundle = Bundle::make(envelope, &leaf.key, Some(entry));
        fs::write(self.check().signature, bundle.to_bytes()).unwrap();
    }
}

fn statement() -> Statement {
    model_signature::statement("m", [("a", Digest::of(b"weights"))].into_iter()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[tokio::test]
async fn only_a_builders_signature_counts_in_a_project() {
    let world = World::new().await;
    world.sign(&world.project, world.project.store.builder()).await;
    assert!(world.verify().await.unwrap().verified);
    let approver = world.project.store.keys().load("ana", KeyRole::Approver).unwrap();
    world.sign(&world.project, &approver).await;
    assert_eq!(world.verify().await.unwrap_err().code, Code::Key);
    // Whoever trusts that very key may.
    let trust = Trust::Key(Box::new(approver.public_key().clone()), Vec::new());
    assert!(verify(&world.check(), &trust).await.unwrap().verified);
}

#[tokio::test]
async fn a_signature_in_a_fork_of_the_ledger_does_not_count() {
    let world = World::new().await;
    // Somebody has all keys and an earlier copy of the folder.
    let fork = tempfile::tempdir().unwrap();
    copy(&world.project.folder(), &fork.path().join(".lineal"));
    let forked = Project::open(fork.path(), "no-program".into()).await.unwrap();
    world.sign(&forked, forked.store.builder()).await;
    // The project's ledger has no such entry yet, then another one.
    assert_eq!(world.verify().await.unwrap_err().code, Code::Tampered);
    let other = model_signature::statement("n", [("a", Digest::of(b"other"))].into_iter()).unwrap();
    world.project.store.commit(&[other], world.project.store.builder()).await.unwrap();
    let failure = world.verify().await.unwrap_err();
    assert_eq!(failure.code, Code::Tampered);
    assert!(failure.message.contains("another entry there"), "{failure}");
}

#[tokio::test]
async fn many_files_are_hashed_in_their_order() {
    let world = World::new().await;
    for number in 0..200 {
        fs::write(world.folder.path().join(format!("m/{number:03}")), number.to_string()).unwrap();
    }
    let found = walk::walk(&world.folder.path().join("m"), Links::Refused, &|_| false).unwrap();
    let hashed = hash(&found, None).unwrap();
    let expected: Vec<_> = found.iter().map(|f| vec![Digest::of(&fs::read(&f.location).unwrap())]).collect();
    assert_eq!(hashed, expected);
    fs::remove_file(&found[100].location).unwrap();
    assert!(matches!(hash(&found, None), Err(TreeError::Changed(path)) if path == found[100].location));
}
