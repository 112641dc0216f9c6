use std::sync::Barrier;

use lineal_proof::{LogSigner, WitnessSigner, tree};

use super::*;

const ORIGIN: &str = "log.example";

fn signer() -> WitnessSigner {
    WitnessSigner::from_seed("w.example", &[7; 32]).unwrap()
}

fn memory(folder: &Path) -> WitnessMemory {
    WitnessMemory::open(&folder.join("memory"), signer().verifier_key().clone()).unwrap()
}

/// A checkpoint of the log, cosigned; `branch` tells forks apart.
fn cosigned(size: u64, branch: &str) -> Note {
    let log = LogSigner::from_seed(ORIGIN, &[1; 32]).unwrap();
    let checkpoint = Checkpoint::new(ORIGIN, size, tree::leaf_hash(branch.as_bytes()));
    let mut note = Note::parse(&log.sign(&checkpoint).unwrap()).unwrap();
    note.signatures.push(signer().cosign(&note.text, 1_700_000_000));
    note
}

fn put(memory: &WitnessMemory, note: Note) {
    memory.advance(ORIGIN, |_| Ok::<_, ()>(note)).unwrap().unwrap();
}

#[test]
fn what_was_stored_is_there_after_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(memory(folder.path()).latest(ORIGIN).unwrap(), None);
    put(&memory(folder.path()), cosigned(3, "a"));
    let again = memory(folder.path());
    assert_eq!(again.latest(ORIGIN).unwrap(), Some(cosigned(3, "a")));
    assert_eq!(again.latest("other.example").unwrap(), None);
    let seen = again.advance(ORIGIN, |latest| Err::<Note, _>(latest.map(|latest| latest.size)));
    assert_eq!(seen.unwrap(), Err(Some(3)));
}

#[test]
fn a_refusal_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let memory = memory(folder.path());
    put(&memory, cosigned(3, "a"));
    assert_eq!(memory.advance(ORIGIN, |_| Err("no")).unwrap(), Err("no"));
    assert_eq!(memory.latest(ORIGIN).unwrap(), Some(cosigned(3, "a")));
}

#[test]
fn of_many_that_continue_the_same_size_one_is_stored() {
    const WRITERS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(WRITERS);
    let won: Vec<bool> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                // A memory each, as if each were a process.
                let (memory, barrier) = (memory(folder.path()), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let decided = memory.advance(ORIGIN, |latest| match latest {
                        None => Ok(cosigned(5, &number.to_string())),
                        Some(latest) => Err(latest.size),
                    });
                    decided.unwrap().is_ok()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap().to_string();
    assert_eq!(memory(folder.path()).latest(ORIGIN).unwrap(), Some(cosigned(5, &winner)));
}

#[test]
fn a_memory_that_is_not_this_witnesss_is_never_taken_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let memory = memory(folder.path());
    let path = memory.path(ORIGIN);
    let mut without = cosigned(3, "a");
    without.signatures.truncate(1);
    let mut forged = cosigned(3, "a");
    forged.text = cosigned(2, "a").text;
    let other = String::from_utf8(cosigned(3, "a").to_bytes()).unwrap().replace(ORIGIN, "gol.example");
    let bad = [
        (Vec::new(), "not a signed note"),
        (cosigned(3, "a").to_bytes()[..40].to_vec(), "not a signed note"),
        (without.to_bytes(), "not cosigned by this witness"),
        (forged.to_bytes(), "does not fit"),
        (other.into_bytes(), "another log"),
    ];
    for (bytes, reason) in bad {
        std::fs::write(&path, bytes).unwrap();
        let decided = memory.advance(ORIGIN, |_| Ok::<_, ()>(cosigned(9, "b")));
        assert!(decided.unwrap_err().to_string().contains(reason), "{reason}");
        assert!(memory.latest(ORIGIN).is_err());
    }
}

#[test]
fn what_this_witness_did_not_cosign_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let memory = memory(folder.path());
    let mut note = cosigned(3, "a");
    note.signatures.truncate(1);
    assert!(memory.advance(ORIGIN, |_| Ok::<_, ()>(note)).is_err());
    assert_eq!(memory.latest(ORIGIN).unwrap(), None);
}
