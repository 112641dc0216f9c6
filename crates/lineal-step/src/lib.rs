//! What happens around a step's program, wherever it runs.
//!
//! A step runs on this machine, below `lineal run`, or in a pod of a cluster, below the program `lineal-step`. The pod
//! holds no key and no credentials of the cluster: it asks the operator for work, and tells what came of it.
//!
//! * [`order`]: what to do, from the operator; what a pod asks it with.
//! * [`result`]: what came of it, from the pod.
//! * [`wire`]: version, limits and strict reading of both.
//! * [`place`]: code, inputs and parameters laid out. [`variables`]: what a step finds in its environment.
//! * [`outputs`]: what it wrote, frozen.
//! * [`machine`]: where it runs.
//! * [`pod`]: the life of a pod. [`exchange`]: its side of the connection to the operator. [`install`]: what comes before.

pub mod exchange;
pub mod install;
pub mod machine;
pub mod order;
pub mod outputs;
pub mod place;
pub mod pod;
pub mod result;
pub mod variables;
pub mod wire;

pub use order::{Input, StepOrder, WorkRequest};
pub use outputs::OutputError;
pub use place::Place;
pub use result::{Finished, Machine, Outcome, Refusal, StepResult};
pub use wire::{Message, WireError};
