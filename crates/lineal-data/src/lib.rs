//! Tables: reading CSV, schema, profile and data contracts.
//!
//! Everything is one streaming pass over a [`std::io::Read`]; nothing here opens a path or waits.
//!
//! * [`table`]: a header and rows of text cells, strictly read. A further format is a further variant there.
//! * [`scalar`]: what one cell's text means, and the lattice of column types.
//! * [`profile`]: counts, ranges, moments and frequent values of each column; the schema is its short form.
//! * [`contract`]: the schema and quality promises of a dataset, and whether its files keep them.

pub mod contract;
pub mod profile;
pub mod scalar;
pub mod table;

pub use contract::{Check, Contract, ContractError};
pub use profile::{Profile, ProfileError, Profiler, Schema};
pub use scalar::{ColumnType, NullValues, Numeric};
pub use table::{Row, TableError, TableReader};
