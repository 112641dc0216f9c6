use proptest::prelude::*;

use super::*;

/// The eight leaves of the Certificate Transparency reference tests.
const CT_LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const CT_ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn ct_leaves() -> Vec<Hash> {
    CT_LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect()
}

/// Leaves with distinct hashes.
pub(crate) fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// RFC 6962 section 2.1, written down word by word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => Hash::of(b""),
        1 => leaves[0],
        n => {
            let mut k = 1;
            while k * 2 < n {
                k *= 2;
            }
            let (left, right) = (naive_root(&leaves[..k]), naive_root(&leaves[k..]));
            Hash::of(&[&[1], &left.as_bytes()[..], &right.as_bytes()[..]].concat())
        }
    }
}

/// PATH of RFC 6962 section 2.1.1.
fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, other) = if m < k {
        (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(other);
    path
}

/// SUBPROOF of RFC 6962 section 2.1.2.
fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, other) = if m <= k {
        (naive_subproof(m, &leaves[..k], whole), naive_root(&leaves[k..]))
    } else {
        (naive_subproof(m - k, &leaves[k..], false), naive_root(&leaves[..k]))
    };
    path.push(other);
    path
}

fn reader(leaves: &[Hash]) -> impl FnMut(u8, u64) -> Result<Hash, ProofError> {
    |level, index| {
        let (start, end) = ((index << level) as usize, ((index + 1) << level) as usize);
        Ok(naive_root(&leaves[start..end]))
    }
}

fn flipped(hash: &Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}

#[test]
fn certificate_transparency_vectors() {
    let leaves = ct_leaves();
    assert_eq!(empty_root().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for size in 1..=8 {
        assert_eq!(root(&leaves[..size]).hex(), CT_ROOTS[size - 1]);
    }
    let path = inclusion_proof(0, 8, reader(&leaves)).unwrap();
    let hex: Vec<_> = path.iter().map(Hash::hex).collect();
    assert_eq!(
        hex,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    let path = consistency_proof(6, 8, reader(&leaves)).unwrap();
    let hex: Vec<_> = path.iter().map(Hash::hex).collect();
    assert_eq!(
        hex,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn roots_follow_the_definition() {
    let leaves = leaves(600);
    for size in 0..=600 {
        assert_eq!(root(&leaves[..size]), naive_root(&leaves[..size]), "size {size}");
    }
}

#[test]
fn every_proof_of_small_trees_follows_the_definition_and_verifies() {
    let all = leaves(70);
    for size in 1..=70 {
        let tree = &all[..size];
        let tree_root = naive_root(tree);
        for index in 0..size {
            let path = inclusion_proof(index as u64, size as u64, reader(tree)).unwrap();
            assert_eq!(path, naive_path(index, tree));
            verify_inclusion(index as u64, size as u64, &tree[index], &path, &tree_root).unwrap();
        }
        for old in 1..=size {
            let path = consistency_proof(old as u64, size as u64, reader(tree)).unwrap();
            assert_eq!(path, naive_subproof(old, tree, true));
            let old_root = naive_root(&all[..old]);
            verify_consistency(old as u64, &old_root, size as u64, &tree_root, &path).unwrap();
        }
    }
}

#[test]
fn no_proof_holds_for_other_indices_sizes_or_roots() {
    let all = leaves(20);
    for size in 1..=20_u64 {
        let tree = &all[..size as usize];
        let tree_root = naive_root(tree);
        for index in 0..size {
            let path = naive_path(index as usize, tree);
            let leaf = &tree[index as usize];
            for other in (0..24).filter(|other| *other != index) {
                assert!(verify_inclusion(other, size, leaf, &path, &tree_root).is_err());
            }
            for other in (size + 1)..24 {
                let forged = verify_inclusion(index, other, leaf, &path, &tree_root);
                // The size alone is not authenticated by a path: a path of the same length and turns fits.
                let same_turns = other.next_power_of_two() == size.next_power_of_two();
                assert!(forged.is_err() || same_turns, "{index} {size} {other}");
            }
            assert!(verify_inclusion(index, size, leaf, &path, &flipped(&tree_root, 7)).is_err());
        }
        for old in 1..size {
            let path = naive_subproof(old as usize, tree, true);
            let old_root = naive_root(&all[..old as usize]);
            for other in (1..size).filter(|other| *other != old) {
                let forged_root = naive_root(&all[..other as usize]);
                assert!(verify_consistency(old, &forged_root, size, &tree_root, &path).is_err());
            }
            assert!(verify_consistency(old, &old_root, size, &old_root, &path).is_err());
        }
    }
}

#[test]
fn borders() {
    let (zero, one) = (empty_root(), leaf_hash(b"x"));
    let nothing = |_: u8, _: u64| -> Result<Hash, ProofError> { panic!("nothing to read") };
    assert_eq!(consistency_proof(0, 5, nothing), Ok(Vec::new()));
    assert_eq!(consistency_proof(5, 5, nothing), Ok(Vec::new()));
    assert_eq!(inclusion_proof(0, 1, nothing), Ok(Vec::new()));
    assert!(inclusion_proof(0, 0, nothing).is_err());
    assert!(inclusion_proof(3, 3, nothing).is_err());
    assert!(inclusion_proof(0, u64::MAX, nothing).is_err());
    assert!(consistency_proof(6, 5, nothing).is_err());
    assert!(verify_inclusion(0, 0, &one, &[], &one).is_err());
    verify_consistency(0, &zero, 0, &zero, &[]).unwrap();
    verify_consistency(0, &zero, 1, &one, &[]).unwrap();
    assert!(verify_consistency(0, &one, 1, &one, &[]).is_err());
    assert!(verify_consistency(0, &zero, 0, &one, &[]).is_err());
    assert!(verify_consistency(1, &one, 1, &one, &[one]).is_err());
    assert!(verify_consistency(1, &one, 0, &zero, &[]).is_err());
    assert!(verify_consistency(3, &one, 5, &one, &[]).is_err());
    let long = vec![one; PATH_LIMIT + 1];
    assert_eq!(verify_inclusion(0, u64::MAX, &one, &long, &one), Err(ProofError::Length(64)));
    assert_eq!(verify_consistency(1, &one, u64::MAX, &one, &long), Err(ProofError::Length(64)));
}

#[test]
fn the_largest_tree_stays_within_the_path_limit() {
    let read = |_: u8, _: u64| Ok::<_, ProofError>(empty_root());
    for index in [0, 1, SIZE_LIMIT / 2, SIZE_LIMIT - 1] {
        assert!(inclusion_proof(index, SIZE_LIMIT, read).unwrap().len() <= PATH_LIMIT);
        assert!(consistency_proof(index.max(1), SIZE_LIMIT, read).unwrap().len() <= PATH_LIMIT);
    }
}

proptest! {
    #[test]
    fn proofs_of_any_tree_verify_and_changed_ones_do_not(size in 1..600_u64, at in any::<u64>(), bit in 0..256_usize) {
        let tree = leaves(size);
        let tree_root = naive_root(&tree);
        let index = at % size;
        let leaf = &tree[index as usize];
        let path = inclusion_proof(index, size, reader(&tree)).unwrap();
        verify_inclusion(index, size, leaf, &path, &tree_root).unwrap();
        prop_assert!(verify_inclusion(index, size, &flipped(leaf, bit), &path, &tree_root).is_err());
        let old = index + 1;
        let old_root = naive_root(&tree[..old as usize]);
        let proof = consistency_proof(old, size, reader(&tree)).unwrap();
        verify_consistency(old, &old_root, size, &tree_root, &proof).unwrap();
        prop_assert!(verify_consistency(old, &flipped(&old_root, bit), size, &tree_root, &proof).is_err());
        for position in 0..path.len() {
            let mut changed = path.clone();
            changed[position] = flipped(&changed[position], bit);
            prop_assert!(verify_inclusion(index, size, leaf, &changed, &tree_root).is_err());
        }
        for position in 0..proof.len() {
            let mut changed = proof.clone();
            changed[position] = flipped(&changed[position], bit);
            prop_assert!(verify_consistency(old, &old_root, size, &tree_root, &changed).is_err());
        }
        let (mut longer, mut proof_longer) = (path.clone(), proof.clone());
        longer.push(tree_root);
        proof_longer.push(tree_root);
        prop_assert!(verify_inclusion(index, size, leaf, &longer, &tree_root).is_err());
        prop_assert!(verify_consistency(old, &old_root, size, &tree_root, &proof_longer).is_err());
        if let Some((_, shorter)) = path.split_last() {
            prop_assert!(verify_inclusion(index, size, leaf, shorter, &tree_root).is_err());
        }
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(verify_consistency(old, &old_root, size, &tree_root, shorter).is_err());
        }
    }

    #[test]
    fn verification_of_nonsense_ends(
        first in any::<u64>(), size in any::<u64>(), path in proptest::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        let path: Vec<Hash> = path.into_iter().map(Hash::from_bytes).collect();
        let some = leaf_hash(b"some");
        prop_assert!(verify_inclusion(first, size, &some, &path, &some).is_err() || size == 1);
        let _ = verify_consistency(first, &some, size, &some, &path);
    }
}

#[test]
fn the_root_of_a_prefix_follows_from_subtrees_within_it() {
    let leaves = leaves(300);
    for old in 0..=300 {
        let mut asked = Vec::new();
        let root = prefix_root(old, |level, index| {
            asked.push((index + 1) << level);
            Ok::<_, ProofError>(naive_root(
                &leaves[(index << level) as usize..((index + 1) << level) as usize],
            ))
        });
        assert_eq!(root.unwrap(), naive_root(&leaves[..old as usize]), "{old}");
        assert!(asked.iter().all(|end| *end <= old), "{old}: {asked:?}");
    }
    let refused = prefix_root(SIZE_LIMIT + 1, |_, _| Ok::<_, ProofError>(empty_root()));
    assert!(matches!(refused, Err(ProofError::Range { .. })));
}
