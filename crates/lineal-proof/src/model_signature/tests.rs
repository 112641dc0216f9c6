use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::bundle::{self, Bundle};
use crate::envelope::Envelope;
use crate::key::Signer as _;
use crate::test_keys::TestSigner;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn resource(name: &str) -> Value {
    json!({"name": name, "algorithm": "sha256", "digest": digest(name).hex()})
}

/// A statement over these resources with the root that they have.
fn payload(resources: &[Value], serialization: Value) -> Value {
    let mut root = Hasher::default();
    for resource in resources {
        root.update(&hex::decode(resource["digest"].as_str().unwrap()).unwrap_or_default());
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "m", "digest": {"sha256": root.finish().hex()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"resources": resources, "serialization": serialization},
    })
}

fn plain() -> Value {
    json!({"method": "files", "hash_type": "sha256", "allow_symlinks": false})
}

fn parts_of(size: Value) -> Value {
    json!({"method": "shards", "hash_type": "sha256", "allow_symlinks": false, "shard_size": size})
}

fn read(payload: &Value) -> Result<SignedModel, ModelSignatureError> {
    SignedModel::from_bytes(payload.to_string().as_bytes())
}

fn files(names: &[&str]) -> Result<SignedModel, ModelSignatureError> {
    read(&payload(&names.iter().map(|n| resource(n)).collect::<Vec<_>>(), plain()))
}

fn parts(size: Value, names: &[&str]) -> Result<SignedModel, ModelSignatureError> {
    read(&payload(&names.iter().map(|n| resource(n)).collect::<Vec<_>>(), parts_of(size)))
}

#[test]
fn what_is_written_is_what_the_specification_says() {
    let statement = statement("m", [("d/x", digest("1")), ("d-x", digest("2"))].into_iter()).unwrap();
    let bytes = statement.to_bytes().unwrap();
    // `-` is before `/`: code points, not components. The root is that of the raw digests in this order.
    let root = Digest::of(&[*digest("2").as_bytes(), *digest("1").as_bytes()].concat());
    let expected = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicate":{{"resources":[{{"algorithm":"sha256","digest":"{}","name":"d-x"}},{{"algorithm":"sha256","digest":"{}","name":"d/x"}}],"serialization":{{"allow_symlinks":false,"hash_type":"sha256","ignore_paths":[".git",".gitattributes",".github",".gitignore","model.sig"],"method":"files"}}}},"predicateType":"https://model_signing/signature/v1.0","subject":[{{"digest":{{"sha256":"{}"}},"name":"m"}}]}}"#,
        digest("2").hex(),
        digest("1").hex(),
        root.hex()
    );
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
    let model = SignedModel::from_bytes(&bytes).unwrap();
    assert_eq!((model.root, model.files.len(), model.part_bytes), (root, 2, None));
    model.permitted(&Policy::default()).unwrap();
}

#[test]
fn a_signed_bundle_is_read_back() {
    let signer = TestSigner::new();
    let payload = payload(&[resource("a")], plain()).to_string().into_bytes();
    let envelope = Envelope::sign(PAYLOAD_TYPE, payload.clone(), &signer).unwrap();
    let signed = Bundle::make(envelope, signer.public_key(), None);
    let read = Bundle::from_bytes(&signed.to_bytes()).unwrap();
    let verified = bundle::verify(&read, signer.public_key(), &[], None).unwrap();
    assert!(SignedModel::open(&verified).unwrap().files.contains_key("a"));
    // The same bytes under another type say nothing about a model.
    let envelope = Envelope::sign("text/plain", payload, &signer).unwrap();
    let other = Bundle::make(envelope, signer.public_key(), None);
    let verified = bundle::verify(&other, signer.public_key(), &[], None).unwrap();
    assert!(matches!(SignedModel::open(&verified), Err(ModelSignatureError::Kind(_))));
}

#[test]
fn both_orders_are_read_and_no_other() {
    assert!(files(&["d-x", "d/x"]).is_ok(), "code points");
    assert!(files(&["d/x", "d-x"]).is_ok(), "components");
    assert_eq!(files(&["b", "a"]), Err(ModelSignatureError::Order));
    assert_eq!(files(&["d/x", "d-x", "c"]), Err(ModelSignatureError::Order));
    // As code points `:` is after digits, so that 10:20 is before 5:10; by offset it is not.
    assert!(parts(json!(5), &["w:0:5", "w:10:12", "w:5:10"]).is_ok());
    assert!(parts(json!(5), &["w:0:5", "w:5:10", "w:10:12"]).is_ok());
    assert_eq!(parts(json!(5), &["w:5:10", "w:0:5", "w:10:12"]), Err(ModelSignatureError::Order));
}

#[test]
fn bad_names_are_refused() {
    for bad in [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "..",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "C:x",
        "a:0:5",
        "a\u{7f}",
    ] {
        assert!(matches!(files(&[bad]), Err(ModelSignatureError::Name(_))), "{bad:?}");
        let part = format!("{bad}:0:5");
        assert!(matches!(parts(json!(5), &[&part]), Err(ModelSignatureError::Name(_))), "{part:?}");
        assert!(statement("m", [(bad, digest("1"))].into_iter()).is_err(), "{bad:?} would be signed");
    }
    // No statement holds a NUL, whatever its kind.
    assert!(files(&["a\0b"]).is_err() && parts(json!(5), &["a\0b:0:5"]).is_err());
    assert!(statement("m", [("a\0b", digest("1"))].into_iter()).is_err());
    let long = "a".repeat(2000);
    assert!(matches!(files(&[&long]), Err(ModelSignatureError::Name(text)) if text.len() < 100));
    for bad in ["a", "a:5", "a:0:", "a::5", "a:-1:5", "a:00:5", "a:0:+5", "a:0:5:"] {
        assert!(parts(json!(5), &[bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn a_single_file_may_be_called_dot_but_only_alone() {
    assert!(files(&["."]).unwrap().files.contains_key(SINGLE_FILE));
    assert_eq!(parts(json!(5), &[".:0:5", ".:5:6"]).unwrap().files["."].size_bytes, Some(6));
    assert_eq!(files(&[".", "a"]), Err(ModelSignatureError::Name(".".to_owned())));
}

#[test]
fn duplicates_are_refused() {
    assert_eq!(files(&["a", "a"]), Err(ModelSignatureError::Duplicate("a".to_owned())));
    assert_eq!(files(&["a", "a/b"]), Err(ModelSignatureError::Duplicate("a".to_owned())));
    assert!(matches!(files(&["README", "readme"]), Err(ModelSignatureError::Collision(_, _))));
    assert!(matches!(files(&["e\u{301}", "\u{e9}"]), Err(ModelSignatureError::Collision(_, _))));
    let twice = payload(&[resource("a")], plain()).to_string().replacen(
        r#""name":"a""#,
        r#""name":"evil","name":"a""#,
        1,
    );
    let error = SignedModel::from_bytes(twice.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("duplicate key"), "{error}");
}

#[test]
fn only_sha256_is_accepted() {
    for weak in ["md5", "sha1", "blake2b", "blake3", "SHA256", "sha256-sharded-5", ""] {
        let mut bad = resource("a");
        bad["algorithm"] = json!(weak);
        assert!(matches!(read(&payload(&[bad], plain())), Err(ModelSignatureError::Algorithm(_))), "{weak}");
        let mut serialization = plain();
        serialization["hash_type"] = json!(weak);
        let refused = read(&payload(&[resource("a")], serialization));
        assert!(matches!(refused, Err(ModelSignatureError::Algorithm(_))), "{weak}");
        // In the subject, alone or beside the good one.
        let good = payload(&[resource("a")], plain());
        let sha256 = good["subject"][0]["digest"]["sha256"].clone();
        for set in [json!({weak: sha256}), json!({weak: sha256, "sha256": sha256})] {
            let mut statement = good.clone();
            statement["subject"][0]["digest"] = set;
            assert!(matches!(read(&statement), Err(ModelSignatureError::Statement(_))), "{weak}");
        }
    }
    // The tool's spelling, with the size that is signed.
    let mut part = resource("a:0:5");
    part["algorithm"] = json!("sha256-sharded-5");
    assert!(read(&payload(&[part.clone()], parts_of(json!(5)))).is_ok());
    part["algorithm"] = json!("sha256-sharded-6");
    assert!(read(&payload(&[part], parts_of(json!(5)))).is_err());
    let mut upper = resource("a");
    upper["digest"] = json!(digest("a").hex().to_uppercase());
    assert!(matches!(read(&payload(&[upper], plain())), Err(ModelSignatureError::Digest(_))));
}

#[test]
fn the_root_is_computed_again() {
    let mut statement = payload(&[resource("a"), resource("b")], plain());
    statement["subject"][0]["digest"]["sha256"] = json!(digest("other").hex());
    assert!(matches!(read(&statement), Err(ModelSignatureError::Root { .. })));
    let mut swapped = payload(&[resource("a"), resource("b")], plain());
    swapped["predicate"]["resources"][0]["digest"] = json!(digest("evil").hex());
    assert!(matches!(read(&swapped), Err(ModelSignatureError::Root { .. })));
}

#[test]
fn other_documents_are_refused() {
    assert_eq!(files(&[]), Err(ModelSignatureError::Empty));
    let good = payload(&[resource("a")], plain());
    let with = |change: &dyn Fn(&mut Value)| {
        let mut statement = good.clone();
        change(&mut statement);
        read(&statement)
    };
    assert!(with(&|_| ()).is_ok());
    assert!(matches!(with(&|s| s["predicateType"] = json!("x")), Err(ModelSignatureError::Kind(_))));
    let two = with(&|s| {
        let again = s["subject"][0].clone();
        s["subject"].as_array_mut().unwrap().push(again);
    });
    assert_eq!(two, Err(ModelSignatureError::Subjects(2)));
    assert!(with(&|s| s["predicate"]["serialization"]["shard_size"] = json!(5)).is_err());
    assert!(with(&|s| s["predicate"]["serialization"]["method"] = json!("other")).is_err());
    // It could be another way to leave something out.
    assert!(with(&|s| s["predicate"]["serialization"]["ignore_globs"] = json!(["*"])).is_err());
    // The format demands that these are ignored.
    assert!(with(&|s| s["predicate"]["resources"][0]["media_type"] = json!("x")).is_ok());
    for size in [json!(0), json!(-5), json!(5.5), json!(1e300), json!("5"), json!(null)] {
        assert!(parts(size.clone(), &["a:0:5"]).is_err(), "{size}");
    }
    assert_eq!(parts(json!(5.0), &["a:0:5"]).unwrap().part_bytes, Some(5));
}

#[test]
fn parts_make_up_the_whole_file() {
    assert_eq!(parts(json!(5), &["a:0:5", "a:5:7"]).unwrap().files["a"].size_bytes, Some(7));
    for bad in [
        &["a:5:10"][..],
        &["a:0:5", "a:10:12"],
        &["a:0:4", "a:4:8"],
        &["a:0:5", "a:4:9"],
        &["a:0:6"],
        &["a:0:0"],
        &["a:5:0"],
        &["a:0:5", "a:0:3"],
    ] {
        assert!(parts(json!(5), bad).is_err(), "{bad:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let names: Vec<String> = (0..=RESOURCE_LIMIT).map(|n| format!("{n:05}")).collect();
    let most = |count: usize| statement("m", names[..count].iter().map(|n| (n.as_str(), digest("x"))));
    assert!(most(RESOURCE_LIMIT).is_ok());
    assert_eq!(
        most(RESOURCE_LIMIT + 1),
        Err(ModelSignatureError::TooMany(RESOURCE_LIMIT + 1, RESOURCE_LIMIT))
    );
    let mut serialization = plain();
    serialization["ignore_paths"] = json!(vec!["x"; IGNORE_LIMIT + 1]);
    let refused = read(&payload(&[resource("a")], serialization));
    assert_eq!(refused, Err(ModelSignatureError::TooMany(IGNORE_LIMIT + 1, IGNORE_LIMIT)));
}

#[test]
fn the_policy_is_ours_not_the_signers() {
    let signed = |ignored: &[&str], links: bool| {
        let mut serialization = plain();
        serialization["ignore_paths"] = json!(ignored);
        serialization["allow_symlinks"] = json!(links);
        read(&payload(&[resource("a")], serialization)).unwrap()
    };
    let policy = |ignored: &[&str], follow_links| Policy {
        ignore_paths: ignored.iter().map(|path| (*path).to_owned()).collect(),
        signature_name: "my.sig".to_owned(),
        follow_links,
    };
    let none = policy(&[], false);
    assert_eq!(
        signed(&[".git", ".github", ".gitignore", ".gitattributes", "my.sig"], false).permitted(&none),
        Ok(())
    );
    for more in ["modeling_x.py", "cache", "sub/.git", "sub/my.sig", "../x", ""] {
        let refused = signed(&[".git", more], false).permitted(&none);
        assert_eq!(refused, Err(ModelSignatureError::Ignored(more.to_owned())));
    }
    let cache = policy(&["cache"], false);
    assert_eq!(signed(&["cache/x"], false).permitted(&cache), Ok(()));
    assert!(signed(&["cache2"], false).permitted(&cache).is_err());
    assert!(signed(&["x/cache"], false).permitted(&cache).is_err());
    assert_eq!(signed(&[], true).permitted(&none), Err(ModelSignatureError::Links));
    assert_eq!(signed(&[], true).permitted(&policy(&[], true)), Ok(()));
    assert!(cache.ignores("cache") && cache.ignores("cache/x") && !cache.ignores("cach"));
    assert!(none.ignores(".git/config") && !none.ignores("sub/.git") && !none.ignores(".gitmodules"));
}

#[test]
fn every_difference_is_named() {
    let model = files(&["a", "b", "c"]).unwrap();
    let found = |names: &[(&str, &str)]| {
        let content = |text: &str| FoundContent { size_bytes: 1, parts: vec![digest(text)] };
        names.iter().map(|(name, text)| ((*name).to_owned(), content(text))).collect::<BTreeMap<_, _>>()
    };
    assert!(model.differences(&found(&[("a", "a"), ("b", "b"), ("c", "c")])).is_empty());
    let differences = model.differences(&found(&[("a", "a"), ("b", "evil"), ("modeling_x.py", "x")]));
    let expected = [
        Difference::Changed("b".to_owned()),
        Difference::Missing("c".to_owned()),
        Difference::Extra("modeling_x.py".to_owned()),
    ];
    assert_eq!(differences, expected.into_iter().collect());
    // A size that differs is a difference, though every part that is there fits.
    let model = parts(json!(5), &["a:0:5"]).unwrap();
    let found = FoundContent { size_bytes: 6, parts: vec![digest("a:0:5")] };
    let differences = model.differences(&[("a".to_owned(), found)].into_iter().collect());
    assert_eq!(differences, [Difference::Changed("a".to_owned())].into_iter().collect());
}

proptest! {
    #[test]
    fn any_json_never_panics(name in "\\PC{0,20}", algorithm in "\\PC{0,9}", size in any::<f64>(), text in "\\PC{0,40}") {
        let resource = json!({"name": name, "algorithm": algorithm, "digest": digest("x").hex()});
        let _ = read(&payload(std::slice::from_ref(&resource), plain()));
        let _ = read(&payload(&[resource], parts_of(json!(size))));
        let _ = SignedModel::from_bytes(text.as_bytes());
    }

    #[test]
    fn every_directory_is_signed_and_verified(names in prop::collection::btree_set("[a-d.é-]{1,3}(/[a-d.]{1,3}){0,2}", 1..6)) {
        let signed = statement("m", names.iter().map(|n| (n.as_str(), digest(n))));
        if let Ok(statement) = signed {
            let model = SignedModel::from_bytes(&statement.to_bytes().unwrap()).unwrap();
            let found = names.iter().map(|n| (n.clone(), FoundContent { size_bytes: 0, parts: vec![digest(n)] }));
            prop_assert!(model.differences(&found.collect()).is_empty());
        }
    }
}
