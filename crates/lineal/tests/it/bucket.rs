//! A project whose blobs and ledger are in a bucket, with the real binary and a real server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::project::Project;
use crate::s3::{ACCESS, BUCKET, S3Server, SECRET, VARIABLE};
use crate::tampering::{Sealed, flip};

/// A project in a bucket, and the files in which the server keeps its objects.
struct Stored {
    sealed: Sealed,
    objects: PathBuf,
    url: String,
}

/// The server's address, and the folder with its objects.
fn server() -> (String, PathBuf) {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let started = || SERVER.get_or_init(|| S3Server::start(target).unwrap_or_else(|error| panic!("{error}")));
    let place = std::env::var(VARIABLE).unwrap_or_else(|_| started().endpoint());
    let (endpoint, folder) = place.split_once(' ').unwrap();
    (endpoint.to_owned(), Path::new(folder).join("buckets").join(BUCKET))
}

fn absent() -> Project {
    let project = Project::absent();
    project.set_variable("AWS_ACCESS_KEY_ID", ACCESS.into());
    project.set_variable("AWS_SECRET_ACCESS_KEY", SECRET.into());
    project
}

fn stored() -> Stored {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let (endpoint, buckets) = server();
    let prefix = format!("projects/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let url = format!("s3://{BUCKET}/{prefix}");
    let project = absent();
    project.json(&["init", "--approver", "ana", "--storage", &url, "--storage-endpoint", &endpoint]);
    Stored { sealed: Sealed::of(project), objects: buckets.join(prefix), url }
}

#[test]
fn another_machine_has_the_same_project() {
    let Stored { sealed, .. } = stored();
    let project = &sealed.project;
    for local in ["log", "journal", "statements"] {
        assert!(!project.path(&format!(".lineal/{local}")).join("checkpoint").exists(), "{local}");
    }
    let other = project.elsewhere();
    assert_eq!(other.ledger(), project.ledger());
    assert_eq!(other.json(&["verify", sealed.id()])["verified"], true);
    assert_eq!(other.json(&["ledger", "fsck"])["findings"], json!([]));
    // The cache and the index are lost.
    for lost in ["blobs", "index.db", "work"] {
        let path = project.path(&format!(".lineal/{lost}"));
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    assert_eq!(project.json(&["verify", sealed.id()])["verified"], true);
    assert_eq!(project.json(&["ledger", "fsck"])["findings"], json!([]));
    // What one machine ran, the other one reuses; both go on.
    assert_eq!(sealed.reused(), [json!(true), json!(true)]);
    other.write("more.csv", "a,b\n3,4\n");
    other.json(&["data", "add", "more", "more.csv", "--tag", "t"]);
    assert_eq!(project.json(&["data", "show", "more@t"])["files"][0]["path"], "more.csv");
    assert_eq!(other.ledger(), project.ledger());
}

#[test]
fn a_flipped_byte_in_the_bucket_is_found_and_named() {
    let Stored { sealed, objects, url } = stored();
    let blob = sealed.output(1);
    let name = blob.strip_prefix(sealed.project.path(".lineal")).unwrap().to_str().unwrap();
    // The cache is good: it is the record that counts.
    flip(&objects.join(name));
    let named = format!("{url}/{name}");
    sealed.found(sealed.id(), 5, "tampered", &named);
    sealed.project.fails(&["ledger", "fsck"], 5, "tampered", &[&named]);
    flip(&objects.join(name));
    assert_eq!(sealed.project.json(&["ledger", "fsck"])["findings"], json!([]));
    let bundles = fs::read_dir(objects.join("log/tile/entries/000.p")).unwrap();
    let mut bundles: Vec<_> = bundles.map(|entry| entry.unwrap().path()).collect();
    bundles.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap());
    flip(bundles.last().unwrap());
    let named = format!("{url}/log/tile/entries/000.p/");
    sealed.project.fails(&["ledger", "fsck"], 5, "tampered", &[&named]);
    fs::remove_file(objects.join("log/checkpoint")).unwrap();
    sealed.project.fails(&["ledger", "show"], 5, "tampered", &[&format!("{url}/log/checkpoint")]);
}

#[test]
fn what_stands_in_the_way_is_told_and_no_secret_with_it() {
    let Stored { sealed, url, .. } = stored();
    let other = sealed.project.elsewhere();
    let told = |project: &Project, exit, code, fragments: &[&str]| {
        project.fails(&["ledger", "show"], exit, code, fragments);
        let answer = project.lineal(&["ledger", "show"]);
        assert!(!answer.stderr.contains(SECRET) && !answer.stderr.contains("another-secret"), "{answer:?}");
    };
    other.set_variable("AWS_SECRET_ACCESS_KEY", "".into());
    told(&other, 3, "storage-unreachable", &["AWS_SECRET_ACCESS_KEY"]);
    other.set_variable("AWS_SECRET_ACCESS_KEY", "another-secret".into());
    told(&other, 3, "storage-unreachable", &[&url, "SignatureDoesNotMatch"]);
    let answer = other.lineal(&["ledger", "show"]);
    assert!(!answer.stderr.contains("StringToSign"), "{answer:?}");
    other.set_variable("AWS_ACCESS_KEY_ID", "nobody".into());
    told(&other, 3, "storage-unreachable", &[&url]);
    for file in ["config.toml", "seen"] {
        let text = fs::read_to_string(sealed.project.path(&format!(".lineal/{file}"))).unwrap();
        assert!(!text.contains(SECRET) && !text.contains(ACCESS), "{text}");
    }
    let (endpoint, _) = server();
    let init = ["init", "--approver", "ana", "--storage", &url, "--storage-endpoint", &endpoint];
    absent().fails(&init, 3, "project-present", &[&url]);
    let far = ["init", "--storage", "s3://lineal/x", "--storage-endpoint", "http://192.0.2.1:9000"];
    absent().fails(&far, 2, "usage", &["not encrypted"]);
}
