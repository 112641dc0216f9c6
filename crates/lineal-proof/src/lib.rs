//! Everything about the ledger that can be checked without asking anyone.
//!
//! Pure: bytes in, answer out. No file, clock, randomness or network; storage is a function that the caller passes.
//!
//! * [`tree`]: RFC 6962 hashes, inclusion and consistency proofs.
//! * [`tile`]: the tree as C2SP tlog-tiles files, and the right edge that appends to it.
//! * [`checkpoint`]: C2SP signed notes that name a tree's size and root.
//! * [`cosignature`]: what witnesses sign. [`witness_policy`]: which of them are believed, and how many.
//!   [`witness_message`]: what a log asks a witness, and what it decides. [`tlog_proof`]: inclusion in one file.
//! * [`key`]: the ECDSA P-256 keys that sign statements. [`keyring`]: which of them counted, and when.
//!   [`key_chain`]: how a checkpoint keeps one of their statements from being left out.
//! * [`envelope`]: DSSE. [`leaf`]: the Rekor v2 entry that enters the tree for each envelope.
//! * [`bundle`]: envelope, entry, proof and checkpoint in one Sigstore file, and the check that binds them together.
//! * [`model_signature`]: the files of a model as an OpenSSF Model Signing statement, and the check of a directory.
//! * [`verify`]: what a failed check means.

pub mod bundle;
pub mod checkpoint;
pub mod cosignature;
pub mod envelope;
pub mod key;
pub mod key_chain;
pub mod keyring;
pub mod leaf;
pub mod model_signature;
pub mod tile;
pub mod tlog_proof;
pub mod tree;
pub mod verify;
pub mod witness_message;
pub mod witness_policy;

pub use bundle::{Bundle, VerifiedBundle};
pub use checkpoint::{Checkpoint, LogKeys, LogSigner, Note, Verified, VerifierKey};
pub use cosignature::{WitnessKey, WitnessSigner};
pub use envelope::Envelope;
pub use key::{PublicKey, Signer};
pub use key_chain::KeyChain;
pub use keyring::{Keyring, TrustedKey};
pub use leaf::{Leaf, LeafReader};
pub use model_signature::SignedModel;
pub use tile::{Edge, EntryBundleId, TileId, TileWrite};
pub use tlog_proof::TlogProof;
pub use tree::Hash;
pub use verify::VerifyError;
pub use witness_message::AddCheckpoint;
pub use witness_policy::{WitnessPolicy, Witnessed};

#[cfg(test)]
mod test_keys;
