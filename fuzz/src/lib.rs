//! Fuzz targets of Lineal's parsers. A workspace of its own: the fuzzer is no dependency of anything that ships.
//!
//! `cargo +nightly fuzz run NAME fuzz/new fuzz/corpus/NAME` from the root of the repository: what is found new goes to
//! the first folder (which must exist), so that the kept corpus stays small.

pub mod targets;
