use super::*;

fn store() -> (tempfile::TempDir, BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    (folder, store)
}

fn damage(store: &BlobStore, digest: &Digest, bytes: &[u8]) {
    let path = store.path(digest);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn reads_back_what_was_put() {
    let (_folder, store) = store();
    let digest = store.put(b"hello").unwrap();
    assert_eq!(store.put_reader(&mut &b"hello"[..]).unwrap(), (digest, 5));
    assert_eq!(store.read(&digest).unwrap(), b"hello");
    store.sync().unwrap();
    assert!(fs::read_dir(store.root.join("incoming")).unwrap().next().is_none());
}

#[test]
fn damaged_bytes_are_never_returned_and_the_next_put_heals() {
    let (folder, store) = store();
    let digest = store.put(b"hello").unwrap();
    damage(&store, &digest, b"jello");
    assert!(matches!(store.read(&digest), Err(BlobError::Damaged { .. })));
    assert!(matches!(store.verify(&digest), Err(BlobError::Damaged { .. })));
    let copy = store.copy_to(&digest, &folder.path().join("copy"), false);
    assert!(matches!(copy, Err(BlobError::Damaged { .. })));
    // What a crash before the sync leaves: a name without its bytes.
    damage(&store, &digest, b"");
    store.put(b"hello").unwrap();
    assert_eq!(store.read(&digest).unwrap(), b"hello");
}

#[test]
fn missing_is_not_damaged() {
    let (_folder, store) = store();
    let digest = Digest::of(b"nobody");
    assert!(!store.contains(&digest));
    assert!(matches!(store.read(&digest), Err(BlobError::Missing(d)) if d == digest));
    assert!(matches!(store.verify(&digest), Err(BlobError::Missing(_))));
}

#[test]
fn repair_removes_interrupted_writes() {
    let (_folder, store) = store();
    fs::write(store.root.join("incoming/torn"), b"half").unwrap();
    let written = fs::metadata(store.root.join("incoming/torn")).unwrap().modified().unwrap();
    store.remove_abandoned(written).unwrap();
    assert!(fs::read_dir(store.root.join("incoming")).unwrap().next().is_some(), "it may still be in use");
    store.remove_abandoned(written + std::time::Duration::from_secs(1)).unwrap();
    assert!(fs::read_dir(store.root.join("incoming")).unwrap().next().is_none());
}
