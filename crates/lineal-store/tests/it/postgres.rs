//! What only a server can do: break a connection, be shared, ask for a password.

use std::time::{Duration, Instant};

use lineal_store::index::IndexError;
use lineal_store::{Index, IndexLocation};
use sqlx::{AssertSqlSafe, PgPool};

use crate::fixture::{Fixture, Kind, Raw, expected, fresh_origin, postgres_url};
use crate::server::PASSWORD;
use crate::statements::{all, incident};

/// How long a test waits for another connection.
const LIMIT: Duration = Duration::from_secs(60);

async fn pool(fixture: &Fixture) -> PgPool {
    let Raw::Postgres(pool) = fixture.raw().await else { unreachable!() };
    pool
}

/// The connection that waits for a lock on `incidents`, as soon as there is one.
async fn waiting(pool: &PgPool) -> i32 {
    let started = Instant::now();
    let sql = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'incidents'::regclass";
    loop {
        if let Some(pid) = sqlx::query_scalar(sql).fetch_optional(pool).await.unwrap() {
            return pid;
        }
        assert!(started.elapsed() < LIMIT, "nobody waits");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_killed_within_a_projection_leaves_the_old_rows() {
    let fixture = Fixture::new(Kind::Postgres).await;
    fixture.commit(&[incident(1)]).await;
    let writer = fixture.copy("writer").await;
    writer.commit(&all(), writer.builder()).await.unwrap();
    let (pool, index) = (pool(&fixture).await, fixture.store.index());
    let old = index.dump().await.unwrap();
    for rebuild in [false, true] {
        // Reading goes on, writing waits.
        let mut lock = pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE incidents IN SHARE ROW EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        let projection = {
            let (index, writer) = (fixture.open().await, writer.clone());
            tokio::spawn(async move {
                match rebuild {
                    true => index.rebuild(writer.ledger()).await,
                    false => index.catch_up(writer.ledger()).await.map(|_| ()),
                }
            })
        };
        let pid = waiting(&pool).await;
        assert_eq!(index.dump().await.unwrap(), old, "nobody sees what is not complete");
        let killed: bool =
            sqlx::query_scalar("SELECT pg_terminate_backend($1)").bind(pid).fetch_one(&pool).await.unwrap();
        assert!(killed);
        let error = projection.await.unwrap().unwrap_err();
        assert!(matches!(error, IndexError::Database(_)), "{error}");
        lock.rollback().await.unwrap();
        assert_eq!(index.dump().await.unwrap(), old);
    }
    index.catch_up(writer.ledger()).await.unwrap();
    assert_eq!(index.dump().await.unwrap(), expected(&writer).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_goes_on_after_the_server_dropped_its_connections() {
    let admin = PgPool::connect(&postgres_url()).await.unwrap();
    // Of its own: whose connection is whose cannot be told within one database.
    let name = fresh_origin().replace('.', "_");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
    let url = postgres_url().replace("/postgres?", &format!("/{name}?"));
    let location = IndexLocation::Postgres(url.parse().unwrap());
    let fixture = Fixture::at(tempfile::tempdir().unwrap(), location).await;
    for number in 0..3 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        let killed: i64 = sqlx::query_scalar(sql).bind(&name).fetch_one(&admin).await.unwrap();
        assert!(killed > 0);
        fixture.commit(&[incident(number)]).await;
    }
    assert_eq!(fixture.store.index().dump().await.unwrap(), fixture.expected().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ledgers_share_a_database_and_see_nothing_of_each_other() {
    let (one, two) = (Fixture::new(Kind::Postgres).await, Fixture::new(Kind::Postgres).await);
    one.commit(&all()).await;
    two.commit(&[incident(1)]).await;
    assert_eq!(two.store.index().size().await.unwrap(), 2);
    two.store.rebuild_index().await.unwrap();
    assert_eq!(one.store.index().dump().await.unwrap(), one.expected().await);
    assert_eq!(two.store.index().dump().await.unwrap(), two.expected().await);
    let names = ["x\"; DROP SCHEMA public CASCADE; --", "'", "Ünï/code", ""];
    for name in names {
        let origin = format!("{}{name}", fresh_origin());
        let index = Index::open(&one.location, &origin).await.unwrap();
        assert_eq!(index.size().await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_make_the_tables_at_once() {
    let location = IndexLocation::Postgres(postgres_url().parse().unwrap());
    let origin = fresh_origin();
    let open = |_| {
        let (location, origin) = (location.clone(), origin.clone());
        tokio::spawn(async move { Index::open(&location, &origin).await?.size().await })
    };
    let tasks: Vec<_> = (0..12).map(open).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_is_named_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let urls = [
        postgres_url().replace(PASSWORD, "wrong-horse"),
        postgres_url().replace("lineal:", "nobody:"),
        postgres_url().replace("/postgres?", "/absent?"),
        format!("postgres://lineal:{PASSWORD}@localhost/x?host={}", folder.path().display()),
        // Port 1 of this machine answers nobody.
        format!("postgres://lineal:{PASSWORD}@127.0.0.1:1/x"),
    ];
    for url in urls {
        let location = IndexLocation::Postgres(url.parse().unwrap());
        let error = Index::open(&location, "any").await.unwrap_err();
        assert!(matches!(&error, IndexError::Server { .. }), "{error}");
        let told = format!("{error} {error:?} {location:?}");
        assert!(told.contains("postgres://"), "{told}");
        assert!(!told.contains("horse"), "{told}");
    }
}
