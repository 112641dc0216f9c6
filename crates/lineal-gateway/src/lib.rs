//! The inference router: a process of its own that serves from a signed route table.
//!
//! * [`config`] and [`server`]: what the process is told, and its life from bind to drain.
//! * `table` opens signed tables; `state` keeps the one that is served and its copy on disk; `fetch` waits for the next.
//! * `client` is a client's connection; `path` reads what a client asks for, `proxy` sends it to a version, `retry` moves it to the stable one,
//!   `answer` writes what the gateway says itself.
//! * `prediction` finds the recorded number in an answer; `record` sums requests; `report` delivers the sums.
//!
//! The inference path takes no lock, writes no file and never waits for the control plane: it reads one swapped
//! snapshot and drops a record (counted) rather than wait.

pub mod config;
pub mod server;

mod answer;
mod client;
mod fetch;
mod path;
mod prediction;
mod proxy;
mod record;
mod report;
mod retry;
mod state;
mod table;

pub use config::{ConfigError, GatewayConfig};
pub use server::{GatewayError, run};
