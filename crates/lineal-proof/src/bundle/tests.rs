use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::checkpoint::LogSigner;
use crate::key::Signer as _;
use crate::test_keys::TestSigner;
use crate::tree::ProofError;

const ORIGIN: &str = "log.example";

/// A small log whose entries are signed statements.
struct World {
    signer: TestSigner,
    log: LogSigner,
    envelopes: Vec<Envelope>,
    leaves: Vec<Leaf>,
}

impl World {
    fn new(entries: u8) -> Self {
        let signer = TestSigner::new();
        let envelopes: Vec<Envelope> = (0..entries)
            .map(|n| Envelope::sign(PAYLOAD_TYPE, statement(&Digest::of(&[n])), &signer).unwrap())
            .collect();
        let leaves = envelopes.iter().map(|envelope| Leaf::of(envelope, signer.public_key())).collect();
        Self { signer, log: LogSigner::from_seed(ORIGIN, &[9; 32]).unwrap(), envelopes, leaves }
    }

    fn key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    fn logs(&self) -> Vec<VerifierKey> {
        vec![self.log.verifier_key().clone()]
    }

    fn entry(&self, index: usize) -> LogEntry {
        let hashes: Vec<Hash> = self.leaves.iter().map(Leaf::hash).collect();
        let size = hashes.len() as u64;
        let note = self.log.sign(&Checkpoint::new(ORIGIN, size, tree::root(&hashes))).unwrap();
        let path = tree::inclusion_proof(index as u64, size, |level, n| {
            Ok::<_, ProofError>(tree::root(&hashes[(n << level) as usize..((n + 1) << level) as usize]))
        });
        let place = (index as u64, &self.leaves[index]);
        LogEntry::new(place, path.unwrap(), &note, self.log.verifier_key()).unwrap()
    }

    fn bundle(&self, index: usize) -> Bundle {
        Bundle::make(self.envelopes[index].clone(), self.key(), Some(self.entry(index)))
    }

    fn verify(&self, bundle: &Bundle) -> Result<VerifiedBundle, VerifyError> {
        verify(bundle, self.key(), &self.logs(), None)
    }
}

fn statement(subject: &Digest) -> Vec<u8> {
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicate":{{}},"predicateType":"https://example.com/x/v1","subject":[{{"digest":{{"sha256":"{}"}},"name":"m"}}]}}"#,
        subject.hex()
    )
    .into_bytes()
}

fn json_of(bundle: &Bundle) -> Value {
    serde_json::from_slice(&bundle.to_bytes()).unwrap()
}

#[test]
fn a_replaced_log_key_proves_what_it_signed_in_time_and_nothing_later() {
    let (before, after) = (World::new(7), World::new(9));
    let mut keys = crate::LogKeys::new(before.log.verifier_key().clone());
    let next = LogSigner::from_seed(ORIGIN, &[10; 32]).unwrap();
    keys.push(8, next.verifier_key().clone()).unwrap();
    let check = |world: &World| {
        let bundle = world.bundle(3);
        let size = bundle.entry.as_ref().unwrap().size;
        verify(&bundle, world.key(), std::slice::from_ref(keys.at(size)), None)
    };
    check(&before).unwrap();
    // A thief of the old key continues the log.
    assert!(matches!(check(&after), Err(VerifyError::UntrustedKey(_))));
    let successor = World { log: next, ..after };
    check(&successor).unwrap();
}

#[test]
fn a_bundle_round_trips_and_verifies() {
    let world = World::new(7);
    for index in 0..7 {
        let bundle = world.bundle(index);
        let read = Bundle::from_bytes(&bundle.to_bytes()).unwrap();
        assert_eq!(read, bundle);
        let subject = Digest::of(&[index as u8]);
        let verified = verify(&read, world.key(), &world.logs(), Some(&subject)).unwrap();
        assert_eq!(verified.payload, statement(&subject));
        assert_eq!(verified.payload_type, PAYLOAD_TYPE);
        assert_eq!(verified.index, Some(index as u64));
        assert_eq!(verified.checkpoint.unwrap().value.size, 7);
        let other = Digest::of(b"other");
        let answer = verify(&read, world.key(), &world.logs(), Some(&other));
        assert_eq!(answer, Err(VerifyError::OtherSubject(other)));
    }
}

#[test]
fn the_json_has_the_form_that_others_expect() {
    let world = World::new(3);
    let json = json_of(&world.bundle(1));
    assert_eq!(json["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert_eq!(
        json["verificationMaterial"]["publicKey"]["hint"],
        Digest::of(world.key().to_pem().as_bytes()).hex()
    );
    let entry = &json["verificationMaterial"]["tlogEntries"][0];
    assert_eq!(entry["logIndex"], "1");
    assert_eq!(entry["integratedTime"], "0");
    assert_eq!(entry["kindVersion"], serde_json::json!({"kind": "hashedrekord", "version": "0.0.2"}));
    assert_eq!(entry["logId"]["keyId"], STANDARD.encode(world.log.log_id().as_bytes()));
    assert_eq!(entry["inclusionProof"]["treeSize"], "3");
    assert_eq!(entry["inclusionProof"]["hashes"].as_array().unwrap().len(), 2);
    assert_eq!(entry["canonicalizedBody"], STANDARD.encode(world.leaves[1].to_bytes()));
    assert_eq!(json["dsseEnvelope"]["payloadType"], PAYLOAD_TYPE);
}

#[test]
fn without_a_log_only_the_signature_counts() {
    let world = World::new(2);
    let bare = Bundle::make(world.envelopes[0].clone(), world.key(), None);
    let read = Bundle::from_bytes(&bare.to_bytes()).unwrap();
    let verified = verify(&read, world.key(), &[], None).unwrap();
    assert_eq!((verified.index, verified.checkpoint), (None, None));
    assert!(matches!(world.verify(&read), Err(VerifyError::Incomplete(_))));
    let logged = verify(&world.bundle(0), world.key(), &[], None).unwrap();
    assert_eq!((logged.index, logged.checkpoint), (None, None));
}

#[test]
fn the_entry_of_another_statement_is_refused() {
    // CVE-2022-36056 and CVE-2026-22703: everything in the entry is valid, it is only not about this envelope.
    let world = World::new(4);
    let mut swapped = world.bundle(1);
    swapped.entry = Some(world.entry(2));
    assert!(
        matches!(world.verify(&swapped), Err(VerifyError::Tampered(text)) if text.contains("another statement"))
    );
    assert!(matches!(verify(&swapped, world.key(), &[], None), Err(VerifyError::Tampered(_))));
}

#[test]
fn the_entry_of_another_key_or_signature_is_refused() {
    let mut world = World::new(4);
    let attacker = TestSigner::new();
    let pae = world.envelopes[1].pae();
    let forged = Leaf {
        data: Digest::of(&pae),
        signature: attacker.sign(&pae).unwrap(),
        key: attacker.public_key().clone(),
    };
    world.leaves[2] = forged.clone();
    world.leaves[3] = Leaf { signature: world.envelopes[1].signature.clone(), ..forged };
    for (index, part) in [(2, "another signature"), (3, "another key")] {
        let mut swapped = world.bundle(1);
        swapped.entry = Some(world.entry(index));
        assert!(
            matches!(world.verify(&swapped), Err(VerifyError::Tampered(text)) if text.contains(part)),
            "{part}"
        );
    }
}

#[test]
fn keys_that_the_verifier_does_not_trust() {
    let world = World::new(3);
    let bundle = world.bundle(0);
    let other_log = LogSigner::from_seed(ORIGIN, &[8; 32]).unwrap();
    let answer = verify(&bundle, world.key(), &[other_log.verifier_key().clone()], None);
    assert!(matches!(answer, Err(VerifyError::UntrustedKey(_))));
    let stranger = TestSigner::new();
    let answer = verify(&bundle, stranger.public_key(), &world.logs(), None);
    assert!(matches!(answer, Err(VerifyError::UntrustedKey(_))));
    // The entry must name the log that signed the checkpoint.
    let mut renamed = bundle.clone();
    renamed.entry.as_mut().unwrap().log_id = other_log.log_id();
    let logs = [world.log.verifier_key().clone(), other_log.verifier_key().clone()];
    assert!(verify(&bundle, world.key(), &logs, None).is_ok());
    let mut only_signer = renamed.clone();
    only_signer.entry.as_mut().unwrap().log_id = Digest::of(b"nothing");
    assert!(matches!(verify(&only_signer, world.key(), &logs, None), Err(VerifyError::Tampered(_))));
}

#[test]
fn an_entry_and_a_checkpoint_that_differ_are_refused() {
    let world = World::new(6);
    let bundle = world.bundle(2);
    let changes: [fn(&mut LogEntry); 6] = [
        |entry| entry.index = 3,
        |entry| entry.size = 5,
        |entry| entry.root = Digest::of(b"root"),
        |entry| entry.path.truncate(1),
        |entry| entry.path.push(Digest::of(b"x")),
        |entry| entry.index = u64::MAX,
    ];
    for change in changes {
        let mut changed = bundle.clone();
        change(changed.entry.as_mut().unwrap());
        assert!(matches!(world.verify(&changed), Err(VerifyError::Tampered(_))), "{changed:?}");
    }
}

#[test]
fn no_bit_of_a_bundle_can_change_but_in_the_hint() {
    let world = World::new(3);
    let bundle = world.bundle(1);
    let bytes = bundle.to_bytes();
    let hint = bundle.hint.as_bytes();
    let hint_start = bytes.windows(hint.len()).position(|window| window == hint).unwrap();
    let hint_range = hint_start..hint_start + hint.len();
    let mut flips = 0;
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let answer = Bundle::from_bytes(&changed).and_then(|read| world.verify(&read));
        if hint_range.contains(&(bit / 8)) {
            continue;
        }
        assert!(answer.is_err(), "bit {bit}: {}", String::from_utf8_lossy(&changed));
        flips += 1;
    }
    assert!(flips > 10_000);
}

#[test]
fn other_json_is_refused() {
    let world = World::new(3);
    let good = json_of(&world.bundle(1));
    let changes: [(&str, Value); 14] = [
        ("/mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.2".into()),
        ("/verificationMaterial/publicKey", serde_json::json!({"hint": "", "rawBytes": ""})),
        ("/verificationMaterial/publicKey/hint", "x".repeat(2000).into()),
        ("/verificationMaterial/tlogEntries/0/logIndex", 1.into()),
        ("/verificationMaterial/tlogEntries/0/logIndex", "01".into()),
        ("/verificationMaterial/tlogEntries/0/logIndex", "-1".into()),
        ("/verificationMaterial/tlogEntries/0/integratedTime", "1".into()),
        ("/verificationMaterial/tlogEntries/0/kindVersion/kind", "dsse".into()),
        ("/verificationMaterial/tlogEntries/0/kindVersion/version", "0.0.1".into()),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/logIndex", "2".into()),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/rootHash", "AA==".into()),
        (
            "/verificationMaterial/tlogEntries/0/inclusionProof/hashes",
            vec![STANDARD.encode([0; 32]); PATH_LIMIT + 1].into(),
        ),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope", "".into()),
        ("/dsseEnvelope/signatures", Value::Array(Vec::new())),
    ];
    let check =
        |json: &Value| Bundle::from_bytes(json.to_string().as_bytes()).and_then(|read| world.verify(&read));
    assert!(check(&good).is_ok());
    for (pointer, value) in changes {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        assert!(check(&changed).is_err(), "{pointer}");
    }
    let mut doubled = good.clone();
    let entries = doubled["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap();
    entries.push(entries[0].clone());
    assert!(check(&doubled).is_err());
    let mut stamped = good;
    stamped["verificationMaterial"]["timestampVerificationData"] =
        serde_json::json!({"rfc3161Timestamps": []});
    assert!(check(&stamped).is_ok());
    assert!(Bundle::from_bytes(&vec![b' '; BUNDLE_LIMIT_BYTES + 1]).is_err());
    let text = String::from_utf8(world.bundle(1).to_bytes()).unwrap();
    let twice = text.replacen("\"mediaType\"", "\"mediaType\":\"x\",\"mediaType\"", 1);
    assert!(Bundle::from_bytes(twice.as_bytes()).is_err());
}

#[test]
fn a_payload_of_another_type_has_no_subject() {
    let signer = TestSigner::new();
    let envelope = Envelope::sign("text/plain", statement(&Digest::of(b"m")), &signer).unwrap();
    let bundle = Bundle::make(envelope, signer.public_key(), None);
    assert!(verify(&bundle, signer.public_key(), &[], None).is_ok());
    let answer = verify(&bundle, signer.public_key(), &[], Some(&Digest::of(b"m")));
    assert!(matches!(answer, Err(VerifyError::Malformed(_))));
}

#[test]
fn the_largest_statement_fits() {
    let signer = TestSigner::new();
    let envelope = Envelope::sign("t", vec![0xff; crate::envelope::PAYLOAD_LIMIT_BYTES], &signer).unwrap();
    let bundle = Bundle::make(envelope, signer.public_key(), None);
    assert_eq!(Bundle::from_bytes(&bundle.to_bytes()), Ok(bundle));
}

#[test]
fn the_trusted_root_names_the_log() {
    let log = LogSigner::from_seed(ORIGIN, &[9; 32]).unwrap();
    let bytes = trusted_root(log.verifier_key(), Timestamp::from_unix_ms(0));
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    let entry = &json["tlogs"][0];
    assert_eq!(entry["baseUrl"], "https://log.example");
    assert_eq!(entry["publicKey"]["rawBytes"], STANDARD.encode(log.public_key_der()));
    assert_eq!(entry["publicKey"]["validFor"]["start"], "1970-01-01T00:00:00Z");
    assert_eq!(entry["logId"]["keyId"], STANDARD.encode(log.log_id().as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in any::<usize>()) {
        let _ = Bundle::from_bytes(&noise);
        let world = World::new(2);
        let bundle = world.bundle(1);
        let mut bytes = bundle.to_bytes();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(read) = Bundle::from_bytes(&bytes)
            && let Ok(verified) = world.verify(&read)
        {
            prop_assert_eq!(&verified.payload, &bundle.envelope.payload);
        }
        bytes.truncate(cut % bytes.len());
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
    }
}

#[test]
fn the_logs_of_a_trusted_root_are_read_back() {
    let log = LogSigner::from_seed("log.example", &[7; 32]).unwrap();
    let bytes = trusted_root(log.verifier_key(), Timestamp::from_unix_ms(0));
    assert_eq!(logs_of_trusted_root(&bytes).unwrap(), [log.verifier_key().clone()]);
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [
        ("https://log.example", "https://other.example"),
        ("https://log.example", "log.example"),
        ("\"keyId\":\"", "\"keyId\":\"AAAA"),
        ("PKIX_ED25519", "PKIX_ECDSA_P256_SHA_256"),
        ("\"ctlogs\":[]", "\"ctlogs\":[],\"ctlogs\":[]"),
        ("\"tlogs\"", "\"logs\""),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert!(matches!(logs_of_trusted_root(changed.as_bytes()), Err(VerifyError::Malformed(_))), "{to}");
    }
}
