use super::*;
use crate::tree::{leaf_hash, root};

fn checkpoint(leaves: &[Hash]) -> Checkpoint {
    Checkpoint::new("log.example", leaves.len() as u64, root(leaves))
}

#[test]
fn growth_rollback_and_rewriting_are_told_apart() {
    let leaves: Vec<Hash> = (0..7_u8).map(|n| leaf_hash(&[n])).collect();
    let (old, new) = (checkpoint(&leaves[..4]), checkpoint(&leaves));
    let path = tree::consistency_proof(4, 7, |level, index| {
        Ok::<_, ProofError>(root(&leaves[(index << level) as usize..((index + 1) << level) as usize]))
    });
    let path = path.unwrap();
    extends(&old, &new, &path).unwrap();
    extends(&new, &new, &[]).unwrap();
    extends(&checkpoint(&[]), &new, &[]).unwrap();
    assert_eq!(extends(&new, &old, &path), Err(VerifyError::Stale { known: 7, found: 4 }));

    let mut rewritten = leaves.clone();
    rewritten[1] = leaf_hash(b"other");
    let forked = checkpoint(&rewritten);
    assert!(matches!(extends(&old, &forked, &path), Err(VerifyError::Tampered(_))));
    assert!(matches!(extends(&new, &forked, &[]), Err(VerifyError::Tampered(_))));
    assert!(matches!(extends(&old, &new, &[]), Err(VerifyError::Tampered(_))));
    let other_log = Checkpoint { origin: "other.example".to_owned(), ..new };
    assert!(matches!(extends(&old, &other_log, &path), Err(VerifyError::UntrustedKey(_))));
}
