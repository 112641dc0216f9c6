use super::*;

fn config(lines: &str) -> Result<Config, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let text = "version = 1\norigin = \"a.lineal.local\"\napprover = \"ana\"\nserve = \"127.0.0.1:0\"\n\
                gateway = \"127.0.0.1:0\"\n";
    std::fs::write(&path, format!("{text}{lines}\n")).unwrap();
    read_config(&path)
}

#[test]
fn the_index_may_be_in_postgresql() {
    assert_eq!(config("").unwrap().index, None);
    let url = "postgres://anna:geheim@db.example/lineal";
    let read = config(&format!("index = \"{url}\"")).unwrap();
    assert_eq!(read.index, Some(url.parse().unwrap()));
    assert!(!format!("{read:?}").contains("geheim"));
    // Written again, it is whole.
    assert!(toml::to_string(&read).unwrap().contains(url));
}

#[test]
fn a_wrong_line_is_numbered_and_not_repeated() {
    let lines = [
        "index = \"mysql://anna:geheim@db/lineal\"",
        "index = \"postgres://anna:geheim@db:port/lineal\"",
        "index = postgres://anna:geheim@db/lineal",
        "index = \"postgres://anna:geheim@db/lineal",
        "index = [\"postgres://anna:geheim@db/lineal\"]",
        "indexes = \"postgres://anna:geheim@db/lineal\"",
    ];
    for line in lines {
        let failure = config(line).unwrap_err();
        assert_eq!(failure.code, Code::Config);
        assert!(failure.message.contains("line 6: "), "{}", failure.message);
        assert!(!failure.message.contains("geheim"), "{}", failure.message);
    }
}
