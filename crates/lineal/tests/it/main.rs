//! The real binary on bad input and under faults: a clear error, and nothing lost.
//!
//! Every test has a project in a folder of its own. Modules are surfaces; [`project`], [`model`] and [`peers`] are what
//! they stand on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

mod approval;
mod audit;
mod audit_outside;
mod bucket;
mod cli;
mod clock;
mod completeness;
mod crash;
mod data;
mod folder;
mod fsck;
mod image;
mod keys;
mod model;
mod model_signature;
mod outbox;
mod outside_python;
mod peers;
mod pipeline;
mod project;
mod rollout;
#[path = "../../../lineal-store/tests/it/s3.rs"]
mod s3;
mod scope;
mod steps;
mod tampering;
mod thief;
mod token;
mod wasm;
mod witness;
