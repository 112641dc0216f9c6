//! The sandbox with real processes. Needs Linux on x86-64 with user namespaces, coreutils, a C compiler and `python3` on the
//! `PATH`.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod determinism;
mod errors;
mod fixture;
mod image;
mod isolation;
mod lifetime;
mod limits;
mod outcome;
mod pod;
mod python;
mod unprivileged;
