//! Bytes by digest in a folder, and directories as manifests of them.
//!
//! It is light on purpose: the program that runs a step in a pod uses it without a database, a runtime or a bucket.
//!
//! * [`blob`]: the folder. [`remote`]: where its blobs also are, or belong.
//! * [`tree`]: directories frozen as manifests and laid out again. [`walk`]: finding files that nobody can exchange on
//!   the way.
//! * [`files`]: durable file operations.

pub mod blob;
pub mod files;
pub mod remote;
pub mod tree;
pub mod walk;

pub use blob::{BlobError, BlobStore};
pub use remote::Remote;
