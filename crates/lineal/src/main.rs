//! The lineal binary: command line and long-running roles.
fn main() {}
