//! A store whose index is in the database under test, and a way past the index into that database.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use lineal_facts::Statement;
use lineal_store::{Bucket, BucketCredentials, BucketLocation, Index, IndexLocation, Keys, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

use crate::s3::{self, S3Server};
use crate::server::{Server, VARIABLE};
use crate::statements;

/// The database under test, and where blobs and ledger are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    SqliteAndBucket,
    PostgresAndBucket,
}

/// A store in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) location: IndexLocation,
    pub(crate) origin: String,
    /// Its name below the bucket, if it is in one.
    pub(crate) prefix: Option<String>,
    pub(crate) store: Store,
}

/// The database itself.
#[derive(Clone)]
pub(crate) enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The address of the PostgreSQL server.
pub(crate) fn postgres_url() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let started = || SERVER.get_or_init(|| Server::start().unwrap_or_else(|error| panic!("{error}")));
    std::env::var(VARIABLE).unwrap_or_else(|_| started().url().to_owned())
}

/// The S3 server: its address, and the folder that holds its bucket's objects.
pub(crate) fn s3() -> (String, PathBuf) {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    let started =
        || SERVER.get_or_init(|| S3Server::start(target()).unwrap_or_else(|error| panic!("{error}")));
    let place = std::env::var(s3::VARIABLE).unwrap_or_else(|_| started().endpoint());
    let (endpoint, folder) = place.split_once(' ').unwrap();
    (endpoint.to_owned(), Path::new(folder).join("buckets").join(s3::BUCKET))
}

/// Where `cargo xtask setup` puts things.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// The bucket below `prefix`, at the server that all tests share.
pub(crate) fn bucket(prefix: &str) -> Bucket {
    bucket_at(&s3().0, prefix)
}

pub(crate) fn bucket_at(endpoint: &str, prefix: &str) -> Bucket {
    let url = format!("s3://{}/{prefix}", s3::BUCKET);
    let location = BucketLocation::new(&url, Some(endpoint.to_owned()), None, false).unwrap();
    Bucket::open(&location, &BucketCredentials::new(s3::ACCESS, s3::SECRET)).unwrap()
}

/// A name that no other ledger of this test run has: all share one server. Short enough to be whole in the name of its
/// schema.
pub(crate) fn fresh_origin() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("t{}x{}.test", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Fixture {
    /// A store whose ledger holds the builder's key.
    pub(crate) async fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = match kind {
            Kind::Sqlite | Kind::SqliteAndBucket => IndexLocation::File(folder.path().join("the index.db")),
            Kind::Postgres | Kind::PostgresAndBucket => {
                IndexLocation::Postgres(postgres_url().parse().unwrap())
            }
        };
        let in_bucket = matches!(kind, Kind::SqliteAndBucket | Kind::PostgresAndBucket);
        Self::create(folder, location, in_bucket).await
    }

    pub(crate) async fn at(folder: tempfile::TempDir, location: IndexLocation) -> Self {
        Self::create(folder, location, false).await
    }

    async fn create(folder: tempfile::TempDir, location: IndexLocation, in_bucket: bool) -> Self {
        let origin = fresh_origin();
        let root = folder.path().join(".lineal");
        let prefix = in_bucket.then(|| format!("ledgers/{origin}"));
        let (keys, place) = (Keys::new(&root.join("keys")), || prefix.as_deref().map(bucket));
        Store::create_in(&root, &origin, keys.clone(), place()).await.unwrap().index().close().await;
        let store = Store::open_in(&root, keys, &location, place()).await.unwrap();
        store.commit(&[statements::key(&store)], store.builder()).await.unwrap();
        Self { folder, location, origin, prefix, store }
    }

    /// Commits by the builder.
    pub(crate) async fn commit(&self, statements: &[Statement]) {
        for group in statements.chunks(4000) {
            self.store.commit(group, self.store.builder()).await.unwrap();
        }
    }

    /// Another process's view of the same index.
    pub(crate) async fn open(&self) -> Index {
        Index::open(&self.location, &self.origin).await.unwrap()
    }

    /// The same store as after a restart.
    pub(crate) async fn reopen(&self) -> Store {
        let bucket = self.prefix.as_deref().map(bucket);
        Store::open_in(self.store.root(), self.store.keys().clone(), &self.location, bucket).await.unwrap()
    }

    /// What an index says that was made from the ledger just now.
    pub(crate) async fn expected(&self) -> Vec<String> {
        expected(&self.store).await
    }

    /// The same project copied elsewhere, its index in a file: as a backup, or a second writer of the same log. From a
    /// bucket into a folder: what is there has the same names.
    pub(crate) async fn copy(&self, name: &str) -> Store {
        let target = self.folder.path().join(name);
        copy(self.store.root(), &target);
        if let Some(objects) = self.objects() {
            copy(&objects, &target);
        }
        Store::open(&target).await.unwrap()
    }

    /// The files in which the server keeps this store's objects.
    pub(crate) fn objects(&self) -> Option<PathBuf> {
        Some(s3().1.join(self.prefix.as_ref()?))
    }

    /// Another machine with the same settings and keys, and nothing else.
    pub(crate) async fn machine(&self, name: &str) -> Store {
        let root = self.folder.path().join(name);
        copy(&self.store.root().join("keys"), &root.join("keys"));
        let (keys, index) = (Keys::new(&root.join("keys")), IndexLocation::File(root.join("index.db")));
        let place = self.prefix.as_deref().map(bucket);
        Store::open_in(&root, keys, &index, place).await.unwrap()
    }

    pub(crate) async fn raw(&self) -> Raw {
        match &self.location {
            IndexLocation::File(path) => Raw::Sqlite(
                SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap(),
            ),
            IndexLocation::Temporary => unreachable!("nobody else sees it"),
            IndexLocation::Postgres(_) => {
                let pool = PgPool::connect(&postgres_url()).await.unwrap();
                let pattern = format!("lineal_\\_{}\\_%", self.origin.replace('.', "\\_"));
                let schema: String =
                    sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE $1")
                        .bind(pattern)
                        .fetch_one(&pool)
                        .await
                        .unwrap();
                pool.close().await;
                let url = format!("{}&options=-c%20search_path%3D{schema}", postgres_url());
                Raw::Postgres(PgPool::connect(&url).await.unwrap())
            }
        }
    }
}

impl Raw {
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
        }
    }
}

/// What an index says that was made from the ledger of `store` just now, in a file.
pub(crate) async fn expected(store: &Store) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let location = IndexLocation::File(folder.path().join("index.db"));
    let index = Index::open(&location, "any").await.unwrap();
    index.catch_up(store.ledger()).await.unwrap();
    index.dump().await.unwrap()
}

pub(crate) fn copy(from: &Path, to: &PathBuf) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").args(["-a", "-T"]).arg(from).arg(to).status().unwrap().success());
}
