//! What a gateway is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest gateway name in bytes.
pub const NAME_LIMIT_BYTES: usize = 63;

/// The configuration of one gateway process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where clients connect; loopback only. Port 0 takes a free one, see [`GatewayConfig::ready_file`].
    pub listen: SocketAddr,
    /// Base address of the control plane: `http://127.0.0.1:<port>`, no path.
    pub control_plane: String,
    /// The P-256 public key that signs route tables, as PEM (`PUBLIC KEY`).
    pub router_key_pem: String,
    /// Keeps the last good table, so that a restart without the control plane serves.
    pub state_file: PathBuf,
    /// Name of this gateway, 1 to [`NAME_LIMIT_BYTES`] letters, digits, `.`, `_`, `-`. Reports carry it with a
    /// suffix that is new at every start.
    pub gateway: String,
    /// If set, `{"listen":"127.0.0.1:4711","pid":1}` is written there once connections are accepted, and removed at
    /// the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_file: Option<PathBuf>,
}

/// Why a configuration is refused; nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The gateway has no authentication yet.
    #[error(
        "the gateway does not listen on {0}: it has no authentication yet, so only loopback is allowed; put a \
         proxy that authenticates in front"
    )]
    Remote(SocketAddr),
    /// The control plane's address is not usable.
    #[error("`{0}` is not the control plane's address; expected http://<host>:<port> without a path")]
    ControlPlane(String),
    /// The name is not usable.
    #[error("`{0}` is not a gateway name; use 1 to 63 letters, digits, `.`, `_` and `-`")]
    Name(String),
    /// The key cannot be read.
    #[error("the router key is not a P-256 public key in PEM: {0}")]
    RouterKey(String),
}

impl GatewayConfig {
    /// Checks everything that needs no file and no socket.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() {
            return Err(ConfigError::Remote(self.listen));
        }
        self.endpoint("")?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=NAME_LIMIT_BYTES).contains(&self.gateway.len()) || !self.gateway.bytes().all(allowed) {
            return Err(ConfigError::Name(self.gateway.chars().take(NAME_LIMIT_BYTES).collect()));
        }
        Ok(())
    }

    /// Address of `path` at the control plane.
    pub(crate) fn endpoint(&self, path: &str) -> Result<reqwest::Url, ConfigError> {
        let wrong = || ConfigError::ControlPlane(self.control_plane.chars().take(200).collect());
        let base = reqwest::Url::parse(&self.control_plane).map_err(|_| wrong())?;
        if base.scheme() != "http" || base.host().is_none() || base.path() != "/" || base.query().is_some() {
            return Err(wrong());
        }
        base.join(path).map_err(|_| wrong())
    }
}
