//! Kubernetes: the custom resources of `lineal.dev/v1alpha1`, their definitions, and the [`operator`].
//!
//! A resource holds what was written, as texts and numbers; what it means is decided by the parsers of the other
//! crates, when a controller takes it ([`resource::Pipeline::parse`]). So an object that some build cannot parse is an
//! object with a condition that says why, not the end of a watch. What a schema can say of the same rules, the
//! definitions say too ([`definition`]), so that most mistakes are refused by `kubectl apply`.
//!
//! Intent is in `spec`, in a [`resource::RolloutAction`] or in an [`resource::Approval`]. A `status` can be deleted:
//! it is made again from the ledger.

// A run is one future, of the types of many layers.
#![recursion_limit = "256"]

pub mod access;
pub mod definition;
pub mod operator;
pub mod resource;
pub mod schema;

/// The API group of every resource.
pub const GROUP: &str = "lineal.dev";
/// The only version that is served and stored.
pub const VERSION: &str = "v1alpha1";
