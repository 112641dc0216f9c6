//! All durable state of Lineal, in one folder.
//!
//! ```text
//! .lineal/
//!   blobs/sha256/ab/cdef...   bytes by digest                       (blob)
//!   log/checkpoint, log/tile/ the ledger as plain C2SP tlog-tiles   (ledger)
//!   index.db                  a projection of ledger + blobs        (index; may be in PostgreSQL instead)
//!   keys/                     signing keys, readable by the owner   (keys)
//!   lock                      held by whoever appends
//! ```
//!
//! The ledger is the record. [`Store::commit`] syncs blobs and tiles, publishes a checkpoint and only then brings the
//! index up to date; [`Store::open`] repairs whatever a crash left behind. The index is never ahead of the ledger.

pub mod blob;
pub mod files;
pub mod index;
pub mod keys;
pub mod ledger;
pub mod store;
pub mod tree;
pub mod walk;

pub use blob::{BlobError, BlobStore};
pub use index::{DatabaseUrl, Index, IndexLocation};
pub use keys::{FileSigner, KeyError, Keys, SystemSigner};
pub use ledger::{Ledger, LedgerError};
pub use store::{Committed, Store, StoreError};
