//! A real gateway process between real sockets: fake model servers behind it, a fake control plane beside it.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as expected")]

mod control_plane;
mod failover;
mod gateway;
mod model_server;
mod reports;
mod routing;
mod surface;
mod tables;
mod wire;

use std::time::Duration;

/// How long a condition may take to come true before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` yields something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, condition: impl Fn() -> F) -> T {
    let mut turns = tokio::time::interval(Duration::from_millis(2));
    let looking = async {
        loop {
            turns.tick().await;
            if let Some(value) = condition().await {
                return value;
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}
