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

/// The order of the group (SEC 2 section 2.4.2).
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// What both implementations say; they must agree.
#[track_caller]
fn both(point: &[u8; POINT_BYTES], message: &[u8], signature: &[u8]) -> Option<bool> {
    let native = native::Point::new(point).map(|point| point.verifies(message, signature));
    let portable = portable::Point::new(point).map(|point| point.verifies(message, signature));
    assert_eq!(native, portable, "{} {}", hex::encode(point), hex::encode(signature));
    native
}

/// DER of r and s, each as these bytes.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| [&[2, bytes.len() as u8], bytes].concat();
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

/// `order - value`, both of 32 bytes.
fn negated(order: &[u8], value: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut digits: Vec<u8> = std::iter::zip(order.iter().rev(), value.iter().rev())
        .map(|(order, value)| {
            let digit = i16::from(*order) - i16::from(*value) - borrow;
            borrow = i16::from(digit < 0);
            digit.rem_euclid(256) as u8
        })
        .collect();
    digits.reverse();
    digits
}

#[test]
fn both_implementations_agree_on_changed_signatures() {
    let signer = TestSigner::new();
    let point = signer.public_key().point;
    let signature = signer.sign(b"message").unwrap();
    assert_eq!(both(&point, b"message", &signature), Some(true));
    assert_eq!(both(&point, b"massage", &signature), Some(false));
    for bit in 0..signature.len() * 8 {
        let mut changed = signature.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(both(&point, b"message", &changed), Some(false), "bit {bit}");
    }
    for length in 0..signature.len() {
        assert_eq!(both(&point, b"message", &signature[..length]), Some(false));
    }
    assert_eq!(both(&point, b"message", &[&signature[..], &[0]].concat()), Some(false));
}

#[test]
fn both_implementations_agree_on_other_spellings_and_ranges() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref().try_into().unwrap();
    let order = hex::decode(ORDER).unwrap();
    let fixed = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), b"message").unwrap();
    let (r, s) = fixed.as_ref().split_at(32);
    let padded = |bytes: &[u8]| [&[0], bytes].concat();
    let good = signature_to_der(fixed.as_ref()).unwrap();
    assert_eq!(both(&point, b"message", &good), Some(true));
    // ECDSA has two signatures for each; neither implementation asks for the smaller s.
    let other = signature_to_der(&[r, &negated(&order, s)].concat()).unwrap();
    assert_eq!(both(&point, b"message", &other), Some(true));
    let zero = [0; 32];
    let body = &good[2..];
    let bad = [
        // Two leading zeros, and none where the first bit is set.
        der(&padded(&padded(r)), &padded(s)),
        der(&[&[0x80], &r[1..]].concat(), &padded(s)),
        // Lengths in the long form and without end.
        [&[0x30, 0x81, body.len() as u8], body].concat(),
        [&[0x30, 0x80], body, &[0, 0]].concat(),
        // Zero, the order, and what is equal to r or s modulo the order in more digits.
        signature_to_der(&[&zero, s].concat()).unwrap(),
        signature_to_der(&[r, &zero].concat()).unwrap(),
        signature_to_der(&[&order, s].concat()).unwrap(),
        signature_to_der(&[r, &order].concat()).unwrap(),
        der(&padded(&[0xff; 32]), &padded(&[0xff; 32])),
        der(&padded(r), &[&[1], s].concat()),
        // An empty integer, another tag, raw r and s.
        der(&[], &[]),
        [&[0x31, good[1]], body].concat(),
        fixed.as_ref().to_vec(),
        Vec::new(),
    ];
    for signature in bad {
        assert_eq!(both(&point, b"message", &signature), Some(false), "{}", hex::encode(&signature));
    }
}

#[test]
fn both_implementations_agree_on_points() {
    let good = TestSigner::new().public_key().point;
    assert!(both(&good, b"", b"").is_some());
    let coordinates = |x: [u8; 32], y: [u8; 32]| {
        let bytes = [&[4], &x[..], &y].concat();
        <[u8; POINT_BYTES]>::try_from(bytes).unwrap()
    };
    for point in [coordinates([0; 32], [0; 32]), coordinates([0xff; 32], [0xff; 32]), [4; POINT_BYTES]] {
        assert_eq!(both(&point, b"", b""), None);
    }
    for bit in 8..POINT_BYTES * 8 {
        let mut changed = good;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(both(&changed, b"", b""), None, "bit {bit}");
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
