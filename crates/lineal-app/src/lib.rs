//! Use-cases of Lineal, one file each: load, decide, commit, carry out effects. No HTTP, no Kubernetes, no terminal.
//!
//! * [`project`], [`failure`], [`progress`]: what every use-case starts from, how it ends, what it tells meanwhile.
//! * [`data`], [`run`], [`executor`], [`step`], [`environment`], [`image`], [`gates`], [`reproduce`]: from data to a
//!   tested model.
//! * [`source`]: the files that a pipeline names, for where there is no folder with them.
//! * [`model`], [`promotion`], [`serving`], [`control`]: from a tested model to production.
//! * [`model_signing`]: a model's files signed for other tools, and any directory checked against such a signature.
//! * [`keys`]: replacing and revoking keys.
//! * [`witness`], [`cosigning`]: cosigning the checkpoints of other logs; having one's own cosigned.
//! * [`verify`], [`fsck`], [`self_audit`], [`lineage`]: what can be proven, whether all is whole, how things hang together.
//! * [`audit`]: the proof in a folder for others, and the check of such a folder.

mod archive;
pub mod audit;
pub mod control;
pub mod cosigning;
pub mod data;
pub mod definition;
pub mod environment;
pub mod exchange;
pub mod executor;
pub mod failure;
pub mod fsck;
pub mod gates;
pub mod image;
pub mod keys;
pub mod lineage;
pub mod model;
pub mod model_signing;
pub mod progress;
pub mod project;
pub mod promotion;
pub mod reproduce;
pub mod run;
pub mod self_audit;
pub mod serving;
pub mod source;
pub mod step;
pub mod verify;
pub mod witness;
pub mod workspace;

pub use failure::{Code, Failure};
pub use progress::{Event, Observer};
pub use project::{Project, now};
