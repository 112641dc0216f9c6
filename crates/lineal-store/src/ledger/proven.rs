//! Entries, proven: their places under the signed root, their statements' bytes, their signatures.

use lineal_proof::{Edge, Leaf, LeafReader, tree};

use super::layout::WIDTH;
use super::{Head, Ledger, LedgerError};

impl Ledger {
    /// The entry at `position` and its signed bytes. The entry is included under `head`, the bytes are those it is
    /// about, and the signature over them holds. Whether the key counts, the keyring says.
    ///
    /// Reads a bundle, a pack and the tiles of one path: the work does not grow with the log.
    pub fn proven(&self, position: u64, head: &Head) -> Result<(Leaf, Vec<u8>), LedgerError> {
        let leaf = self.leaf(position, head.size)?;
        let path = self.inclusion_proof(position, head.size)?;
        tree::verify_inclusion(position, head.size, &leaf.hash(), &path, &head.root).map_err(|_| {
            LedgerError::Contradiction(format!(
                "entry {position} is not in the tree with the root {}",
                head.root
            ))
        })?;
        let statement = self.statement(position, &leaf.data)?;
        leaf.verify(&statement).map_err(|source| LedgerError::Leaf { position, source })?;
        Ok((leaf, statement))
    }

    /// The positions of all entries whose signed bytes are `wanted`. Every entry of the log is hashed up to the root of
    /// `head`, and every statement, so that none can be left out; one that is missing is an error. Signatures are not
    /// looked at.
    pub fn positions_of(&self, head: &Head, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Vec<u64>, LedgerError> {
        let (mut edge, mut reader, mut found) = (Edge::empty(), LeafReader::default(), Vec::new());
        for from in (0..head.size).step_by(WIDTH as usize) {
            let to = (from + WIDTH).min(head.size);
            let (mut hashes, mut digests) = (Vec::new(), Vec::new());
            self.for_each_entry(from, to, head.size, &mut |position, entry| {
                hashes.push(tree::leaf_hash(entry));
                let leaf = reader.read(entry).map_err(|source| LedgerError::Leaf { position, source })?;
                digests.push(leaf.data);
                Ok(())
            })?;
            edge.append(&hashes);
            self.for_each_statement(from, to, &mut |position, statement| {
                self.check_statement(position, &digests[(position - from) as usize], statement)?;
                if wanted(statement) {
                    found.push(position);
                }
                Ok(())
            })?;
        }
        if edge.root() == head.root {
            return Ok(found);
        }
        let (root, signed) = (edge.root(), head.root);
        Err(LedgerError::Contradiction(format!(
            "the entries have the root {root}, the checkpoint says {signed}"
        )))
    }
}
