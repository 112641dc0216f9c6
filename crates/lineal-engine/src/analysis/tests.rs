use super::*;

pub(crate) mod simulation;
