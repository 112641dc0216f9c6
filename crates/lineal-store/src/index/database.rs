//! The two databases that an index may lie in, seen as one: the same texts, the same values, the same rows.
//!
//! Placeholders are `$1`, `$2`, ..., which both take. What differs (opening, settings, tables) is in [`sqlite`] and
//! [`postgres`].

mod postgres;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use sqlx::{
    AssertSqlSafe, Column as _, Decode, Encode, Executor, IntoArguments, PgPool, Postgres, Row as _, Sqlite,
    SqlitePool, Type, TypeInfo as _,
};

use super::location::IndexLocation;
use super::{IndexError, SCHEMA};

/// Connections of one process.
const CONNECTION_LIMIT: u32 = 4;

/// An open index database.
#[derive(Debug, Clone)]
pub(super) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// All or nothing. Dropped without [`Transaction::commit`], it leaves nothing.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// What a placeholder stands for and what a column holds. An absent value has a type too: PostgreSQL asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Flag(bool),
}

/// A row of an answer.
#[derive(Debug)]
pub(super) struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Database {
    /// Opens the database and makes the tables if they are not there, or are another version's.
    pub(super) async fn open(location: &IndexLocation, origin: &str) -> Result<Self, IndexError> {
        match location {
            IndexLocation::File(path) => sqlite::open(path).await.map(Self::Sqlite),
            IndexLocation::Temporary => sqlite::open_temporary().await.map(Self::Sqlite),
            IndexLocation::Postgres(url) => postgres::open(url, origin).await.map(Self::Postgres),
        }
    }

    /// Opens the file at `path` and writes nothing, not even beside it.
    pub(super) async fn open_to_read(path: &Path) -> Result<Self, IndexError> {
        sqlite::open_to_read(path).await.map(Self::Sqlite)
    }

    pub(super) async fn fetch(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, IndexError> {
        match self {
            Self::Sqlite(pool) => fetch(pool, sql, values).await,
            Self::Postgres(pool) => fetch(pool, sql, values).await,
        }
    }

    /// The text that a query of one column yields in its first row; from SQLite only, elsewhere nothing.
    pub(super) async fn text(&self, sql: &str, numbers: &[i64]) -> Result<Option<String>, IndexError> {
        match self {
            Self::Sqlite(pool) => sqlite::text(pool, sql, numbers).await,
            Self::Postgres(_) => Ok(None),
        }
    }

    pub(super) async fn begin(&self) -> Result<Transaction, IndexError> {
        match self {
            Self::Sqlite(pool) => sqlite::begin(pool).await.map(Transaction::Sqlite),
            Self::Postgres(pool) => Ok(Transaction::Postgres(pool.begin().await?)),
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Transaction {
    pub(super) async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, IndexError> {
        match self {
            Self::Sqlite(transaction) => fetch(&mut **transaction, sql, values).await,
            Self::Postgres(transaction) => fetch(&mut **transaction, sql, values).await,
        }
    }

    pub(super) async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<(), IndexError> {
        self.fetch(sql, values).await.map(|_| ())
    }

    /// Takes the tables' indexes away for as long as many rows come. PostgreSQL keeps them: its readers would wait.
    pub(super) async fn drop_indexes(&mut self) -> Result<(), IndexError> {
        let Self::Sqlite(_) = self else { return Ok(()) };
        for name in indexes().filter_map(|text| text.split(' ').nth(2)) {
            self.execute(&format!("DROP INDEX IF EXISTS {name}"), Vec::new()).await?;
        }
        Ok(())
    }

    /// Makes them again.
    pub(super) async fn create_indexes(&mut self) -> Result<(), IndexError> {
        let Self::Sqlite(_) = self else { return Ok(()) };
        for text in indexes() {
            self.execute(text, Vec::new()).await?;
        }
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), IndexError> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await?,
            Self::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

impl Row {
    pub(super) fn text(&self, column: &'static str) -> Result<String, IndexError> {
        self.optional_text(column)?.ok_or(IndexError::value(column))
    }

    pub(super) fn optional_text(&self, column: &'static str) -> Result<Option<String>, IndexError> {
        match self.value(column)? {
            Value::Text(text) => Ok(text.clone()),
            Value::Number(_) | Value::Flag(_) => Err(IndexError::value(column)),
        }
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, IndexError> {
        let number = match self.value(column)? {
            Value::Number(number) => number.and_then(|number| T::try_from(number).ok()),
            Value::Text(_) | Value::Flag(_) => None,
        };
        number.ok_or(IndexError::value(column))
    }

    pub(super) fn flag(&self, column: &'static str) -> Result<bool, IndexError> {
        match self.value(column)? {
            Value::Flag(flag) => Ok(*flag),
            Value::Text(_) | Value::Number(_) => Err(IndexError::value(column)),
        }
    }

    /// Every value with its column.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.columns.iter().map(String::as_str).zip(&self.values)
    }

    /// Every value with its column, for comparison.
    pub(super) fn line(&self) -> String {
        let fields = self.fields().map(|(name, value)| format!("{name}={value:?}"));
        fields.collect::<Vec<_>>().join(" ")
    }

    fn value(&self, column: &'static str) -> Result<&Value, IndexError> {
        let position = self.columns.iter().position(|name| name == column);
        position.and_then(|position| self.values.get(position)).ok_or(IndexError::value(column))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<Option<u32>> for Value {
    fn from(number: Option<u32>) -> Self {
        Self::Number(number.map(i64::from))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Whether the file is damaged: SQLite's `SQLITE_CORRUPT` and `SQLITE_NOTADB`.
pub(super) fn is_damaged(error: &sqlx::Error) -> bool {
    matches!(sqlite::primary_code(error), Some(11 | 26))
}

/// Whether the disk said no: SQLite's `SQLITE_READONLY`, `SQLITE_IOERR`, `SQLITE_FULL` and `SQLITE_CANTOPEN`, PostgreSQL's
/// `disk_full`.
pub(super) fn is_of_the_disk(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some("53100") || matches!(sqlite::primary_code(error), Some(8 | 10 | 13 | 14))
}

/// The statements of the schema that make indexes.
pub(super) fn indexes() -> impl Iterator<Item = &'static str> {
    SCHEMA.lines().filter(|line| line.starts_with("CREATE INDEX ")).map(|line| line.trim_end_matches(';'))
}

/// The tables of the schema.
pub(super) fn tables() -> Vec<&'static str> {
    let named = |line: &'static str| line.strip_prefix("CREATE TABLE ")?.split(' ').next();
    SCHEMA.lines().filter_map(named).collect()
}

/// Whether `found` are the tables of the schema, in any order.
fn complete(mut found: Vec<String>) -> bool {
    let mut expected = tables();
    expected.sort_unstable();
    found.sort_unstable();
    found == expected
}

async fn fetch<'e, D, E>(executor: E, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, IndexError>
where
    D: sqlx::Database,
    E: Executor<'e, Database = D>,
    D::Arguments: IntoArguments<D>,
    usize: sqlx::ColumnIndex<D::Row>,
    Option<String>: for<'r> Decode<'r, D> + for<'q> Encode<'q, D> + Type<D>,
    Option<i64>: for<'r> Decode<'r, D> + for<'q> Encode<'q, D> + Type<D>,
    bool: for<'r> Decode<'r, D> + for<'q> Encode<'q, D> + Type<D>,
{
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Flag(flag) => query.bind(flag),
        };
    }
    let rows = query.fetch_all(executor).await?;
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    let read = |row: &D::Row| -> Result<Row, IndexError> {
        let mut values = Vec::with_capacity(columns.len());
        for (position, column) in row.columns().iter().enumerate() {
            let unreadable = |_| IndexError::value(column.name());
            values.push(match column.type_info().name() {
                "TEXT" => Value::Text(row.try_get(position).map_err(unreadable)?),
                "BOOL" | "BOOLEAN" => Value::Flag(row.try_get(position).map_err(unreadable)?),
                _ => Value::Number(row.try_get(position).map_err(unreadable)?),
            });
        }
        Ok(Row { columns: columns.clone(), values })
    };
    rows.iter().map(read).collect()
}
