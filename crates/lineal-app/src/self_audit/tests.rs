use std::fs;

use lineal_facts::predicate::Incident;
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, Predicate, Statement, Timestamp};

use super::*;
use crate::Project;

/// A project whose ledger has 700 entries and a bit.
async fn project(folder: &std::path::Path) -> Project {
    Project::init(folder, "ana").await.unwrap();
    let project = Project::open(folder, "no-program".into()).await.unwrap();
    append(&project, 700).await;
    project
}

async fn append(project: &Project, count: u64) {
    let incident = |n: u64| Statement {
        subject: vec![Subject::new("x", Digest::of(&n.to_be_bytes()))],
        predicate: Predicate::Incident(Incident {
            code: "test".to_owned(),
            message: n.to_string(),
            found_at: Timestamp::from_unix_ms(0),
        }),
    };
    let statements: Vec<Statement> = (0..count).map(incident).collect();
    project.store.commit(&statements, project.store.builder()).await.unwrap();
}

#[tokio::test]
async fn every_part_is_looked_at_and_then_again() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path()).await;
    let mut audit = SelfAudit::new(project.store.ledger().clone());
    assert!(audit.step(true).is_empty());
    assert!((700..800).contains(&audit.report().size) && audit.report().rounds == 0);
    for _ in 0..3 {
        assert!(audit.step(true).is_empty());
    }
    assert_eq!(audit.report().rounds, 1);
    // Old damage is found within a round, and told once.
    let pack = folder.path().join(".lineal/statements/001");
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    let told: Vec<FsckFinding> = (0..6).flat_map(|_| audit.step(true)).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].kind, told[0].position.unwrap() / 256), ("statement-damaged", 1));
    assert_eq!(audit.report().findings, told);
}

#[tokio::test]
async fn what_is_new_is_looked_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path()).await;
    let mut audit = SelfAudit::new(project.store.ledger().clone());
    assert!(audit.step(true).is_empty());
    append(&project, 1).await;
    let bundle = folder.path().join(".lineal/log/tile/entries/002.p");
    let last = fs::read_dir(&bundle).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&last, bytes).unwrap();
    let found = audit.step(false);
    assert!(found.iter().any(|finding| finding.kind == "entries"), "{found:?}");
}

#[tokio::test]
async fn a_ledger_that_was_put_back_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path()).await;
    let mut audit = SelfAudit::new(project.store.ledger().clone());
    let checkpoint = folder.path().join(".lineal/log/checkpoint");
    let old = fs::read(&checkpoint).unwrap();
    append(&project, 5).await;
    assert!(audit.step(true).is_empty());
    fs::write(&checkpoint, old).unwrap();
    let found = audit.step(true);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("an older one was put back"), "{}", found[0].message);
}
