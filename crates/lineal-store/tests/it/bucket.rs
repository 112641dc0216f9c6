//! Blobs and ledger in a bucket of a real server.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use lineal_blob::BlobError;
use lineal_facts::Digest;
use lineal_store::{Bucket, BucketCredentials, BucketLocation, IndexLocation, Keys, Store, StoreError};

use crate::fixture::{Fixture, Kind, bucket, bucket_at, fresh_origin, s3, target};
use crate::s3::{self as server, S3Server};
use crate::statements::{all, incident};

/// More than one request, and no multiple of what goes into one.
const LARGE_BYTES: u64 = (21 << 20) + 17;

/// No findings, and every statement good.
fn check(store: &Store) {
    let ledger = store.ledger();
    let check = ledger.check(&|_| ());
    assert_eq!(check.findings, []);
    let size = check.head.unwrap().size;
    assert_eq!(ledger.check_statements(0..size, size, &|_| ()), []);
}

fn object(fixture: &Fixture, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    fixture.objects().unwrap().join(format!("blobs/sha256/{}/{}", &hex[..2], &hex[2..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_nothing_but_the_keys_opens_the_ledger() {
    let fixture = Fixture::new(Kind::SqliteAndBucket).await;
    let digest = fixture.store.blobs().put(b"some bytes").unwrap();
    fixture.commit(&all()).await;
    let other = fixture.machine("other").await;
    assert_eq!(other.index().dump().await.unwrap(), fixture.store.index().dump().await.unwrap());
    assert_eq!(other.blobs().read(&digest).unwrap(), b"some bytes");
    check(&other);
    // Both go on, each from what the other one did.
    other.commit(&[incident(1)], other.builder()).await.unwrap();
    fixture.commit(&[incident(2)]).await;
    other.commit(&[incident(3)], other.builder()).await.unwrap();
    let again = fixture.reopen().await;
    assert_eq!(again.index().size().await.unwrap(), all().len() as u64 + 4);
    check(&again);
    for local in ["log/checkpoint", "journal", "statements", "log/tile"] {
        assert!(!fixture.store.root().join(local).exists(), "{local}");
    }
}

/// The server lets one of them win each place.
#[tokio::test(flavor = "multi_thread")]
async fn machines_that_commit_at_the_same_time_lose_nothing() {
    const MACHINES: u64 = 8;
    const EACH: u64 = 6;
    let fixture = Fixture::new(Kind::SqliteAndBucket).await;
    let mut tasks = Vec::new();
    for machine in 0..MACHINES {
        let store = fixture.machine(&format!("machine-{machine}")).await;
        tasks.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..EACH {
                let statement = [incident(machine * 1000 + n)];
                loop {
                    match store.commit(&statement, store.builder()).await {
                        Ok(committed) => break acknowledged.push(committed[0]),
                        // It says that nothing was written.
                        Err(StoreError::Group(e)) if matches!(*e, StoreError::Overtaken(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            acknowledged
        }));
    }
    let mut positions = BTreeMap::new();
    for task in tasks {
        for committed in task.await.unwrap() {
            assert_eq!(positions.insert(committed.position, committed.statement), None, "{committed:?}");
        }
    }
    let last = fixture.reopen().await;
    check(&last);
    let size = last.ledger().head().unwrap().unwrap().size;
    assert_eq!(size, 1 + MACHINES * EACH);
    let leaves = last.ledger().leaves(0, size, size).unwrap();
    for (position, statement) in positions {
        assert_eq!(leaves[position as usize].data, statement, "{position}");
    }
    assert_eq!(last.index().dump().await.unwrap(), fixture.expected().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_whose_bytes_are_not_in_the_bucket() {
    let fixture = Fixture::new(Kind::SqliteAndBucket).await;
    let digest = fixture.store.blobs().put(b"some bytes").unwrap();
    assert!(!object(&fixture, &digest).exists());
    fixture.commit(&[incident(1)]).await;
    assert_eq!(std::fs::read(object(&fixture, &digest)).unwrap(), b"some bytes");
    // A process that died between putting and committing: the next one finds the file, and uploads it.
    for found in [false, true] {
        let bytes: &[u8] = if found { b"found" } else { b"put again" };
        let left = fixture.store.blobs().put(bytes).unwrap();
        let again = fixture.reopen().await;
        if found {
            assert!(again.blobs().contains(&left));
        } else {
            again.blobs().put(bytes).unwrap();
        }
        again.commit(&[incident(2)], again.builder()).await.unwrap();
        assert_eq!(std::fs::read(object(&fixture, &left)).unwrap(), bytes);
    }
    // A file that was damaged meanwhile is not uploaded, and nothing is recorded.
    let torn = fixture.store.blobs().put(b"to be torn").unwrap();
    let path = fixture.store.blobs().path(&torn);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"to be").unwrap();
    let size = fixture.store.index().size().await.unwrap();
    let error = fixture.store.commit(&[incident(3)], fixture.store.builder()).await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert!(!object(&fixture, &torn).exists());
    assert_eq!(fixture.reopen().await.index().size().await.unwrap(), size);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_go_there_and_back() {
    let fixture = Fixture::new(Kind::SqliteAndBucket).await;
    let byte = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    let bytes: Vec<u8> = (0..LARGE_BYTES).map(byte).collect();
    let (digest, size) = fixture.store.blobs().put_reader(&mut bytes.as_slice().take(u64::MAX)).unwrap();
    assert_eq!(size, LARGE_BYTES);
    fixture.commit(&[incident(1)]).await;
    let other = fixture.machine("other").await;
    let target = fixture.folder.path().join("copy");
    other.blobs().copy_to(&digest, &target, false).unwrap();
    assert!(std::fs::read(&target).unwrap() == bytes);
    other.blobs().verify(&digest).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_object_is_named() {
    let fixture = Fixture::new(Kind::SqliteAndBucket).await;
    let digest = fixture.store.blobs().put(b"some bytes").unwrap();
    let absent = Digest::of(b"absent");
    fixture.commit(&[incident(1)]).await;
    let path = object(&fixture, &digest);
    std::fs::write(&path, b"some bytez").unwrap();
    // The cache is good, the record is not.
    assert_eq!(fixture.store.blobs().read(&digest).unwrap(), b"some bytes");
    let error = fixture.store.blobs().verify(&digest).unwrap_err();
    let hex = digest.hex();
    let name = format!("s3://lineal/ledgers/{}/blobs/sha256/{}/{}", fixture.origin, &hex[..2], &hex[2..]);
    assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    let other = fixture.machine("other").await;
    assert!(matches!(other.blobs().read(&digest), Err(BlobError::Damaged { .. })));
    assert!(matches!(other.blobs().verify(&absent), Err(BlobError::Missing(_))));
    assert!(matches!(other.blobs().read(&absent), Err(BlobError::Missing(_))));
    // A damaged cache is no damage of the record.
    let fresh = fixture.store.blobs().put(b"more bytes").unwrap();
    fixture.commit(&[incident(2)]).await;
    let cached = fixture.store.blobs().path(&fresh);
    std::fs::remove_file(&cached).unwrap();
    std::fs::write(&cached, b"more bytez").unwrap();
    assert_eq!(fixture.store.blobs().read(&fresh).unwrap(), b"more bytes");
    // The ledger's objects.
    let tile = fixture.objects().unwrap().join("log/tile/0/000.p/3");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let found = fixture.store.ledger().check(&|_| ()).findings;
    assert!(found[0].message.contains("s3://lineal/ledgers/") && found[0].message.contains("000.p/3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_taken_once() {
    let fixture = Fixture::new(Kind::SqliteAndBucket).await;
    let root = fixture.folder.path().join("second");
    let place = bucket(fixture.prefix.as_ref().unwrap());
    let error =
        Store::create_in(&root, "x.test", Keys::new(&root.join("keys")), Some(place)).await.unwrap_err();
    assert!(matches!(error, StoreError::Occupied(_)), "{error}");
    assert!(!root.join("keys").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_without_the_secret() {
    let url = format!("s3://{}/anywhere", server::BUCKET);
    let location = BucketLocation::new(&url, Some(s3().0), None, false).unwrap();
    for credentials in [
        BucketCredentials::new(server::ACCESS, "battery-horse"),
        BucketCredentials::new("nobody", "battery-horse"),
    ] {
        let error = Bucket::open(&location, &credentials).unwrap().is_empty().unwrap_err();
        let text = lineal_facts::error::chain(&error);
        assert!(text.contains(&url) && !text.contains("battery-horse"), "{text}");
    }
}

/// The server is killed while machines commit, and starts again on what it left.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    const ROUNDS: u64 = 4;
    let home = tempfile::tempdir().unwrap();
    let start = || S3Server::start_over(target(), home.path(), "keep").unwrap();
    let root = home.path().join("project");
    let (keys, index) = (Keys::new(&root.join("keys")), IndexLocation::File(root.join("index.db")));
    let mut acknowledged = BTreeMap::new();
    let origin = fresh_origin();
    for round in 0..ROUNDS {
        let mut running = start();
        let place = running.endpoint();
        let endpoint = place.split_once(' ').unwrap().0.to_owned();
        if round == 0 {
            let bucket = bucket_at(&endpoint, "here");
            let store = Store::create_in(&root, &origin, keys.clone(), Some(bucket)).await.unwrap();
            store.commit(&[crate::statements::key(&store)], store.builder()).await.unwrap();
            store.index().close().await;
        }
        let store =
            Store::open_in(&root, keys.clone(), &index, Some(bucket_at(&endpoint, "here"))).await.unwrap();
        let mut tasks = Vec::new();
        for caller in 0..3 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                let mut done = Vec::new();
                for n in 0.. {
                    let statement = [incident(round * 100_000 + caller * 10_000 + n)];
                    match store.commit(&statement, store.builder()).await {
                        Ok(committed) => done.push(committed[0]),
                        Err(_) => break,
                    }
                }
                done
            }));
        }
        while store.ledger().head().unwrap().is_none_or(|head| head.size < 8 * (round + 1)) {
            tokio::task::yield_now().await;
        }
        running.kill();
        for task in tasks {
            for committed in task.await.unwrap() {
                assert_eq!(
                    acknowledged.insert(committed.position, committed.statement),
                    None,
                    "{committed:?}"
                );
            }
        }
        store.index().close().await;
    }
    let running = start();
    let place = running.endpoint();
    let bucket = bucket_at(place.split_once(' ').unwrap().0, "here");
    let store = Store::open_in(&root, keys, &index, Some(bucket)).await.unwrap();
    store.commit(&[incident(1)], store.builder()).await.unwrap();
    check(&store);
    let size = store.ledger().head().unwrap().unwrap().size;
    let leaves = store.ledger().leaves(0, size, size).unwrap();
    assert!(acknowledged.len() >= 8, "{}", acknowledged.len());
    for (position, statement) in acknowledged {
        assert_eq!(leaves[position as usize].data, statement, "{position}");
    }
}
