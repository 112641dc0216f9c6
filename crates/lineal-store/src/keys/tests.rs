use super::*;

fn keys() -> (tempfile::TempDir, Keys) {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::new(&folder.path().join("keys"));
    (folder, keys)
}

#[test]
fn what_a_key_signs_its_public_key_verifies() {
    let (_folder, keys) = keys();
    keys.create("ana", KeyRole::Approver).unwrap();
    let signer = keys.load("ana", KeyRole::Approver).unwrap();
    let signature = signer.sign(b"message").unwrap();
    assert!(signer.public_key().verify(b"message", &signature).is_ok());
    assert!(signer.public_key().verify(b"massage", &signature).is_err());
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let (_folder, keys) = keys();
    keys.create("ana", KeyRole::Builder).unwrap();
    let path = keys.path("ana", KeyRole::Builder);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(keys.create("ana", KeyRole::Builder), Err(KeyError::Exists(_))));
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(keys.load("ana", KeyRole::Builder), Err(KeyError::Exposed(_))));
}

#[test]
fn other_content_is_refused() {
    let (_folder, keys) = keys();
    assert!(matches!(keys.load("bo", KeyRole::Router), Err(KeyError::Missing(_))));
    keys.create("bo", KeyRole::Router).unwrap();
    let path = keys.path("bo", KeyRole::Router);
    files::replace(&path, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(matches!(keys.load("bo", KeyRole::Router), Err(KeyError::Format(_))));
}

#[test]
fn the_log_key_is_stable() {
    let (_folder, keys) = keys();
    let created = keys.create_log_key("lineal.local/test").unwrap();
    let loaded = keys.load_log_key().unwrap();
    assert_eq!(created.vkey(), loaded.vkey());
    assert_eq!(keys.log_keys().unwrap().get().to_string(), format!("{}\n", loaded.vkey()));
}

#[test]
fn encrypted_keys_need_their_identity() {
    let (folder, plain) = keys();
    let identity = folder.path().join("identity.txt");
    let locked = plain.clone().with_identity(identity.clone());
    let signer = locked.create("ana", KeyRole::Approver).unwrap();
    let path = locked.path("ana", KeyRole::Approver);
    assert!(path.ends_with("keys/ana.approver.pem.age"), "{path:?}");
    assert!(fs::read(&path).unwrap().starts_with(b"age-encryption.org/v1\n"));
    assert_eq!(locked.load("ana", KeyRole::Approver).unwrap().public_key(), signer.public_key());
    assert!(matches!(plain.load("ana", KeyRole::Approver), Err(KeyError::NoIdentity(_))));
    let other = Keys::new(plain.folder()).with_identity(folder.path().join("other.txt"));
    assert!(matches!(other.load("ana", KeyRole::Approver), Err(KeyError::IdentityMissing(_))));
    Identity::load_or_create(&folder.path().join("other.txt")).unwrap();
    assert!(matches!(other.load("ana", KeyRole::Approver), Err(KeyError::Locked { .. })));
    assert!(matches!(locked.create("ana", KeyRole::Approver), Err(KeyError::Exists(_))));
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(locked.load("ana", KeyRole::Approver), Err(KeyError::Exposed(_))));
}

#[test]
fn plain_keys_work_and_can_be_encrypted() {
    let (folder, plain) = keys();
    let before = plain.create("ana", KeyRole::Approver).unwrap();
    let log = plain.create_log_key("lineal.local").unwrap();
    let locked = Keys::new(plain.folder()).with_identity(folder.path().join("identity.txt"));
    assert_eq!(locked.load("ana", KeyRole::Approver).unwrap().public_key(), before.public_key());
    let done = locked.encrypt_all().unwrap();
    assert_eq!(done, [plain.folder().join("ana.approver.pem"), plain.folder().join("ledger.seed")]);
    assert!(done.iter().all(|path| !path.exists()));
    assert_eq!(locked.load("ana", KeyRole::Approver).unwrap().public_key(), before.public_key());
    assert_eq!(locked.load_log_key().unwrap().verifier_key(), log.verifier_key());
    assert_eq!(locked.encrypt_all().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_new_key_takes_over_whatever_form_the_old_one_has() {
    let (folder, plain) = keys();
    let locked = Keys::new(plain.folder()).with_identity(folder.path().join("identity.txt"));
    plain.create("ana", KeyRole::Approver).unwrap();
    assert!(locked.next("ana", KeyRole::Approver).unwrap().is_none());
    let new = locked.create_next("ana", KeyRole::Approver).unwrap();
    locked.adopt_next("ana", KeyRole::Approver).unwrap();
    assert_eq!(locked.load("ana", KeyRole::Approver).unwrap().public_key(), new.public_key());
    let left: Vec<_> = fs::read_dir(plain.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["ana.approver.pem.age"]);
}
