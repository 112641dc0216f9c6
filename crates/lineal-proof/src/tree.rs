//! The Merkle tree of RFC 6962 section 2.1 (the same as RFC 9162 section 2.1) over SHA-256.
//!
//! A *complete subtree* is named by its level and index: level 0 are the leaf hashes, and subtree `(level, index)`
//! covers the leaves from `index << level` to `(index + 1) << level`. Proofs are made from complete subtrees that the
//! caller reads from wherever they are.

use lineal_facts::digest::Hasher;

/// The hash of a leaf, of a subtree or of the whole tree.
pub type Hash = lineal_facts::Digest;

/// Largest tree size; it keeps every proof within [`PATH_LIMIT`].
pub const SIZE_LIMIT: u64 = 1 << 62;
/// Longest accepted proof in hashes (C2SP tlog-witness has the same limit).
pub const PATH_LIMIT: usize = 63;

/// Why a proof cannot be made or does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The sizes or the index ask for something that no tree has.
    #[error("no such proof: {first} in a tree of {size} entries")]
    Range {
        /// The index of the entry, or the size of the older tree.
        first: u64,
        /// The size of the tree.
        size: u64,
    },
    /// More hashes than a tree of any acceptable size needs.
    #[error("the proof has {0} hashes; the limit is {PATH_LIMIT}")]
    Length(usize),
    /// The proof leads to another root, or has too few or too many hashes for these sizes.
    #[error("the proof does not lead to the expected root")]
    Mismatch,
}

/// The hash of an entry: SHA-256 of `0x00` and the entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hasher = Hasher::default();
    hasher.update(&[0]);
    hasher.update(entry);
    hasher.finish()
}

/// The hash of two adjacent subtrees: SHA-256 of `0x01`, left and right.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut block = [1; 65];
    block[1..33].copy_from_slice(left.as_bytes());
    block[33..].copy_from_slice(right.as_bytes());
    Hash::of(&block)
}

/// The root of a tree without entries: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

/// The root over leaf hashes. Linear; for trees that fit in memory and as the reference for everything else.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

/// The root over the first `old` entries of a tree. `read(level, index)` yields complete subtrees of the tree, and is
/// asked only for such that lie within the first `old` entries.
pub fn prefix_root<E: From<ProofError>>(
    old: u64,
    mut read: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    if old > SIZE_LIMIT {
        return Err(ProofError::Range { first: old, size: SIZE_LIMIT }.into());
    }
    range_hash(0, old, &mut read)
}

/// The proof that entry `index` is in the tree of `size` entries (RFC 6962 section 2.1.1), nearest sibling first.
///
/// `read(level, index)` yields complete subtrees of that tree; its error passes through.
pub fn inclusion_proof<E: From<ProofError>>(
    index: u64,
    size: u64,
    mut read: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if index >= size || size > SIZE_LIMIT {
        return Err(ProofError::Range { first: index, size }.into());
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range_hash(middle, end, &mut read)?);
            end = middle;
        } else {
            path.push(range_hash(start, middle, &mut read)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` entries is a prefix of the tree of `new` entries (RFC 6962 section 2.1.2).
///
/// Empty when `old` is 0 or equal to `new`. `read(level, index)` yields complete subtrees of the new tree.
pub fn consistency_proof<E: From<ProofError>>(
    old: u64,
    new: u64,
    mut read: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if old > new || new > SIZE_LIMIT {
        return Err(ProofError::Range { first: old, size: new }.into());
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range_hash(middle, end, &mut read)?);
            end = middle;
        } else {
            path.push(range_hash(start, middle, &mut read)?);
            start = middle;
        }
    }
    // The verifier has the old root; it needs the last common subtree only if that is not the whole old tree.
    if start != 0 {
        path.push(range_hash(start, end, &mut read)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an inclusion proof by the algorithm of RFC 9162 section 2.1.3.2.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    check_length(path)?;
    if index >= size {
        return Err(ProofError::Range { first: index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Mismatch);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            skip_levels(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(ProofError::Mismatch) }
}

/// Checks a consistency proof by the algorithm of RFC 9162 section 2.1.4.2.
///
/// An old size of 0 holds with an empty proof, because every tree extends the empty one; its root is checked too.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    check_length(path)?;
    if old > new {
        return Err(ProofError::Range { first: old, size: new });
    }
    if old == new || old == 0 {
        let expected = if old == new { *new_root } else { empty_root() };
        let holds = path.is_empty() && *old_root == expected;
        return if holds { Ok(()) } else { Err(ProofError::Mismatch) };
    }
    let (seed, path) = if old.is_power_of_two() {
        (old_root, path)
    } else {
        path.split_first().ok_or(ProofError::Mismatch)?
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Mismatch);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_levels(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    let holds = last == 0 && old_hash == *old_root && new_hash == *new_root;
    if holds { Ok(()) } else { Err(ProofError::Mismatch) }
}

fn check_length(path: &[Hash]) -> Result<(), ProofError> {
    if path.len() > PATH_LIMIT { Err(ProofError::Length(path.len())) } else { Ok(()) }
}

/// A node without a right sibling moves up until it is a right child.
fn skip_levels(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

/// The largest power of two below `length`, which is at least 2.
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// The hash of the leaves from `start` to `end`, where `start` is a multiple of a power of two that covers the range.
fn range_hash<E>(start: u64, end: u64, read: &mut impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        parts.push(read(level as u8, at >> level)?);
        at += 1 << level;
    }
    let mut right_to_left = parts.into_iter().rev();
    let last = right_to_left.next().unwrap_or_else(empty_root);
    Ok(right_to_left.fold(last, |right, left| node_hash(&left, &right)))
}

#[cfg(test)]
mod tests;
