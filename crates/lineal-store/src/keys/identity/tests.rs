use std::time::Instant;

use super::*;

#[test]
fn what_is_encrypted_is_opened_again_and_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config/lineal/identity.txt");
    let identity = Identity::load_or_create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let cipher = identity.encrypt(b"secret").unwrap();
    assert!(!cipher.windows(6).any(|window| window == b"secret"));
    let again = Identity::load_or_create(&path).unwrap();
    assert_eq!(**again.decrypt(&cipher, &path).unwrap(), *b"secret");
    let other = Identity::load_or_create(&folder.path().join("other")).unwrap();
    assert!(matches!(other.decrypt(&cipher, &path), Err(KeyError::Locked { .. })));
    for place in [0, cipher.len() / 2, cipher.len() - 1] {
        let mut changed = cipher.clone();
        changed[place] ^= 1;
        assert!(matches!(identity.decrypt(&changed, &path), Err(KeyError::Locked { .. })));
    }
    let secret = identity.secret.to_string().expose_secret().to_owned();
    assert!(!format!("{identity:?}").contains(&secret));
}

#[test]
fn other_files_are_refused_without_telling_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    assert!(matches!(Identity::load(&path), Err(KeyError::IdentityMissing(_))));
    let good = Identity::load_or_create(&path).unwrap().secret.to_string().expose_secret().to_owned();
    let recipient = Identity::load(&path).unwrap().secret.to_public().to_string();
    for text in
        [String::new(), "# only".to_owned(), recipient, format!("{good}\n{good}\n"), good[1..].to_owned()]
    {
        files::replace(&path, text.as_bytes()).unwrap();
        let error = Identity::load(&path).unwrap_err();
        assert!(matches!(error, KeyError::IdentityFormat(_)), "{error}");
        assert!(!error.to_string().contains("AGE-SECRET"), "{error}");
    }
    files::replace(&path, format!("\n# comment\n {good} \n").as_bytes()).unwrap();
    Identity::load(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Identity::load(&path), Err(KeyError::Exposed(_))));
}

/// A key is opened once in a process; a tenth of a second would still be bearable, a passphrase's second would not.
#[test]
fn opening_a_key_is_cheap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    let cipher = Identity::load_or_create(&path).unwrap().encrypt(&[7; 300]).unwrap();
    let fastest = (0..10)
        .map(|_| {
            let began = Instant::now();
            Identity::load(&path).unwrap().decrypt(&cipher, &path).unwrap();
            began.elapsed()
        })
        .min()
        .unwrap();
    println!("reading the identity and opening a key file: {fastest:?}");
    assert!(fastest.as_millis() < 100, "{fastest:?}");
}
