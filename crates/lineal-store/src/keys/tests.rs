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
    assert_eq!(created.vkey().to_string(), loaded.vkey().to_string());
    assert_eq!(keys.log_verifier().unwrap().to_string(), loaded.vkey().to_string());
}
