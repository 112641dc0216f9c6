use proptest::prelude::*;

use super::*;
use crate::envelope::pae;
use crate::key::Signer as _;
use crate::test_keys::TestSigner;

fn sample() -> (Leaf, Vec<u8>) {
    let signer = TestSigner::new();
    let envelope = Envelope::sign("text/plain", b"hello".to_vec(), &signer).unwrap();
    (Leaf::of(&envelope, signer.public_key()), envelope.pae())
}

#[test]
fn the_bytes_are_canonical_json() {
    let (leaf, _) = sample();
    let bytes = leaf.to_bytes();
    let value = json::parse_value(&bytes).unwrap();
    assert_eq!(json::canonical(&value).unwrap(), bytes);
    let record = &value["spec"]["hashedRekordV002"];
    assert_eq!(value["apiVersion"], "0.0.2");
    assert_eq!(value["kind"], "hashedrekord");
    assert_eq!(record["data"]["algorithm"], "SHA2_256");
    assert_eq!(record["data"]["digest"], STANDARD.encode(leaf.data.as_bytes()));
    assert_eq!(record["signature"]["content"], STANDARD.encode(&leaf.signature));
    assert_eq!(record["signature"]["verifier"]["keyDetails"], "PKIX_ECDSA_P256_SHA_256");
    assert_eq!(record["signature"]["verifier"]["publicKey"]["rawBytes"], STANDARD.encode(leaf.key.to_der()));
    assert!((470..=500).contains(&bytes.len()), "{}", bytes.len());
}

#[test]
fn it_round_trips_and_verifies() {
    let (leaf, pae) = sample();
    let read = Leaf::from_bytes(&leaf.to_bytes()).unwrap();
    assert_eq!(read, leaf);
    assert_eq!(read.hash(), tree::leaf_hash(&leaf.to_bytes()));
    read.verify(&pae).unwrap();
}

#[test]
fn another_statement_or_signature_is_told_apart() {
    let (leaf, bytes) = sample();
    assert!(matches!(leaf.verify(&pae("text/plain", b"hullo")), Err(LeafError::Digest { .. })));
    let (other, _) = sample();
    let forged = Leaf { key: other.key, ..leaf };
    assert_eq!(forged.verify(&bytes), Err(LeafError::Signature));
}

#[test]
fn other_spellings_are_refused() {
    let (leaf, _) = sample();
    let text = String::from_utf8(leaf.to_bytes()).unwrap();
    let bad = [
        String::new(),
        format!("{text}\n"),
        text.replace(',', ", "),
        text.replace("0.0.2", "0.0.1"),
        text.replace("SHA2_256", "SHA2_512"),
        text.replace("PKIX_ECDSA_P256_SHA_256", "PKIX_ED25519"),
        text.replace("\"kind\":\"hashedrekord\",", ""),
        text.replace("\"kind\":\"hashedrekord\"", "\"kind\":\"hashedrekord\",\"more\":1"),
        text.replace("\"kind\":\"hashedrekord\"", "\"kind\":\"hashedrekord\",\"kind\":\"hashedrekord\""),
        text.replacen("apiVersion", "\\u0061piVersion", 1),
        text.replace(&STANDARD.encode(&leaf.signature), ""),
        text.replace(&STANDARD.encode(&leaf.signature), &"A".repeat(100)),
        format!("{text}{}", " ".repeat(ENTRY_LIMIT_BYTES)),
    ];
    for text in bad {
        assert!(Leaf::from_bytes(text.as_bytes()).is_err(), "{text:.600}");
    }
}

proptest! {
    #[test]
    fn whatever_parses_is_the_one_spelling(at in any::<usize>(), byte in any::<u8>(), noise in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Leaf::from_bytes(&noise);
        let mut bytes = sample().0.to_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(leaf) = Leaf::from_bytes(&bytes) {
            prop_assert_eq!(leaf.to_bytes(), bytes);
        }
    }
}

proptest! {
    /// The way without a JSON reader takes what the other one takes, and gives the same.
    #[test]
    fn both_ways_to_read_agree(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
        signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let leaf = Leaf { signature, ..sample().0 };
        let mut bytes = leaf.to_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let mut reader = LeafReader::default();
        let slow = Leaf::parse(&bytes);
        prop_assert_eq!(reader.read_canonical(&bytes), slow.clone().ok());
        // Also when the key is known.
        reader.read(&leaf.to_bytes()).ok();
        prop_assert_eq!(reader.read_canonical(&bytes), slow.clone().ok());
        prop_assert_eq!(reader.read(&bytes), slow);
    }
}

#[test]
fn base64_has_one_spelling() {
    let (leaf, _) = sample();
    let text = String::from_utf8(leaf.to_bytes()).unwrap();
    let digest = STANDARD.encode(leaf.data.as_bytes());
    // The last digit before the padding has two bits that mean nothing.
    let (front, last) = (&digest[..42], digest.as_bytes()[42]);
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = DIGITS.iter().position(|digit| *digit == last).unwrap();
    let mut reader = LeafReader::default();
    for bits in 1..4 {
        let other = format!("{front}{}=", DIGITS[value + bits] as char);
        assert_eq!(reader.read_canonical(text.replace(&digest, &other).as_bytes()), None);
        assert!(reader.read(text.replace(&digest, &other).as_bytes()).is_err());
    }
    assert_eq!(reader.read_canonical(text.replace(&digest, &digest[..43]).as_bytes()), None);
}

#[test]
fn a_reader_forgets_rather_than_grows() {
    let mut reader = LeafReader::default();
    let leaf = sample().0;
    for _ in 0..=KNOWN_KEYS_LIMIT {
        let other = Leaf { key: TestSigner::new().public_key().clone(), ..leaf.clone() };
        assert_eq!(reader.read(&other.to_bytes()).unwrap(), other);
    }
    assert_eq!(reader.keys.len(), 1);
}
