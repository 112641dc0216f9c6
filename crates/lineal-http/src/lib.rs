//! API v1 over HTTP: what gateways, the command line and dashboards ask of the control plane.
//!
//! * [`api`]: the routes. [`openapi`]: their description, checked in as `docs/openapi.json`.
//! * [`witness`]: the routes of a witness, another role.
//! * [`health`]: what a cluster asks a process.
//! * [`exchange`]: what the pods of steps ask the operator, over HTTPS.
//! * [`server`]: binding, serving, stopping. Only loopback addresses: there is no authentication yet.

pub mod api;
pub mod exchange;
pub mod health;
mod log;
pub mod openapi;
pub mod server;
pub mod witness;

pub use server::{ServeError, Served, serve};
