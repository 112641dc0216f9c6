//! The index as a file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::super::{IndexError, SCHEMA, SCHEMA_VERSION};
use super::{CONNECTION_LIMIT, complete, is_damaged};

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn open(path: &Path) -> Result<SqlitePool, IndexError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // The last transactions may be lost with the power: they are projected again.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT);
    let opened = async {
        let pool = SqlitePoolOptions::new().max_connections(CONNECTION_LIMIT).connect_with(options).await?;
        prepare(&pool).await?;
        Ok(pool)
    };
    opened.await.map_err(|error| failed(path, error))
}

/// SQLite's number for a file that cannot be opened.
const CANTOPEN: u32 = 14;

/// A database of one connection, because another one would see another database.
pub(super) async fn open_temporary() -> Result<SqlitePool, IndexError> {
    let options = SqliteConnectOptions::new()
        .filename("")
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off);
    let pool = one_connection().connect_with(options).await?;
    prepare(&pool).await?;
    Ok(pool)
}

/// The file as it is. Nothing may be believed of it.
pub(super) async fn open_to_read(path: &Path) -> Result<SqlitePool, IndexError> {
    // Without a log beside it, no file has to be made to read it. A log has the last rows, and can be read where nothing
    // can be made.
    let log_path = path.with_extension("db-wal");
    let has_log = std::fs::metadata(log_path).is_ok_and(|log| log.len() > 0);
    let pool = match read_only(path, !has_log).await {
        // Whoever closes a database writes the log's rows into the file, removes the log's own index, then the log. One
        // that ended in between left a log that says nothing new, and that cannot be read where nothing can be made.
        Err(error) if primary_code(&error) == Some(CANTOPEN) && !path.with_extension("db-shm").exists() => {
            read_only(path, true).await
        }
        opened => opened,
    };
    pool.map_err(|error| failed(path, error))?.ok_or_else(|| IndexError::Damaged(path.to_owned()))
}

/// `None` if it is not an index of this version.
async fn read_only(path: &Path, immutable: bool) -> Result<Option<SqlitePool>, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(immutable);
    let pool = one_connection().connect_with(options).await?;
    let ready = is_ready(&mut *pool.acquire().await?).await?;
    Ok(ready.then_some(pool))
}

fn one_connection() -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None)
}

fn failed(path: &Path, error: sqlx::Error) -> IndexError {
    if is_damaged(&error) { IndexError::Damaged(path.to_owned()) } else { error.into() }
}

/// SQLite's own number for what went wrong, without its details.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// The text that a query of one column yields in its first row, if there is a row and it is not null.
pub(super) async fn text(
    pool: &SqlitePool,
    sql: &str,
    numbers: &[i64],
) -> Result<Option<String>, IndexError> {
    let mut query = sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(sql.to_owned()));
    for number in numbers {
        query = query.bind(*number);
    }
    Ok(query.fetch_optional(pool).await?.flatten())
}

/// Takes the right to write at once. A transaction that reads first and then writes may be refused in between.
pub(super) async fn begin(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, IndexError> {
    Ok(pool.begin_with("BEGIN IMMEDIATE").await?)
}

async fn prepare(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    // Whoever only reads must not wait for whoever writes.
    if is_ready(&mut *pool.acquire().await?).await? {
        return Ok(());
    }
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    if is_ready(&mut transaction).await? {
        return Ok(());
    }
    let mut text = String::new();
    for table in tables(&mut transaction).await? {
        text.push_str(&format!("DROP TABLE \"{}\";\n", table.replace('"', "\"\"")));
    }
    text.push_str(SCHEMA);
    text.push_str(&format!(";\nPRAGMA user_version = {SCHEMA_VERSION}"));
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn is_ready(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    Ok(version == SCHEMA_VERSION && complete(tables(connection).await?))
}

async fn tables(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    sqlx::query_scalar(sql).fetch_all(connection).await
}
