//! The index: a projection of the ledger into SQLite tables, for reads.
//!
//! Every row follows from the statements alone, in ledger order, so [`Index::rebuild`] equals the live index row for
//! row. `state.size` says up to which ledger position the rows reach.

mod apply;
mod query;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use lineal_facts::{Digest, Statement, StatementError};
use lineal_proof::Leaf;
use lineal_proof::keyring::{Keyring, KeyringError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::files::FileError;
use crate::ledger::{Ledger, LedgerError};
use crate::store::statement_of;

pub use query::{
    ApprovalRow, CachedResult, DependencyRow, EntryRow, GateRow, PromotionRow, RolloutRow, RunRow,
    RunStepRow, SnapshotRow, VersionRow,
};

const SCHEMA: &str = include_str!("index/schema.sql");
/// Raised whenever the tables or the projection change; an index of another version is rebuilt.
const SCHEMA_VERSION: i64 = 2;
const CONNECTION_LIMIT: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The index of one store.
#[derive(Debug, Clone)]
pub struct Index {
    pool: SqlitePool,
}

/// Why the index could not be read or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database said no.
    #[error("index database: {0}")]
    Database(#[from] sqlx::Error),
    /// The file is damaged. Nothing is lost: the index follows from the ledger.
    #[error("`{}` is damaged; remove it and the files beside it that begin with its name: it is made again from the ledger", .0.display())]
    Damaged(PathBuf),
    /// A row holds what no build of Lineal writes.
    #[error("the index holds an unreadable value in `{column}`; run `lineal ledger rebuild`")]
    Value {
        /// Where.
        column: &'static str,
    },
    /// The log could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Signed bytes that are no statement.
    #[error("statement at ledger position {position}")]
    Format {
        /// Which.
        position: u64,
        /// The cause.
        source: StatementError,
    },
    /// A key statement that the key rules refuse.
    #[error("key statement at ledger position {position}")]
    Key {
        /// Which.
        position: u64,
        /// The cause.
        source: KeyringError,
    },
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Index {
    /// Opens or creates the database at `path`.
    pub async fn open(path: &Path) -> Result<Self, IndexError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTION_LIMIT).connect_with(options).await;
        let pool =
            pool.map_err(|error| match error.as_database_error().and_then(|e| e.code()).as_deref() {
                // SQLITE_CORRUPT and SQLITE_NOTADB.
                Some("11" | "26") => IndexError::Damaged(path.to_owned()),
                Some(_) | None => error.into(),
            })?;
        let index = Self { pool };
        if index.schema_version().await? != SCHEMA_VERSION {
            index.reset().await?;
        }
        Ok(index)
    }

    /// The ledger position that the rows reach.
    pub async fn size(&self) -> Result<u64, IndexError> {
        let size: i64 = sqlx::query_scalar("SELECT size FROM state").fetch_one(&self.pool).await?;
        u64::try_from(size).map_err(|_| IndexError::Value { column: "state.size" })
    }

    /// Projects everything that the ledger holds beyond [`Index::size`], in one transaction. Call it while holding
    /// the store's lock, so that two processes do not project the same entries.
    pub async fn catch_up(&self, ledger: &Ledger) -> Result<(), IndexError> {
        let target = ledger.head()?.map_or(0, |head| head.size);
        let mut from = self.size().await?;
        if from > target {
            // An older ledger was restored under this index: the ledger is the record.
            self.reset().await?;
            from = 0;
        }
        if from == target {
            return Ok(());
        }
        let mut keyring = self.keyring().await?;
        let mut transaction = self.pool.begin().await?;
        let leaves = ledger.leaves(from, target, target)?;
        let statements = read_statements(ledger, from, &leaves)?;
        for (position, (leaf, statement)) in (from..).zip(leaves.iter().zip(statements)) {
            let entry = apply::Entry { position, statement: leaf.data, key: leaf.key.id() };
            if let Some(statement) = &statement {
                keyring
                    .apply_statement(position, &entry.key, statement)
                    .map_err(|source| IndexError::Key { position, source })?;
            }
            apply::apply(&mut transaction, &entry, statement.as_ref(), &keyring).await?;
        }
        let size = i64::try_from(target).map_err(|_| IndexError::Value { column: "state.size" })?;
        sqlx::query("UPDATE state SET size = ?").bind(size).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Empties every table and projects the whole ledger again.
    pub async fn rebuild(&self, ledger: &Ledger) -> Result<(), IndexError> {
        self.reset().await?;
        self.catch_up(ledger).await
    }

    /// Every row of every table as text, sorted: two indexes are equal when their dumps are.
    pub async fn dump(&self) -> Result<Vec<String>, IndexError> {
        let mut lines = Vec::new();
        for table in self.tables().await? {
            let columns: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "SELECT name FROM pragma_table_info('{table}')"
            )))
            .fetch_all(&self.pool)
            .await?;
            let quoted: Vec<String> = columns.iter().map(|c| format!("quote({c})")).collect();
            let sql = format!("SELECT {} AS line FROM {table}", quoted.join(" || '|' || "));
            let rows: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
            lines.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
        }
        lines.sort();
        Ok(lines)
    }

    /// The keys that count, as of the indexed part of the ledger.
    pub async fn keyring(&self) -> Result<Keyring, IndexError> {
        let rows = sqlx::query("SELECT position, signer, record FROM keys ORDER BY position")
            .fetch_all(&self.pool)
            .await?;
        let mut keyring = Keyring::default();
        for row in rows {
            let position = u64::try_from(row.try_get::<i64, _>("position")?)
                .map_err(|_| IndexError::Value { column: "keys.position" })?;
            let signer = Digest::from_str(&row.try_get::<String, _>("signer")?)
                .map_err(|_| IndexError::Value { column: "keys.signer" })?;
            let record = serde_json::from_str(&row.try_get::<String, _>("record")?)
                .map_err(|_| IndexError::Value { column: "keys.record" })?;
            keyring
                .apply(position, &signer, &record)
                .map_err(|source| IndexError::Key { position, source })?;
        }
        Ok(keyring)
    }

    /// Closes all connections, so that the files may be copied.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn schema_version(&self) -> Result<i64, IndexError> {
        Ok(sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.pool).await?)
    }

    async fn tables(&self) -> Result<Vec<String>, IndexError> {
        Ok(sqlx::query_scalar(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )
        .fetch_all(&self.pool)
        .await?)
    }

    async fn reset(&self) -> Result<(), IndexError> {
        let tables = self.tables().await?;
        let mut transaction = self.pool.begin().await?;
        for table in tables {
            execute(&mut transaction, format!("DROP TABLE {table}")).await?;
        }
        for statement in SCHEMA.split(';').map(str::trim).filter(|s| !s.is_empty()) {
            execute(&mut transaction, statement.to_owned()).await?;
        }
        execute(&mut transaction, format!("PRAGMA user_version = {SCHEMA_VERSION}")).await?;
        transaction.commit().await?;
        Ok(())
    }
}

async fn execute(connection: &mut SqliteConnection, sql: String) -> Result<(), IndexError> {
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// The statements of `leaves`, which begin at position `from`. `None` for one that was erased or lost: `verify` reports
/// it, and the other entries still count.
fn read_statements(
    ledger: &Ledger,
    from: u64,
    leaves: &[Leaf],
) -> Result<Vec<Option<Statement>>, IndexError> {
    let mut statements = Vec::with_capacity(leaves.len());
    let mut failed = None;
    let to = from + leaves.len() as u64;
    ledger.for_each_statement(from, to, &mut |position, pae| {
        let expected = &leaves[(position - from) as usize].data;
        match ledger.check_statement(position, expected, pae) {
            Ok(()) => {}
            Err(LedgerError::StatementMissing { .. }) => {
                statements.push(None);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        match statement_of(pae) {
            Ok(statement) => statements.push(Some(statement)),
            Err(source) => failed = failed.take().or(Some(IndexError::Format { position, source })),
        }
        Ok(())
    })?;
    failed.map_or(Ok(statements), Err)
}
