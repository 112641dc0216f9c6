//! The index on real databases: one suite over SQLite and PostgreSQL, and what only one of them can do.
//!
//! PostgreSQL is the one that the environment names, else one that is started here.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod conformance;
mod damage;
mod encryption;
mod fixture;
mod postgres;
mod server;
mod statements;
