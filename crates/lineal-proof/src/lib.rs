//! Merkle tree, tiles, checkpoints, DSSE, bundles and offline verification. Pure.
