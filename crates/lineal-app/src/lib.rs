//! Use-cases: load, decide, commit, carry out effects.
