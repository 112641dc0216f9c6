//! The way to a PostgreSQL server on another machine: encrypted, and only to who it says it is.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lineal_store::index::IndexError;
use lineal_store::{Index, IndexLocation};
use sqlx::PgPool;

use crate::server::{PASSWORD, Server};

/// How long the server may take to read its settings again.
const LIMIT: Duration = Duration::from_secs(60);
/// How often another program may take the port that was free a moment ago.
const ATTEMPTS_LIMIT: usize = 5;

/// `openssl` comes with Debian's PostgreSQL.
fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(made.status.success(), "{arguments}: {made:?}");
}

/// An authority `NAME.pem`, and by it a certificate for `localhost`, `NAME-server.pem`.
fn certificates(folder: &Path, name: &str) {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(folder, &format!("req -x509 {new} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2"));
    openssl(folder, &format!("req {new} -keyout {name}-server.key -out {name}.csr -subj /CN=server"));
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    let sign = format!("x509 -req -in {name}.csr -CA {name}.pem -CAkey {name}.key -CAcreateserial -days 2");
    openssl(folder, &format!("{sign} -extfile names -out {name}-server.pem"));
}

fn server(certificate: Vec<u8>, key: Vec<u8>) -> (Server, u16) {
    let files = [("server.pem", certificate), ("server.key", key)];
    let mut failure = String::new();
    for _ in 0..ATTEMPTS_LIMIT {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c ssl_cert_file=../server.pem -c \
             ssl_key_file=../server.key"
        );
        match Server::start_with(&settings, &files) {
            Ok(server) => return (server, port),
            Err(error) => failure = error,
        }
    }
    panic!("{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_that_proves_its_name_gets_the_password() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), "ours");
    certificates(folder.path(), "other");
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let (server, port) = server(read("ours-server.pem"), read("ours-server.key"));
    let url = |host: &str, rest: &str| format!("postgres://lineal:{PASSWORD}@{host}:{port}/postgres?{rest}");
    let trust =
        |name: &str| format!("sslmode=verify-full&sslrootcert={}", folder.path().join(name).display());
    let open = async |url: String| Index::open(&IndexLocation::Postgres(url.parse().unwrap()), "any").await;

    // It knows no encryption, or somebody in between says so.
    open(url("localhost", "sslmode=disable")).await.unwrap().close().await;
    let error = open(url("localhost", &trust("ours.pem"))).await.unwrap_err();
    assert!(matches!(error, IndexError::Server { .. }), "{error}");

    let admin = PgPool::connect(&format!("{}&port={port}", server.url())).await.unwrap();
    let before: String =
        sqlx::query_scalar("SELECT clock_timestamp()::text").fetch_one(&admin).await.unwrap();
    sqlx::query("ALTER SYSTEM SET ssl = on").execute(&admin).await.unwrap();
    sqlx::query("SELECT pg_reload_conf()").execute(&admin).await.unwrap();
    let started = Instant::now();
    let index = loop {
        match open(url("localhost", &trust("ours.pem"))).await {
            Ok(index) => break index,
            Err(error) => assert!(started.elapsed() < LIMIT, "{error:?}"),
        }
    };
    assert_eq!(index.size().await.unwrap(), 0);
    // Those from before may still be about to end.
    let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE application_name = 'lineal' AND backend_start > $1::timestamptz";
    let encrypted: Vec<bool> = sqlx::query_scalar(sql).bind(&before).fetch_all(&admin).await.unwrap();
    assert!(!encrypted.is_empty() && encrypted.iter().all(|is| *is), "{encrypted:?}");

    let refused = [
        // No authority that is known to everybody signed it.
        url("localhost", "sslmode=verify-full"),
        url("localhost", &trust("other.pem")),
        // The certificate has another name.
        url("127.0.0.1", &trust("ours.pem")),
    ];
    for url in refused {
        let error = open(url.clone()).await.unwrap_err();
        assert!(matches!(error, IndexError::Server { .. }), "{url}: {error}");
    }
}
