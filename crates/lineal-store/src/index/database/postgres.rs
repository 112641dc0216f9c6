//! The index as a schema in a PostgreSQL database.
//!
//! Every ledger has a schema of its own, so that projects may share a database. The version of the tables is part of
//! the schema's name, so that two versions of Lineal do not take each other's tables away.

use std::time::Duration;

use lineal_facts::Digest;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::super::location::DatabaseUrl;
use super::super::{IndexError, SCHEMA, SCHEMA_VERSION};
use super::{CONNECTION_LIMIT, complete};

/// How long a server may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a projection waits for one on another machine.
const LOCK_TIMEOUT: &str = "300s";
/// After this time the lock of a machine that vanished within a projection is free again.
const IDLE_TIMEOUT: &str = "60s";
/// Characters of the origin in the schema's name. PostgreSQL cuts names after 63 bytes.
const READABLE_CHARS: usize = 20;
/// Hex digits of the origin's digest in the schema's name.
const DIGEST_CHARS: usize = 32;

pub(super) async fn open(url: &DatabaseUrl, origin: &str) -> Result<PgPool, IndexError> {
    let schema = schema_name(origin);
    let options = url.options().application_name("lineal").options([
        ("search_path", schema.as_str()),
        ("lock_timeout", LOCK_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_TIMEOUT),
        // The last transactions may be lost with the power: they are projected again.
        ("synchronous_commit", "off"),
    ]);
    let failed = |source| IndexError::Server { server: url.to_string(), source };
    // A pool would hide why it cannot connect, and try for half a minute.
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(&options, &schema)).await;
    connected.map_err(|_| failed(sqlx::Error::PoolTimedOut))?.map_err(failed)?;
    let pool = PgPoolOptions::new().max_connections(CONNECTION_LIMIT).acquire_timeout(CONNECT_TIMEOUT);
    Ok(pool.connect_lazy_with(options))
}

async fn connect(options: &PgConnectOptions, schema: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    prepare(&mut connection, schema).await?;
    connection.close().await
}

async fn prepare(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    if complete(tables(connection, schema).await?) {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    // Two processes that find no tables must not both make them.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    sqlx::query(lock).bind(schema).execute(&mut *transaction).await?;
    if complete(tables(&mut transaction, schema).await?) {
        return Ok(());
    }
    // A name of letters, digits and `_` needs no quotes; they keep it from ever being read as something else.
    let text =
        format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE;\nCREATE SCHEMA \"{schema}\";\n{}", dialect());
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn tables(connection: &mut PgConnection, schema: &str) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1";
    sqlx::query_scalar(sql).bind(schema).fetch_all(connection).await
}

/// The schema in PostgreSQL's words: 64 bits for a number, and text in the order of its bytes, as in SQLite. Tables whose
/// rows SQLite finds in the order in which they came are found by their positions.
fn dialect() -> String {
    let mut text = SCHEMA.replace(" INTEGER", " BIGINT").replace(" TEXT", " TEXT COLLATE \"C\"");
    for table in ["subjects", "results", "runs", "versions"] {
        text.push_str(&format!(";\nCREATE INDEX {table}_by_position ON {table} (position)"));
    }
    text
}

/// One name for each origin and version, of safe characters and within PostgreSQL's limit, whatever the origin is.
fn schema_name(origin: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let readable: String = origin.chars().take(READABLE_CHARS).map(plain).collect();
    let digest = &Digest::of(origin.as_bytes()).hex()[..DIGEST_CHARS];
    format!("lineal{SCHEMA_VERSION}_{readable}_{digest}")
}

#[cfg(test)]
mod tests;
