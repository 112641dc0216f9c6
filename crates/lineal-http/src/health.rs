//! What a cluster asks a process: whether it lives, whether it can work, what it counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What is answered.
#[derive(Clone)]
pub struct Health {
    /// Whether it can work.
    pub ready: watch::Receiver<bool>,
    /// Its metrics, in the text format of OpenMetrics.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` on `address` until `stop` is ready. They tell nothing that is secret, so
/// that others may reach them.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router(health)).with_graceful_shutdown(stop).await
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    match *health.ready.borrow() {
        true => (StatusCode::OK, "ready\n"),
        false => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready: the objects of the cluster are not known yet\n")
        }
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], (health.metrics)())
}
