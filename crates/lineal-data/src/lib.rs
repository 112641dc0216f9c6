//! Tables: reading CSV, schema, profile and data contracts.
