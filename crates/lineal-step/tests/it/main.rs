//! The real program in a container like a pod's, against a real HTTPS server that keeps what it is told in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod faults;
mod life;
mod pod;
mod server;
mod steps;
