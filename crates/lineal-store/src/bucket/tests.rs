use std::sync::Arc;

use super::faults::{Fault, FaultyStore};
use super::*;
use crate::disk::Disk as _;

fn bucket() -> (Arc<FaultyStore>, Bucket) {
    let store = Arc::new(FaultyStore::default());
    let bucket = store.bucket();
    (store, bucket)
}

fn at(bucket: &Bucket, name: &str) -> PathBuf {
    bucket.root().join(name)
}

fn content(bucket: &Bucket, name: &str) -> Option<Vec<u8>> {
    bucket.read(&at(bucket, name), 1 << 20).unwrap()
}

#[test]
fn one_of_two_creates() {
    let (_, bucket) = bucket();
    let path = at(&bucket, "journal/0000000001");
    assert!(bucket.create(&path, b"one").unwrap());
    assert!(!bucket.create(&path, b"other").unwrap());
    assert!(!bucket.create(&path, b"longer than the one that is there").unwrap());
    assert!(!bucket.create(&path, b"1").unwrap());
    assert_eq!(content(&bucket, "journal/0000000001").unwrap(), b"one");
    assert_eq!(bucket.list(&at(&bucket, "journal")).unwrap(), ["0000000001"]);
    assert!(!bucket.is_empty().unwrap());
}

#[test]
fn a_creation_whose_answer_was_lost_is_found_out() {
    let (store, bucket) = bucket();
    store.fail(0, Fault::AnswerLost);
    assert!(bucket.create(&at(&bucket, "a"), b"one").unwrap());
    // Somebody else's is there, and the answer that says so is lost.
    store.fail(0, Fault::AnswerLost);
    assert!(!bucket.create(&at(&bucket, "a"), b"two").unwrap());
    store.fail(0, Fault::Lost);
    bucket.create(&at(&bucket, "b"), b"one").unwrap_err();
    assert_eq!(content(&bucket, "b"), None);
}

#[test]
fn a_content_is_exchanged_for_what_was_read_only() {
    let (store, bucket) = bucket();
    let path = at(&bucket, "log/checkpoint");
    assert!(!bucket.exchange(&path, b"first", b"second").unwrap());
    assert!(bucket.exchange(&path, b"", b"first").unwrap());
    assert!(!bucket.exchange(&path, b"", b"second").unwrap());
    assert!(bucket.exchange(&path, b"first", b"second").unwrap());
    assert!(!bucket.exchange(&path, b"first", b"third, which is longer").unwrap());
    for fault in [Fault::Lost, Fault::AnswerLost] {
        store.fail(0, fault);
        assert!(bucket.exchange(&path, b"second", b"third").unwrap(), "{fault:?}");
        assert!(bucket.exchange(&path, b"third", b"second").unwrap(), "{fault:?}");
    }
    // Somebody replaces it between reading and writing.
    let other = bucket.clone();
    let theirs = path.clone();
    store.between(1, move || other.overwrite(&theirs, b"theirs").unwrap());
    assert!(!bucket.exchange(&path, b"second", b"third").unwrap());
    assert_eq!(content(&bucket, "log/checkpoint").unwrap(), b"theirs");
}

#[test]
fn what_grows_never_shrinks() {
    let (store, bucket) = bucket();
    let path = at(&bucket, "statements/000");
    bucket.write_tail(&path, 0, b"aa").unwrap();
    bucket.write_tail(&path, 2, b"bb").unwrap();
    // A machine that is late repeats its part.
    bucket.write_tail(&path, 0, b"aa").unwrap();
    assert_eq!(content(&bucket, "statements/000").unwrap(), b"aabb");
    bucket.write_tail(&path, 5, b"cc").unwrap_err();
    let (other, theirs) = (bucket.clone(), path.clone());
    store.between(1, move || other.write_tail(&theirs, 4, b"ccdd").unwrap());
    bucket.write_tail(&path, 4, b"cc").unwrap();
    assert_eq!(content(&bucket, "statements/000").unwrap(), b"aabbccdd");
}

#[test]
fn more_than_was_asked_for_is_not_read() {
    let (_, bucket) = bucket();
    let path = at(&bucket, "log/checkpoint");
    bucket.write(&path, &[0; 100]).unwrap();
    let error = bucket.read(&path, 99).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::FileTooLarge);
    assert!(chain(&error).contains("s3://bucket/here/log/checkpoint"), "{}", chain(&error));
    bucket.remove(&path).unwrap();
    bucket.remove(&path).unwrap();
    assert_eq!(bucket.size(&path).unwrap(), None);
}

#[test]
fn secrets_are_not_printed() {
    let credentials = BucketCredentials::new("an-id", "a-secret");
    assert_eq!(format!("{credentials:?}"), "BucketCredentials(an-id)");
}

#[test]
fn what_a_server_says_is_told_without_the_request_that_it_repeats() {
    let said = "403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>Check your \
                key.</Message><AWSAccessKeyId>ana</AWSAccessKeyId><StringToSign>GET</StringToSign></Error>";
    let answer = Error::PermissionDenied { path: "log".to_owned(), source: said.into() };
    let text = told(&answer);
    assert!(text.ends_with("403 Forbidden: SignatureDoesNotMatch: Check your key."), "{text}");
    let plain = Error::Generic { store: "S3", source: "connection refused".into() };
    assert!(told(&plain).contains("connection refused"));
}
