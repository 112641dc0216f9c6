use proptest::prelude::*;

use super::*;
use crate::test_keys::TestSigner;

/// The vector of the DSSE protocol document.
const VECTOR: &[u8] = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";

#[test]
fn the_vector_of_the_specification() {
    assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), VECTOR);
    assert_eq!(parse_pae(VECTOR), Ok(("http://example.com/HelloWorld", &b"hello world"[..])));
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    assert_eq!(parse_pae(b"DSSEv1 0  0 "), Ok(("", &b""[..])));
    assert_eq!(pae("é", b"\n"), "DSSEv1 2 é 1 \n".as_bytes());
}

#[test]
fn other_encodings_are_refused() {
    let bad: [&[u8]; 16] = [
        b"",
        b"DSSEv1",
        b"DSSEV1 1 a 1 b",
        b"DSSEv2 1 a 1 b",
        b"DSSEv1  1 a 1 b",
        b"DSSEv1 01 a 1 b",
        b"DSSEv1 1 a 01 b",
        b"DSSEv1 +1 a 1 b",
        b"DSSEv1 1 a 1 bc",
        b"DSSEv1 1 a 2 b",
        b"DSSEv1 1 a 1b",
        b"DSSEv1 1 a  1 b",
        b"DSSEv1 1 \xff 1 b",
        b"DSSEv1 99999999999999999999999 a 1 b",
        b"DSSEv1 1 a 18446744073709551615 b",
        b"DSSEv1  a 1 b",
    ];
    for bytes in bad {
        assert!(parse_pae(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
    }
    assert!(parse_pae(&pae(&"t".repeat(256), b"")).is_err());
    assert!(parse_pae(&pae("t", &vec![0; PAYLOAD_LIMIT_BYTES + 1])).is_err());
    assert!(parse_pae(&pae("t", &vec![0; PAYLOAD_LIMIT_BYTES])).is_ok());
}

#[test]
fn json_round_trips() {
    let signer = TestSigner::new();
    let envelope = Envelope::sign("text/plain", b"hello".to_vec(), &signer).unwrap();
    signer.public_key().verify(&envelope.pae(), &envelope.signature).unwrap();
    let bytes = envelope.to_bytes();
    assert!(bytes.starts_with(br#"{"payload":"aGVsbG8=","payloadType":"text/plain","signatures":[{"sig":""#));
    assert_eq!(Envelope::from_bytes(&bytes), Ok(envelope.clone()));
    assert_eq!(Envelope::from_pae(&envelope.pae(), envelope.signature.clone()), Ok(envelope));
}

#[test]
fn both_alphabets_and_no_padding_are_read() {
    for payload in ["-_8=", "-_8", "+/8=", "+/8"] {
        let text = format!(
            r#"{{"payload":"{payload}","payloadType":"t","signatures":[{{"keyid":"k","sig":"AA=="}}]}}"#
        );
        let envelope = Envelope::from_bytes(text.as_bytes()).unwrap();
        assert_eq!((envelope.payload, envelope.key_id), (vec![0xfb, 0xff], "k".to_owned()));
    }
}

#[test]
fn an_absent_key_id_is_an_empty_one() {
    for id in ["", r#","keyid":"""#, r#","keyid":null"#] {
        let text = format!(r#"{{"payload":"AA==","payloadType":"t","signatures":[{{"sig":"AA=="{id}}}]}}"#);
        assert_eq!(Envelope::from_bytes(text.as_bytes()).unwrap().key_id, "", "{text}");
    }
}

#[test]
fn other_json_is_refused() {
    let sig = r#"{"sig":"AA=="}"#;
    let wrap = |payload: &str, signatures: &str| {
        format!(r#"{{"payload":"{payload}","payloadType":"t","signatures":[{signatures}]}}"#)
    };
    assert!(Envelope::from_bytes(wrap("AA==", sig).as_bytes()).is_ok());
    let bad = [
        String::new(),
        "null".to_owned(),
        wrap("AA==", ""),
        wrap("AA==", &format!("{sig},{sig}")),
        wrap("A", sig),
        wrap("AB==", sig),
        wrap("+_8=", sig),
        wrap("AA==\\n", sig),
        wrap("AA==", r#"{"sig":"AA==","sig":"AA=="}"#),
        wrap("AA==", r#"{"sig":"AA==","cert":""}"#),
        wrap("AA==", r#"{"keyid":"k"}"#),
        wrap("AA==", &format!(r#"{{"sig":"{}"}}"#, "A".repeat(100))),
        wrap("AA==", &format!(r#"{{"sig":"AA==","keyid":"{}"}}"#, "k".repeat(2000))),
        format!("{} ", wrap("AA==", sig)) + "x",
        format!(r#"{{"payload":"AA==","payloadType":"{}","signatures":[{sig}]}}"#, "t".repeat(256)),
        wrap(&"A".repeat(ENVELOPE_LIMIT_BYTES), sig),
        wrap(&"AAAA".repeat(PAYLOAD_LIMIT_BYTES / 3 + 1), sig),
    ];
    for text in bad {
        assert!(Envelope::from_bytes(text.as_bytes()).is_err(), "{text:.200}");
    }
}

proptest! {
    #[test]
    fn encodings_round_trip(kind in ".{0,60}", payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = pae(&kind, &payload);
        prop_assert_eq!(parse_pae(&bytes), Ok((kind.as_str(), &payload[..])));
    }

    #[test]
    fn whatever_parses_is_the_one_spelling(at in 0..VECTOR.len(), byte in any::<u8>(), cut in 0..=VECTOR.len()) {
        let mut bytes = VECTOR.to_vec();
        bytes[at] = byte;
        bytes.truncate(cut.max(at + 1));
        if let Ok((kind, payload)) = parse_pae(&bytes) {
            prop_assert_eq!(pae(kind, payload), bytes);
        }
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "DSSEv1 [0-9]{0,3} .{0,20}") {
        let _ = parse_pae(&bytes);
        let _ = parse_pae(text.as_bytes());
        let _ = Envelope::from_bytes(&bytes);
    }
}
