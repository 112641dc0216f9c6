use super::*;

#[test]
fn labels_are_dns_labels() {
    for good in ["a", "flights-delay", "v2", "0"] {
        assert_eq!(good.parse::<ModelName>().unwrap().to_string(), good);
    }
    let long = "a".repeat(64);
    for bad in ["", "-a", "a-", "A", "a_b", "a/b", "é", "a b", long.as_str()] {
        assert!(bad.parse::<ModelName>().is_err(), "{bad}");
    }
}

#[test]
fn tags_allow_dots_and_ranges() {
    assert!("2013-01..02".parse::<Tag>().is_ok());
    assert!("..".parse::<Tag>().is_err());
    assert!("a/b".parse::<Tag>().is_err());
}

#[test]
fn model_versions_have_one_spelling() {
    let version: ModelVersion = "flights-delay/2".parse().unwrap();
    assert_eq!((version.model.as_str(), version.version), ("flights-delay", 2));
    assert_eq!(version.to_string(), "flights-delay/2");
    for bad in ["flights-delay", "flights-delay/0", "flights-delay/02", "flights-delay/+2", "x/-1", "x/1/2"] {
        assert!(bad.parse::<ModelVersion>().is_err(), "{bad}");
    }
}

#[test]
fn snapshot_by_tag_or_digest() {
    let by_tag: SnapshotRef = "flights@2013-01".parse().unwrap();
    assert!(matches!(by_tag.at, SnapshotAt::Tag(_)));
    let text = format!("flights@{}", Digest::of(b"x"));
    let by_digest: SnapshotRef = text.parse().unwrap();
    assert!(matches!(by_digest.at, SnapshotAt::Digest(_)));
    assert_eq!(by_digest.to_string(), text);
    assert!("flights".parse::<SnapshotRef>().is_err());
}

#[test]
fn derived_ids_parse() {
    let id = RunId::derive(&Digest::of(b"plan"), Timestamp::from_unix_ms(1), 0);
    assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
    assert_ne!(id, RunId::derive(&Digest::of(b"plan"), Timestamp::from_unix_ms(2), 0));
    assert!("run-xyz".parse::<RunId>().is_err());
}
