//! The vocabulary of Lineal: what is stored, signed or crosses two crates.
//!
//! Plain data, parsed once. Nothing here reads a clock, a file or the environment, and nothing waits.
//!
//! * [`digest`], [`time`], [`name`]: newtypes for identities.
//! * [`json`]: RFC 8785 canonical bytes and a reader that refuses duplicate keys.
//! * [`manifest`]: a directory as one canonical document, whose digest is its identity. [`collision`]: names that
//!   another file system would take for one.
//! * [`error`]: the causes of an error in one line.
//! * [`sequence`]: the numbers of statements in a run or a rollout.
//! * [`statement`] and [`predicate`]: the in-toto statements that enter the ledger.

pub mod collision;
pub mod digest;
pub mod error;
pub mod json;
pub mod manifest;
pub mod name;
pub mod predicate;
mod references;
pub mod sequence;
pub mod statement;
pub mod time;

pub use digest::Digest;
pub use manifest::Manifest;
pub use name::{
    DatasetName, EnvironmentName, GateName, ModelName, ModelVersion, PipelineName, RolloutId, RunId,
    SnapshotRef, StepName, Tag,
};
pub use predicate::Predicate;
pub use statement::{Statement, StatementError};
pub use time::Timestamp;
