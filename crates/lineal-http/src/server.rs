//! Binding, serving, stopping.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use lineal_app::witness::Witness;
use tokio::net::TcpListener;

use crate::api::{self, Api};
use crate::witness;

/// A server that is bound and not yet serving.
#[derive(Debug)]
pub struct Served {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why it cannot serve.
#[derive(Debug)]
pub enum ServeError {
    /// The address is not on loopback, and there is no authentication yet.
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    Bind(SocketAddr, io::Error),
    /// Serving failed.
    Serve(io::Error),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotLoopback(address) => write!(
                f,
                "refusing to listen on {address}: others could reach it, and there is no authentication yet; use 127.0.0.1"
            ),
            Self::Bind(address, error) => {
                write!(f, "cannot listen on {address}: {error}; choose another port")
            }
            Self::Serve(error) => write!(f, "serving failed: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// Binds `address`; port 0 takes a free one.
pub async fn serve(address: SocketAddr) -> Result<Served, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let listener = TcpListener::bind(address).await.map_err(|e| ServeError::Bind(address, e))?;
    let address = listener.local_addr().map_err(|e| ServeError::Bind(address, e))?;
    Ok(Served { listener, address })
}

impl Served {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves API v1 until `stop` is ready.
    pub async fn run(
        self,
        api: Api,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        self.routes(api::router(api), stop).await
    }

    /// Serves a witness until `stop` is ready.
    pub async fn run_witness(
        self,
        witness: Witness,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        self.routes(witness::router(witness), stop).await
    }

    async fn routes(
        self,
        router: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        axum::serve(self.listener, router).with_graceful_shutdown(stop).await.map_err(ServeError::Serve)
    }
}
