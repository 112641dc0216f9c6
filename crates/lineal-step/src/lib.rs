//! What happens around a step's program, wherever it runs.
//!
//! A step runs on this machine, below `lineal run`, or in a pod of a cluster, below the program `lineal-step`. The pod
//! holds no key and no credentials of the cluster: it asks the operator for work, and tells what came of it.
//!
//! * [`order`]: what to do, from the operator; what a pod asks it with.
//! * [`result`]: what came of it, from the pod.
//! * [`wire`]: version, limits and strict reading of both.

pub mod order;
pub mod result;
pub mod wire;

pub use order::{Input, StepOrder, WorkRequest};
pub use result::{Finished, Machine, Outcome, Refusal, StepResult};
pub use wire::{Message, WireError};
