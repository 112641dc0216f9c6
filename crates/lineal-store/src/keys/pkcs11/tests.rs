//! Against SoftHSM2, a real token in software.

use std::process::Command;

use cryptoki::object::AttributeInfo;

use super::*;
use crate::keys::Keys;
use lineal_blob::files;
use lineal_facts::predicate::KeyRole;

/// P-256, as an object identifier in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// P-384.
const P384: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const PIN: &str = "271828";
/// SoftHSM2 takes its folder from this variable when it is loaded.
const CONFIG: &str = "SOFTHSM2_CONF";

/// The library, beside the tool of the same package.
fn module_path() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap();
    let tool = std::env::split_paths(&paths).map(|folder| folder.join("softhsm2-util")).find(|p| p.exists());
    let tool = tool.expect("softhsm2 is installed; `cargo xtask setup` does that");
    tool.parent().unwrap().join("../lib/softhsm/libsofthsm2.so")
}

/// Runs `test` in a process of its own that has a token `lineal` in `folder`. The environment of a process that has
/// threads cannot be changed safely.
fn with_token(name: &str, test: impl FnOnce(&Path)) {
    if let Some(config) = std::env::var_os(CONFIG).filter(|path| path.to_string_lossy().contains(name)) {
        return test(Path::new(&config).parent().unwrap());
    }
    let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tokens")).unwrap();
    let config = folder.path().join("softhsm2.conf");
    let text =
        format!("directories.tokendir = {}\nlog.level = ERROR\n", folder.path().join("tokens").display());
    std::fs::write(&config, text).unwrap();
    let init = ["--init-token", "--free", "--label", "lineal", "--pin", PIN, "--so-pin", "314159"];
    let made = Command::new("softhsm2-util").args(init).env(CONFIG, &config).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    files::replace(&folder.path().join("pin"), format!("{PIN}\n").as_bytes()).unwrap();
    let test = format!("keys::pkcs11::tests::{name}");
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(CONFIG, &config)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && output.contains("1 passed"), "{run:#?}");
}

fn uri(folder: &Path, object: &str) -> Pkcs11Uri {
    let (module, pin) = (module_path(), folder.join("pin"));
    let text = format!(
        "pkcs11:token=lineal;object={object}?module-path={}&pin-source={}",
        module.display(),
        pin.display()
    );
    text.parse().unwrap()
}

fn session(folder: &Path) -> Session {
    let context = module(&module_path()).unwrap();
    let is_ours = |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).unwrap().label() == "lineal";
    let slot = context.get_slots_with_token().unwrap().into_iter().find(is_ours).unwrap();
    let session = context.open_rw_session(slot).unwrap();
    log_in(&session, &uri(folder, "any")).unwrap();
    session
}

fn generate(session: &Session, label: &str, curve: &[u8]) -> ObjectHandle {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::EcParams(curve.to_vec()),
        label.clone(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label,
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap().1
}

/// What every signer does, wherever its key is.
fn conforms(signer: &dyn Signer) {
    // Signatures have 70 to 72 bytes, few have less: enough of them for leading zeros and ones.
    for number in 0..200_u32 {
        let message = number.to_be_bytes();
        let signature = signer.sign(&message).unwrap();
        signer.public_key().verify(&message, &signature).unwrap();
        assert!(signer.public_key().verify(b"other", &signature).is_err());
    }
    assert!(signer.sign(b"").is_ok() && signer.sign(&vec![1; 1 << 20]).is_ok());
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for number in 0..20 {
                    let signature = signer.sign(&[thread, number]).unwrap();
                    signer.public_key().verify(&[thread, number], &signature).unwrap();
                }
            });
        }
    });
    let shown = format!("{:?}", signer.public_key());
    assert!(shown.contains(&signer.public_key().id().to_string()));
}

#[test]
fn a_file_and_a_token_are_signers() {
    with_token("a_file_and_a_token_are_signers", |folder| {
        let session = session(folder);
        generate(&session, "builder", &P256);
        let uri = uri(folder, "builder");
        let tokens = [(("lineal".to_owned(), KeyRole::Builder), uri.clone())].into();
        let keys =
            Keys::new(&folder.join("keys")).with_identity(folder.join("identity.txt")).with_tokens(tokens);
        keys.create("lineal", KeyRole::Router).unwrap();
        let file = keys.signer("lineal", KeyRole::Router).unwrap();
        let token = keys.signer("lineal", KeyRole::Builder).unwrap();
        assert!(token.waits() && !file.waits());
        for signer in [&file, &token] {
            conforms(&**signer);
        }
        // The same key every time, also beside another session.
        let again = Pkcs11Signer::connect(&uri).unwrap();
        assert_eq!(again.public_key(), token.public_key());
        assert!(!format!("{again:?}").contains(PIN));
    });
}

#[test]
fn the_key_does_not_leave_the_token() {
    with_token("the_key_does_not_leave_the_token", |folder| {
        let session = session(folder);
        let private = generate(&session, "builder", &P256);
        let info = session.get_attribute_info(private, &[AttributeType::Value]).unwrap();
        assert!(matches!(info[..], [AttributeInfo::Sensitive]), "{info:?}");
        let signer = Pkcs11Signer::connect(&uri(folder, "builder")).unwrap();
        signer.sign(b"message").unwrap();
    });
}

#[test]
fn a_lost_session_is_made_again() {
    with_token("a_lost_session_is_made_again", |folder| {
        generate(&session(folder), "builder", &P256);
        let signer = Pkcs11Signer::connect(&uri(folder, "builder")).unwrap();
        signer.session.lock().unwrap().as_ref().unwrap().session.logout().unwrap();
        let signature = signer.sign(b"message").unwrap();
        signer.public_key().verify(b"message", &signature).unwrap();
    });
}

#[test]
fn what_is_wrong_is_said_and_the_pin_is_not() {
    with_token("what_is_wrong_is_said_and_the_pin_is_not", |folder| {
        let session = session(folder);
        generate(&session, "builder", &P256);
        generate(&session, "twin", &P256);
        generate(&session, "twin", &P256);
        generate(&session, "large", &P384);
        // Logged in, the module would not ask for the PIN again.
        session.logout().unwrap();
        let good = uri(folder, "builder");
        let refuses = |uri: Pkcs11Uri, fragments: &[&str]| {
            let text = Pkcs11Signer::connect(&uri).unwrap_err().to_string();
            assert!(fragments.iter().all(|fragment| text.contains(fragment)), "{text}");
            assert!(!text.contains(PIN) && !text.contains("999999"), "{text}");
        };
        refuses(
            Pkcs11Uri { module: folder.join("no.so"), ..good.clone() },
            &["no.so", "cannot be loaded", "PKCS #11 module"],
        );
        refuses(Pkcs11Uri { token: "other".to_owned(), ..good.clone() }, &["0 tokens", "`other`"]);
        refuses(Pkcs11Uri { serial: Some("0".to_owned()), ..good.clone() }, &["0 tokens"]);
        refuses(Pkcs11Uri { pin_file: folder.join("no-pin"), ..good.clone() }, &["PIN", "no-pin"]);
        let wrong = folder.join("wrong");
        files::replace(&wrong, b"999999").unwrap();
        refuses(Pkcs11Uri { pin_file: wrong, ..good.clone() }, &["refuses the PIN", "wrong"]);
        refuses(uri(folder, "nothing"), &["0 public keys", "`nothing`"]);
        refuses(uri(folder, "twin"), &["2 public keys", "`twin`"]);
        refuses(uri(folder, "large"), &["`large`", "not a P-256 key"]);
        Pkcs11Signer::connect(&good).unwrap();
    });
}
