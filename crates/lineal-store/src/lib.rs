//! All durable state of Lineal, in one folder.
//!
//! ```text
//! .lineal/
//!   blobs/sha256/ab/cdef...   bytes by digest                       (lineal-blob)
//!   journal/                  what was appended, before all else    (journal)
//!   log/checkpoint, log/tile/ the ledger as plain C2SP tlog-tiles   (ledger)
//!   statements/               what the entries are about            (ledger)
//!   index.db                  a projection of the ledger             (index; may be in PostgreSQL instead)
//!   keys/                     signing keys, readable by the owner   (keys)
//!   lock                      held by whoever appends
//! ```
//!
//! The ledger is the record. [`Store::commit`] syncs blobs and a record in the journal, publishes a checkpoint and only
//! then brings the index up to date; [`Store::open`] repairs whatever a crash left behind. The index is never ahead of the ledger.
//!
//! [`witness`] is the memory of another role: what a witness cosigned, in a folder of its own.

pub mod bucket;
pub mod disk;
pub mod index;
pub mod journal;
pub mod keys;
pub mod ledger;
mod parallel;
pub mod store;
pub mod witness;

pub use bucket::{Bucket, BucketCredentials, BucketLocation};
pub use index::{DatabaseUrl, Index, IndexLocation};
pub use keys::{FileSigner, KeyError, Keys, SystemSigner};
pub use ledger::{Ledger, LedgerError};
pub use store::{Committed, Store, StoreError};
pub use witness::{WitnessMemory, WitnessMemoryError};
