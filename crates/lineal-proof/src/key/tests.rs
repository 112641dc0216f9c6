use proptest::prelude::*;

use super::*;
use crate::test_keys::TestSigner;

/// Made with OpenSSL: `openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout`.
const OPENSSL_PEM: &str = include_str!("openssl.pem");

#[test]
fn pem_of_openssl_round_trips() {
    let key = PublicKey::from_pem(OPENSSL_PEM).unwrap();
    assert_eq!(key.to_pem(), OPENSSL_PEM);
    assert_eq!(PublicKey::from_pem(OPENSSL_PEM.trim_end()).unwrap(), key);
    assert_eq!(PublicKey::from_der(&key.to_der()).unwrap(), key);
    assert_eq!(key.id(), Digest::of(&key.to_der()));
    assert_eq!(key.hint(), Digest::of(OPENSSL_PEM.as_bytes()).hex());
    assert_eq!(key.to_der().len(), 91);
}

#[test]
fn other_pem_is_refused() {
    let body =
        OPENSSL_PEM.replace("-----BEGIN PUBLIC KEY-----\n", "").replace("-----END PUBLIC KEY-----\n", "");
    let one_line = body.replace('\n', "");
    let bad = [
        String::new(),
        body.clone(),
        format!("{OPENSSL_PEM}\n"),
        format!(" {OPENSSL_PEM}"),
        OPENSSL_PEM.replace('\n', "\r\n"),
        OPENSSL_PEM.replace("PUBLIC KEY", "EC PUBLIC KEY"),
        format!("{PEM_BEGIN}{one_line}\n{PEM_END}"),
        format!("{PEM_BEGIN}\n{body}{PEM_END}"),
        format!("{PEM_BEGIN}{}{PEM_END}", &body[..body.len() - 5]),
        format!("{PEM_BEGIN}{PEM_END}"),
        PEM_BEGIN.to_owned(),
        "A".repeat(1 << 20),
    ];
    for text in bad {
        assert!(PublicKey::from_pem(&text).is_err(), "{text:.200}");
    }
}

#[test]
fn other_der_and_points_are_refused() {
    let key = PublicKey::from_pem(OPENSSL_PEM).unwrap();
    let der = key.to_der();
    assert!(PublicKey::from_der(&der[..90]).is_err());
    assert!(PublicKey::from_der(&[&der[..], &[0]].concat()).is_err());
    assert!(PublicKey::from_point(&der[25..]).is_err());
    let mut off_curve = der.clone();
    off_curve[90] ^= 1;
    assert_eq!(PublicKey::from_der(&off_curve), Err(PublicKeyError("the point is not on the curve")));
    let mut compressed = [0; 33];
    compressed.copy_from_slice(&der[26..59]);
    compressed[0] = 2;
    assert!(PublicKey::from_point(&compressed).is_err());
    for byte in 0..SPKI_PREFIX.len() {
        let mut other = der.clone();
        other[byte] ^= 1;
        assert!(PublicKey::from_der(&other).is_err());
    }
}

#[test]
fn signatures_verify_and_changed_ones_do_not() {
    let signer = TestSigner::new();
    let signature = signer.sign(b"message").unwrap();
    let key = signer.public_key();
    key.verify(b"message", &signature).unwrap();
    assert_eq!(key.verify(b"massage", &signature), Err(SignatureError));
    assert_eq!(TestSigner::new().public_key().verify(b"message", &signature), Err(SignatureError));
    for bit in 0..signature.len() * 8 {
        let mut changed = signature.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.verify(b"message", &changed), Err(SignatureError), "bit {bit}");
    }
    for length in 0..signature.len() {
        assert!(key.verify(b"message", &signature[..length]).is_err());
    }
    assert!(key.verify(b"message", &[&signature[..], &[0]].concat()).is_err());
    assert!(key.verify(b"message", &[0x30; 1 << 20]).is_err());
}

#[test]
fn signatures_of_fixed_length_become_der() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = PublicKey::from_point(pair.public_key().as_ref()).unwrap();
    // About one in 128 has a leading zero byte.
    for number in 0..600_u32 {
        let message = number.to_be_bytes();
        let fixed = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), &message).unwrap();
        key.verify(&message, &signature_to_der(fixed.as_ref()).unwrap()).unwrap();
    }
    let mut small = [0; 64];
    (small[31], small[62], small[63]) = (0x7f, 0x80, 1);
    assert_eq!(signature_to_der(&small).unwrap(), [0x30, 8, 2, 1, 0x7f, 2, 3, 0, 0x80, 1]);
    assert_eq!(signature_to_der(&[0; 64]).unwrap(), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    for length in [0, 32, 63, 65, 96] {
        assert_eq!(signature_to_der(&vec![1; length]), None);
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), text in ".{0,200}", at in 0..178_usize, byte in 0x20..0x7f_u8) {
        let _ = PublicKey::from_der(&bytes);
        let _ = PublicKey::from_point(&bytes);
        let _ = PublicKey::from_pem(&text);
        let _ = PublicKey::from_pem(&format!("{PEM_BEGIN}{text}{PEM_END}"));
        prop_assert!(PublicKey::from_pem(OPENSSL_PEM).unwrap().verify(b"", &bytes).is_err());
        let mut mutated = OPENSSL_PEM.as_bytes().to_vec();
        mutated[at] = byte;
        let mutated = String::from_utf8(mutated).unwrap();
        if let Ok(key) = PublicKey::from_pem(&mutated) {
            prop_assert_eq!(key.to_pem(), mutated);
        }
    }
}
