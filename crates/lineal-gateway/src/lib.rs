//! The inference router: a process of its own that serves from a signed route table.
