//! The store on real servers: one suite over indexes in SQLite and PostgreSQL and ledgers in a folder and a bucket, and
//! what only one of them can do.
//!
//! The servers are those that the environment names, else they are started here.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod appends;
mod bucket;
mod conformance;
mod damage;
mod encryption;
mod fixture;
mod kill;
mod postgres;
mod s3;
mod server;
mod statements;
