//! Every decision of Lineal, as functions of (record, command, now). No IO, no clock, no randomness.
//!
//! * [`pipeline`]: the pipeline file. [`plan`]: what must run and why; the cache key.
//! * [`gate`]: verdicts of gates over reports. [`policy`]: CEL rules over the record.
//! * [`analysis`]: sequential statistics. [`rollout`]: the state machine that moves traffic.
//! * [`route`]: which version serves a request. [`observation`]: what gateways report.

pub mod analysis;
pub mod gate;
pub mod observation;
pub mod pipeline;
pub mod plan;
pub mod policy;
pub mod rollout;
pub mod route;
