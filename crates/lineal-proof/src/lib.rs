//! Everything about the ledger that can be checked without asking anyone.
//!
//! Pure: bytes in, answer out. No file, clock, randomness or network; storage is a function that the caller passes.
//!
//! * [`tree`]: RFC 6962 hashes, inclusion and consistency proofs.
//! * [`tile`]: the tree as C2SP tlog-tiles files, and the right edge that appends to it.
//! * [`checkpoint`]: C2SP signed notes that name a tree's size and root.
//! * [`key`]: the ECDSA P-256 keys that sign statements. [`keyring`]: which of them counted, and when.
//! * [`envelope`]: DSSE. [`leaf`]: the Rekor v2 entry that enters the tree for each envelope.
//! * [`bundle`]: envelope, entry, proof and checkpoint in one Sigstore file, and the check that binds them together.
//! * [`model_signature`]: the files of a model as an OpenSSF Model Signing statement, and the check of a directory.
//! * [`verify`]: what a failed check means.

pub mod bundle;
pub mod checkpoint;
pub mod envelope;
pub mod key;
pub mod keyring;
pub mod leaf;
pub mod model_signature;
pub mod tile;
pub mod tree;
pub mod verify;

pub use bundle::{Bundle, VerifiedBundle};
pub use checkpoint::{Checkpoint, LogKeys, LogSigner, Note, Verified, VerifierKey};
pub use envelope::Envelope;
pub use key::{PublicKey, Signer};
pub use keyring::{Keyring, TrustedKey};
pub use leaf::Leaf;
pub use model_signature::SignedModel;
pub use tile::{Edge, EntryBundleId, TileId, TileWrite};
pub use tree::Hash;
pub use verify::VerifyError;

#[cfg(test)]
mod test_keys;
