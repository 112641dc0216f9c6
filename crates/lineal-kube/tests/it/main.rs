//! The resources against the parser of files and, with the feature `cluster`, against a real API server.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

#[cfg(feature = "cluster")]
mod cluster;
mod documents;
mod parser;
mod patterns;
