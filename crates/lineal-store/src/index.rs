//! The index: a projection of the ledger into tables of SQLite or PostgreSQL, for reads.
//!
//! Every row follows from the statements alone, in ledger order, so [`Index::rebuild`] equals the live index row for
//! row, whatever the database. `state` says up to which ledger position the rows reach and which root the ledger has
//! there: rows of another log, or of a log that was put back, are made again.

mod apply;
mod batch;
mod compare;
mod database;
mod location;
mod projection;
mod query;

use std::path::{Path, PathBuf};

use lineal_facts::{Digest, Statement, StatementError};
use lineal_proof::keyring::{Keyring, KeyringError};

use crate::ledger::{Head, Ledger, LedgerError};
use lineal_blob::files::{Context, FileError};

use database::Database;
use projection::{Projection, State};

pub use location::{DatabaseUrl, DatabaseUrlError, IndexLocation};
pub use query::{
    ApprovalRow, CachedResult, DependencyRow, EntryRow, GateRow, PromotionRow, RolloutRow, RunRow,
    RunStepRow, SnapshotRow, VersionRow,
};

const SCHEMA: &str = include_str!("index/schema.sql");
/// Raised whenever the tables or the projection change; an index of another version is made anew.
const SCHEMA_VERSION: i64 = 4;

/// The index of one store.
#[derive(Debug, Clone)]
pub struct Index {
    database: Database,
}

/// A statement and its place in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedStatement {
    /// The entry's position.
    pub position: u64,
    /// Digest of the signed bytes.
    pub digest: Digest,
    /// Id of the key that signed.
    pub key: Digest,
    /// What it says.
    pub statement: Statement,
}

/// Why the index could not be read or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database said no.
    #[error("index database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database server cannot be used.
    #[error("index database {server}")]
    Server {
        /// Its address, without a password.
        server: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// The file is damaged. Nothing is lost: the index follows from the ledger.
    #[error("`{}` is damaged; `lineal ledger rebuild` makes it again from the ledger", .0.display())]
    Damaged(PathBuf),
    /// A row holds what no build of Lineal writes.
    #[error("the index holds an unreadable value in `{column}`; run `lineal ledger rebuild`")]
    Value {
        /// Where.
        column: String,
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
    /// Opens or makes the index of the ledger called `origin`. Ledgers of different origins may share a PostgreSQL
    /// database.
    pub async fn open(location: &IndexLocation, origin: &str) -> Result<Self, IndexError> {
        Ok(Self { database: Database::open(location, origin).await? })
    }

    /// Opens the file at `path` as it is and writes nothing. What its rows say must be proven from the ledger.
    pub async fn open_to_read(path: &Path) -> Result<Self, IndexError> {
        Ok(Self { database: Database::open_to_read(path).await? })
    }

    /// An index of these statements alone, which come in ledger order, and the keyring that they make.
    pub async fn of_part(part: &[PlacedStatement]) -> Result<(Self, Keyring), IndexError> {
        let database = Database::open(&IndexLocation::Temporary, "").await?;
        let keyring = projection::project_part(&database, part).await?;
        Ok((Self { database }, keyring))
    }

    /// Whether the rows are those of the ledger at `head`, by what the index says.
    pub async fn covers(&self, head: &Head) -> Result<bool, IndexError> {
        let state = projection::read_state(self.database.fetch(projection::READ_STATE, Vec::new()).await?);
        Ok(state == Some(State { size: head.size, root: head.root }))
    }

    /// The ledger position that the rows reach.
    pub async fn size(&self) -> Result<u64, IndexError> {
        let state = projection::read_state(self.database.fetch(projection::READ_STATE, Vec::new()).await?);
        Ok(state.ok_or_else(|| IndexError::value("state"))?.size)
    }

    /// Whether the rows are those of the whole ledger, and readable where every writer reads them.
    pub async fn is_current(&self, ledger: &Ledger) -> Result<bool, IndexError> {
        Ok(self.current(ledger).await?.is_some())
    }

    /// The ledger's size, if [`Index::is_current`].
    async fn current(&self, ledger: &Ledger) -> Result<Option<u64>, IndexError> {
        let state = projection::read_state(self.database.fetch(projection::READ_STATE, Vec::new()).await?);
        let Some(state) = state else { return Ok(None) };
        if state != State::of(ledger)? {
            return Ok(None);
        }
        match self.keyring().await {
            Ok(_) => Ok(Some(state.size)),
            Err(IndexError::Value { .. } | IndexError::Key { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Projects everything that the ledger holds beyond [`Index::size`]: some thousand entries a transaction, so that
    /// readers see whole statements and a size that fits them. Rows that are not this ledger's are replaced, in one
    /// transaction.
    ///
    /// Safe to call at the same time from several processes and machines: whoever holds the lock of the row in
    /// `state` projects, and those who waited go on from there. Returns the ledger position that the rows reach.
    pub async fn catch_up(&self, ledger: &Ledger) -> Result<u64, IndexError> {
        if let Some(size) = self.current(ledger).await? {
            return Ok(size);
        }
        loop {
            let mut projection = Projection::begin(&self.database, ledger).await?;
            projection.resume().await?;
            projection.run().await?;
            let (done, size) = (projection.is_done(), projection.size());
            projection.commit().await?;
            if done {
                return Ok(size);
            }
        }
    }

    /// Empties every table and projects the whole ledger again, in one transaction: readers see the old rows until
    /// the new ones are there.
    pub async fn rebuild(&self, ledger: &Ledger) -> Result<(), IndexError> {
        let mut projection = Projection::begin(&self.database, ledger).await?;
        projection.clear().await?;
        projection.run().await?;
        projection.commit().await
    }

    /// Every row of every table as text, sorted: two indexes are equal when their dumps are, also if one is in SQLite
    /// and the other in PostgreSQL. For small ones; [`Index::difference`] compares those of any size.
    pub async fn dump(&self) -> Result<Vec<String>, IndexError> {
        let mut lines = Vec::new();
        for table in database::tables() {
            let rows = self.database.fetch(&format!("SELECT * FROM {table}"), Vec::new()).await?;
            lines.extend(rows.iter().map(|row| format!("{table}: {}", row.line())));
        }
        lines.sort();
        Ok(lines)
    }

    /// The keys that count, as of the indexed part of the ledger.
    pub async fn keyring(&self) -> Result<Keyring, IndexError> {
        projection::read_keyring(&self.database.fetch(projection::READ_KEYS, Vec::new()).await?)
    }

    /// Closes all connections, so that the files may be copied.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// Removes the SQLite file `path` and what belongs to it.
pub(crate) fn remove_file(path: &Path) -> Result<(), FileError> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("remove", Path::new(&name));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

impl IndexError {
    /// Whether the database's file is not one that a database wrote.
    pub fn is_damaged(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Database(source) => database::is_damaged(source),
            _ => false,
        }
    }

    /// Whether the disk said no to the database: it is full, read-only or broken.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Database(source) if database::is_of_the_disk(source))
    }

    /// Whether the database server cannot be reached or used; what was asked may be asked again later.
    pub fn is_unreachable(&self) -> bool {
        use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Tls};
        match self {
            Self::Server { .. } => true,
            Self::Database(source) => matches!(source, Io(_) | Tls(_) | PoolTimedOut | PoolClosed),
            Self::Damaged(_)
            | Self::Value { .. }
            | Self::Ledger(_)
            | Self::Format { .. }
            | Self::Key { .. }
            | Self::File(_) => false,
        }
    }

    fn value(column: &str) -> Self {
        Self::Value { column: column.to_owned() }
    }
}
