//! The resources against the parser of files. `tests/cluster` has them against a real API server.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod documents;
mod parser;
mod patterns;
