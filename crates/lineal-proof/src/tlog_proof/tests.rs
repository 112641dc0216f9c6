use proptest::prelude::*;

use super::*;
use crate::checkpoint::{LogSigner, VerifierKey};
use crate::witness_policy::Quorum;

const PROOF: &str = include_str!("../../vectors/entry-5.tlog-proof");
const POLICY: &str = include_str!("../../vectors/two-of-three.policy");

fn proof() -> TlogProof {
    TlogProof::from_bytes(PROOF.as_bytes()).unwrap()
}

fn policy() -> WitnessPolicy {
    WitnessPolicy::parse(POLICY.as_bytes()).unwrap()
}

fn leaf(index: u64) -> Hash {
    tree::leaf_hash(format!("entry {index}").as_bytes())
}

#[test]
fn the_proof_of_the_vectors() {
    let proof = proof();
    assert_eq!((proof.index, proof.path.len(), &proof.extra[..]), (5, 3, &b"who and what"[..]));
    assert_eq!(proof.to_bytes(), PROOF.as_bytes());
    let witnessed = proof.verify(&leaf(5), &policy(), u64::MAX).unwrap();
    assert_eq!(witnessed.checkpoint.size, 8);
    assert_eq!(witnessed.quorum, Quorum::Reached { attested_at: 1_700_000_000 });
    let without = TlogProof { extra: Vec::new(), ..proof };
    assert_eq!(String::from_utf8(without.to_bytes()).unwrap(), PROOF.replace("extra d2hvIGFuZCB3aGF0\n", ""));
    assert_eq!(TlogProof::from_bytes(&without.to_bytes()), Ok(without));
}

#[test]
fn another_entry_index_path_or_log_is_refused() {
    let tampered = |result: Result<Witnessed, VerifyError>| matches!(result, Err(VerifyError::Tampered(_)));
    assert!(tampered(proof().verify(&leaf(4), &policy(), u64::MAX)));
    assert!(tampered(TlogProof { index: 4, ..proof() }.verify(&leaf(5), &policy(), u64::MAX)));
    assert!(tampered(TlogProof { index: 8, ..proof() }.verify(&leaf(5), &policy(), u64::MAX)));
    let short = TlogProof { path: proof().path[..2].to_vec(), ..proof() };
    assert!(tampered(short.verify(&leaf(5), &policy(), u64::MAX)));
    let other = LogSigner::from_seed("log.example/vector", &[9; 32]).unwrap().verifier_key().clone();
    let other = WitnessPolicy::unwitnessed([other]);
    assert!(matches!(proof().verify(&leaf(5), &other, u64::MAX), Err(VerifyError::UntrustedKey(_))));
}

#[test]
fn only_the_one_spelling_is_read() {
    let bad = [
        String::new(),
        PROOF.replace("@v1", "@v2"),
        PROOF.replace("c2sp.org/tlog-proof@v1\n", ""),
        PROOF.replace("extra d2hv", "extra  d2hv"),
        PROOF.replace("extra d2hvIGFuZCB3aGF0", "extra "),
        PROOF.replace("extra d2hvIGFuZCB3aGF0", "extra d2hvIGFuZCB3aGF0=="),
        PROOF.replace("extra ", "Extra "),
        PROOF.replace("index 5", "index 05"),
        PROOF.replace("index 5", "index +5"),
        PROOF.replace("index 5", "index -5"),
        PROOF.replace("index 5", "index"),
        PROOF.replace("index 5", "index 5 "),
        PROOF.replace("index 5", "index 99999999999999999999"),
        PROOF.replace("index 5\n", "index 5\n\n"),
        PROOF.replace("index 5\n", "index 5\nAAAA\n"),
        PROOF.replace(
            "index 5\n",
            &format!("index 5\n{}", format!("{}\n", STANDARD.encode([7; 32])).repeat(61)),
        ),
        PROOF.replace('\n', "\r\n"),
        PROOF[..PROOF.len() - 1].to_owned(),
        format!("{PROOF}\n"),
        PROOF.replace(
            "extra d2hvIGFuZCB3aGF0",
            &format!("extra {}", STANDARD.encode(vec![1; EXTRA_LIMIT_BYTES + 1])),
        ),
        format!("{PROOF}{}", " ".repeat(PROOF_LIMIT_BYTES)),
    ];
    for text in bad {
        assert!(
            matches!(TlogProof::from_bytes(text.as_bytes()), Err(VerifyError::Malformed(_))),
            "{text:.120}"
        );
    }
    assert!(TlogProof::from_bytes(b"\xff\n\n").is_err());
}

#[test]
fn the_largest_proof_is_read() {
    let log = LogSigner::from_seed("l", &[1; 32]).unwrap();
    let filler = "x".repeat(NOTE_LIMIT_BYTES - 300);
    let checkpoint = Checkpoint { extensions: vec![filler], ..Checkpoint::new("l", 1, leaf(0)) };
    let note = Note::parse(&log.sign(&checkpoint).unwrap()).unwrap();
    let path = vec![leaf(1); PATH_LIMIT];
    let proof = TlogProof { extra: vec![1; EXTRA_LIMIT_BYTES], index: SIZE_LIMIT - 1, path, note };
    assert_eq!(TlogProof::from_bytes(&proof.to_bytes()), Ok(proof));
}

proptest! {
    #[test]
    fn every_entry_of_every_tree_is_proven(size in 1_u64..70, at in any::<u64>(), extra in proptest::collection::vec(any::<u8>(), 0..40)) {
        let index = at % size;
        let leaves: Vec<Hash> = (0..size).map(leaf).collect();
        let range = |level: u8, at: u64| {
            let width = 1 << level;
            let from = (at as usize) * width;
            Ok::<Hash, tree::ProofError>(tree::root(&leaves[from..from + width]))
        };
        let path = tree::inclusion_proof(index, size, range).unwrap();
        let log = LogSigner::from_seed("l", &[1; 32]).unwrap();
        let note = log.sign(&Checkpoint::new("l", size, tree::root(&leaves))).unwrap();
        let proof = TlogProof { extra, index, path, note: Note::parse(&note).unwrap() };
        let read = TlogProof::from_bytes(&proof.to_bytes()).unwrap();
        prop_assert_eq!(&read, &proof);
        let key: VerifierKey = log.vkey().parse().unwrap();
        let policy = WitnessPolicy::unwitnessed([key]);
        prop_assert!(read.verify(&leaf(index), &policy, 0).is_ok());
        prop_assert!(read.verify(&leaf(size), &policy, 0).is_err());
    }

    #[test]
    fn nothing_panics_and_what_parses_is_the_one_spelling(at in any::<usize>(), byte in any::<u8>(), noise in ".{0,80}") {
        let _ = TlogProof::from_bytes(noise.as_bytes());
        let _ = TlogProof::from_bytes(format!("{HEADER}\nindex 1\n{noise}\n\n{noise}").as_bytes());
        let mut mutated = PROOF.as_bytes().to_vec();
        let at = at % mutated.len();
        mutated[at] = byte;
        if let Ok(proof) = TlogProof::from_bytes(&mutated) {
            prop_assert_eq!(proof.to_bytes(), mutated);
        }
    }
}
