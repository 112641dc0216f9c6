//! Fuzz targets of Lineal's parsers. A workspace of its own: the fuzzer is no dependency of anything that ships.
//!
//! `cargo xtask fuzz` runs them.

pub mod targets;
