use super::*;

const URL: &str = "postgres://anna:geheim@db.example:5433/lineal?sslmode=verify-full";

#[test]
fn a_password_is_kept_but_not_printed() {
    let url: DatabaseUrl = URL.parse().unwrap();
    let printed = format!("{url} {url:?} {:?}", IndexLocation::Postgres(url.clone()));
    assert!(printed.contains("db.example:5433/lineal"), "{printed}");
    assert!(!printed.contains("geheim"), "{printed}");
    assert_eq!(serde_json::to_value(&url).unwrap(), URL);
    assert_eq!(serde_json::from_value::<DatabaseUrl>(URL.into()).unwrap(), url);
}

#[test]
fn a_refusal_does_not_repeat_the_password() {
    let long = format!("postgres://anna:geheim@db/{}", "x".repeat(URL_LIMIT_BYTES));
    let texts = [
        "mysql://anna:geheim@db/lineal",
        "geheim",
        "postgres://anna:geheim@db:port/lineal",
        "postgres://anna:geheim@[::1/lineal",
        "postgres://anna:geheim@db/lineal?sslmode=geheim",
        long.as_str(),
    ];
    for text in texts {
        let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
        assert!(!error.contains("geheim"), "{error}");
        let error = serde_json::from_value::<DatabaseUrl>(text.into()).unwrap_err().to_string();
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn a_server_elsewhere_must_prove_its_name() {
    let mode = |text: &str| text.parse::<DatabaseUrl>().unwrap().options().get_ssl_mode();
    let elsewhere =
        ["postgres://db.example/x", "postgres://10.0.0.7/x", "postgres://db.example/x?sslmode=prefer"];
    for url in elsewhere {
        assert!(matches!(mode(url), PgSslMode::VerifyFull), "{url}");
    }
    assert!(matches!(mode("postgres://db.example/x?sslmode=require"), PgSslMode::Require));
    let here = [
        "postgres://localhost/x",
        "postgres://127.0.0.2/x",
        "postgres://[::1]/x",
        "postgres://a/x?host=/run",
        "postgres://anna@/x?host=/run",
        "postgres://anna:geheim@/x?host=/run&port=5433",
        "postgres:///x?host=/run",
    ];
    for url in here {
        assert!(matches!(mode(url), PgSslMode::Prefer), "{url}");
    }
}

#[test]
fn the_folder_of_a_socket_is_a_parameter() {
    for text in [
        "postgres://anna@/x?host=/run/pg",
        "postgres:///x?host=/run/pg&user=anna",
        "postgres://anna@h/x?host=/run/pg",
    ] {
        let url: DatabaseUrl = text.parse().unwrap();
        let options = url.options();
        assert_eq!(options.get_socket().unwrap(), std::path::Path::new("/run/pg"), "{text}");
        assert_eq!((options.get_username(), options.get_database()), ("anna", Some("x")), "{text}");
        assert_eq!(serde_json::to_value(&url).unwrap(), text);
    }
}
