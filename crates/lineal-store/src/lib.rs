//! Durable state: blobs, snapshots, the ledger writer and the index.
