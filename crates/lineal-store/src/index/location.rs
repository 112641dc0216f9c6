//! Where an index lies.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Longest accepted address of a database.
const URL_LIMIT_BYTES: usize = 4096;

/// Where an index lies.
#[derive(Debug, Clone)]
pub enum IndexLocation {
    /// An SQLite file.
    File(PathBuf),
    /// An SQLite file without a name, for this process alone. It lies where temporary files do once it is large, and
    /// goes with the process.
    Temporary,
    /// A PostgreSQL database, in which every ledger has a schema of its own.
    Postgres(DatabaseUrl),
}

/// `postgres://user:password@host:port/database`. What it prints has no password; that may also be in `PGPASSWORD` or a
/// `pgpass` file.
///
/// A server on another machine must have a certificate for its name (`sslmode=verify-full`), unless the address says
/// something else: `sslmode=prefer`, the default of other programs, takes any server and any listener.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: String,
    options: Box<PgConnectOptions>,
}

/// Why a text is no address of a database. It never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected postgres://user:password@host/database: {0}")]
pub struct DatabaseUrlError(String);

impl DatabaseUrl {
    /// What to connect with.
    pub(super) fn options(&self) -> PgConnectOptions {
        (*self.options).clone()
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason: &str| DatabaseUrlError(reason.to_owned());
        if text.len() > URL_LIMIT_BYTES {
            return Err(DatabaseUrlError(format!("longer than {URL_LIMIT_BYTES} bytes")));
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(wrong("it begins with something else"));
        }
        // Other programs take an address without a host if a parameter names the socket's folder; the parser does not.
        let (before, after) = text.split_once("://").unwrap_or_default();
        let hostless = after.split_once('@').filter(|(_, rest)| rest.starts_with('/'));
        let complete = hostless.map(|(user, rest)| format!("{before}://{user}@localhost{rest}"));
        let options: PgConnectOptions = complete
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map_err(|_| wrong("host, port or a parameter cannot be read"))?;
        let options = match options.get_ssl_mode() {
            PgSslMode::Prefer if !is_local(&options) => options.ssl_mode(PgSslMode::VerifyFull),
            _ => options,
        };
        Ok(Self { text: text.to_owned(), options: Box::new(options) })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        let database = self.options.get_database().unwrap_or_default();
        match self.options.get_socket() {
            Some(socket) => write!(f, "postgres:///{database} at {}", socket.display()),
            None => write!(f, "postgres://{host}:{port}/{database}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for DatabaseUrl {}

/// Writes the whole address: for the settings file only.
impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether the server is on this machine.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_matches(['[', ']']);
    let loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    options.get_socket().is_some() || host == "localhost" || loopback
}

#[cfg(test)]
mod tests;
