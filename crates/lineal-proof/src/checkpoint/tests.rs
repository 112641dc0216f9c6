use proptest::prelude::*;

use super::*;

/// The example of <https://c2sp.org/signed-note>.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
/// The example of golang.org/x/mod/sumdb/note: key type and seed, and the note.
const GO_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_SIGNATURE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

const ORIGIN: &str = "log.example";

fn signer(name: &str, seed: u8) -> LogSigner {
    LogSigner::from_seed(name, &[seed; 32]).unwrap()
}

fn sample() -> Checkpoint {
    Checkpoint::new(ORIGIN, 20_852_163, Hash::of(b"root"))
}

/// A note with the lines of several signers.
fn cosigned(text: &str, signers: &[&LogSigner]) -> Note {
    let signatures = signers.iter().flat_map(|s| s.sign_text(text.to_owned()).signatures).collect();
    Note { text: text.to_owned(), signatures }
}

#[test]
fn the_verifier_key_of_the_specification() {
    let key: VerifierKey = VKEY.parse().unwrap();
    assert_eq!(key.name(), "example.com/foo");
    assert_eq!(key.key_id(), [0x53, 0x0d, 0x90, 0x3a]);
    assert_eq!(key.to_string(), VKEY);
    assert_eq!(key.log_id().as_bytes()[..4], key.key_id());
    assert_eq!(key.public_key_der().len(), 44);
}

#[test]
fn the_note_of_the_specification() {
    let key: VerifierKey = VKEY.parse().unwrap();
    let note = Note::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(note.text, "This is an example message.\n");
    assert_eq!(note.to_bytes(), EXAMPLE.as_bytes());
    assert_eq!(note.signatures[0].key_id, key.key_id());
    assert!(key.verifies(&note.text, &note.signatures[0].bytes));
    // Signed, but not a checkpoint.
    assert!(matches!(open(EXAMPLE.as_bytes(), &[key]), Err(CheckpointError::Checkpoint(_))));
}

#[test]
fn the_signature_of_gos_example_is_reproduced() {
    let secret = STANDARD.decode(GO_SECRET).unwrap();
    let signer = LogSigner::from_seed("PeterNeumann", secret[1..].try_into().unwrap()).unwrap();
    assert_eq!(hex::encode(signer.verifier_key().key_id()), "c74f20a3");
    let note = signer.sign_text(GO_TEXT.to_owned());
    assert_eq!(String::from_utf8(note.to_bytes()).unwrap(), format!("{GO_TEXT}\n{GO_SIGNATURE}"));
}

#[test]
fn a_checkpoint_round_trips() {
    let log = signer(ORIGIN, 1);
    let note = log.sign(&sample()).unwrap();
    let text = String::from_utf8(note.clone()).unwrap();
    let root = STANDARD.encode(Hash::of(b"root").as_bytes());
    assert!(text.starts_with(&format!("log.example\n20852163\n{root}\n\n— log.example ")));
    let verified = open(&note, &[log.vkey().parse().unwrap()]).unwrap();
    assert_eq!((verified.value.clone(), verified.signers()), (sample(), &[ORIGIN.to_owned()][..]));
    assert_eq!(verified.size, 20_852_163);
    let extended = Checkpoint { extensions: vec!["extra 1".to_owned()], ..sample() };
    let note = log.sign(&extended).unwrap();
    assert_eq!(open(&note, &[log.verifier_key().clone()]).unwrap().value, extended);
}

#[test]
fn what_cannot_be_read_back_is_not_signed() {
    let log = signer(ORIGIN, 1);
    let broken = [
        Checkpoint { origin: "other.example".to_owned(), ..sample() },
        Checkpoint { origin: String::new(), ..sample() },
        Checkpoint { size: SIZE_LIMIT + 1, ..sample() },
        Checkpoint { extensions: vec![String::new()], ..sample() },
        Checkpoint { extensions: vec!["a\nb".to_owned()], ..sample() },
        Checkpoint { extensions: vec!["a\tb".to_owned()], ..sample() },
        Checkpoint { extensions: vec!["x".repeat(NOTE_LIMIT_BYTES)], ..sample() },
    ];
    for checkpoint in broken {
        assert!(log.sign(&checkpoint).is_err(), "{checkpoint:?}");
    }
}

#[test]
fn unknown_signatures_are_ignored_and_known_bad_ones_are_not() {
    let (log, witness, stranger) = (signer(ORIGIN, 1), signer("witness.example", 2), signer("x.example", 3));
    let namesake = signer(ORIGIN, 4);
    let known = [log.verifier_key().clone(), witness.verifier_key().clone()];
    let text = sample().to_text();

    let all = cosigned(&text, &[&stranger, &log, &witness, &namesake]);
    assert_eq!(open(&all.to_bytes(), &known).unwrap().signers(), [ORIGIN, "witness.example"]);

    let mut bad_stranger = all.clone();
    bad_stranger.signatures[0].bytes[5] ^= 1;
    assert!(open(&bad_stranger.to_bytes(), &known).is_ok());

    for position in [1, 2] {
        let mut bad = all.clone();
        bad.signatures[position].bytes[5] ^= 1;
        assert!(matches!(open(&bad.to_bytes(), &known), Err(CheckpointError::Signature(_))));
        let mut short = all.clone();
        short.signatures[position].bytes.pop();
        assert!(matches!(open(&short.to_bytes(), &known), Err(CheckpointError::Signature(_))));
    }

    let none = cosigned(&text, &[&stranger, &namesake]);
    assert_eq!(open(&none.to_bytes(), &known), Err(CheckpointError::Unsigned(ORIGIN.to_owned())));
    // A witness alone, or another log, does not speak for this log.
    let witness_only = cosigned(&text, &[&witness]);
    assert_eq!(open(&witness_only.to_bytes(), &known), Err(CheckpointError::Unsigned(ORIGIN.to_owned())));
    assert!(open(&all.to_bytes(), &[]).is_err());
}

#[test]
fn a_repeated_signature_counts_once_and_a_bad_repetition_rejects() {
    let log = signer(ORIGIN, 1);
    let known = [log.verifier_key().clone()];
    let mut twice = cosigned(&sample().to_text(), &[&log, &log]);
    assert_eq!(open(&twice.to_bytes(), &known).unwrap().signers(), [ORIGIN]);
    twice.signatures[1].bytes[0] ^= 1;
    assert!(matches!(open(&twice.to_bytes(), &known), Err(CheckpointError::Signature(_))));
}

#[test]
fn other_signature_types_and_many_lines_are_carried_along() {
    let log = signer(ORIGIN, 1);
    let mut note = cosigned(&sample().to_text(), &[&log]);
    // ML-DSA-44 (type 0x06) signatures have 2420 bytes, with a time before them.
    for number in 1..16 {
        let name = format!("witness{number}.example");
        note.signatures.push(NoteSignature { name, key_id: [number; 4], bytes: vec![6; 2428] });
    }
    let bytes = note.to_bytes();
    assert_eq!(Note::parse(&bytes), Ok(note.clone()));
    assert!(open(&bytes, &[log.verifier_key().clone()]).is_ok());

    note.signatures.truncate(1);
    note.signatures.extend((1..=SIGNATURES_LIMIT as u8).map(|n| NoteSignature {
        name: format!("w{n}"),
        key_id: [n; 4],
        bytes: vec![1],
    }));
    assert!(Note::parse(&note.to_bytes()).is_err());
    note.signatures.pop();
    assert_eq!(Note::parse(&note.to_bytes()).unwrap().signatures.len(), SIGNATURES_LIMIT);
}

#[test]
fn the_last_empty_line_ends_the_text() {
    let note = Note::parse("a\n\nb\n\n— k AAAAAAA=\n".as_bytes()).unwrap();
    assert_eq!((note.text.as_str(), &note.signatures[0].bytes[..]), ("a\n\nb\n", &[0][..]));
}

#[test]
fn malformed_notes_are_refused() {
    let line = "— k AAAAAAA=";
    assert!(Note::parse(format!("a\n\n{line}\n").as_bytes()).is_ok());
    let bad = [
        String::new(),
        "a\n".to_owned(),
        "a\n\n".to_owned(),
        format!("a\n\n{line}"),
        format!("a\n{line}\n"),
        format!("a\n\n{line}\n\n"),
        format!("a\n\n{line}\ntrailing"),
        format!("a\n\n{line}\ntrailing\n"),
        format!("a\n\n{line} \n"),
        format!("a\r\n\r\n{line}\r\n"),
        format!("a\tb\n\n{line}\n"),
        format!("a\0\n\n{line}\n"),
        "a\n\n- k AAAAAAA=\n".to_owned(),
        "a\n\n–\u{20}k AAAAAAA=\n".to_owned(),
        "a\n\n—k AAAAAAA=\n".to_owned(),
        "a\n\n—  AAAAAAA=\n".to_owned(),
        "a\n\n— k\n".to_owned(),
        "a\n\n— k k AAAAAAA=\n".to_owned(),
        "a\n\n— k+k AAAAAAA=\n".to_owned(),
        "a\n\n— k\u{a0}k AAAAAAA=\n".to_owned(),
        format!("a\n\n— {} AAAAAAA=\n", "k".repeat(256)),
        "a\n\n— k AAAAAAA\n".to_owned(),
        "a\n\n— k AAAAAAB=\n".to_owned(),
        "a\n\n— k AAAAAA==\n".to_owned(),
        "a\n\n— k AAA_AAA=\n".to_owned(),
        "a\n\n— k \n".to_owned(),
        format!("{}\n\n{line}\n", "a".repeat(NOTE_LIMIT_BYTES)),
    ];
    for note in bad {
        assert!(Note::parse(note.as_bytes()).is_err(), "{note:.100}");
    }
    assert!(Note::parse(b"a\xff\n\n\xe2\x80\x94 k AAAAAAA=\n").is_err());
}

#[test]
fn malformed_checkpoints_are_refused() {
    let root = STANDARD.encode([7; 32]);
    assert!(Checkpoint::from_text(&format!("o\n0\n{root}\n")).is_ok());
    assert!(Checkpoint::from_text(&format!("o\n0\n{root}\next\n")).is_ok());
    let bad = [
        String::new(),
        "\n".to_owned(),
        format!("\n1\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n1 \n{root}\n"),
        format!("o\n{}\n{root}\n", u64::MAX),
        format!("o\n99999999999999999999\n{root}\n"),
        format!("o\n1\n{root}"),
        format!("o\n1\n{}\n", root.trim_end_matches('=')),
        format!("o\n1\n{}\n", STANDARD.encode([7; 31])),
        format!("o\n1\n{}\n", "a".repeat(64)),
        "o\n1\n".to_owned(),
        format!("o\n1\n{root}\n\n"),
        format!("o\n1\n{root}\n\next\n"),
        format!("{}\n1\n{root}\n", "o".repeat(256)),
    ];
    for text in bad {
        assert!(Checkpoint::from_text(&text).is_err(), "{text:.100}");
    }
}

#[test]
fn malformed_verifier_keys_are_refused() {
    let bad = [
        "",
        "+",
        "++",
        "a+b",
        "example.com/foo",
        "example.com/foo+530d903a",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2l",
        "example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
        "example.com/foo+530d903a+",
        " example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ];
    for text in bad {
        assert!(text.parse::<VerifierKey>().is_err(), "{text}");
    }
    // The neutral point verifies any message under lax rules.
    let weak = [&[1, 1][..], &[0; 31]].concat();
    let id = Hash::of(&[&b"k\n"[..], &weak].concat()).hex();
    let text = format!("k+{}+{}", &id[..8], STANDARD.encode(&weak));
    assert_eq!(text.parse::<VerifierKey>(), Err(CheckpointError::Key("not an Ed25519 key".to_owned())));
    assert!(LogSigner::from_seed("a b", &[1; 32]).is_err());
    assert!(LogSigner::from_seed("", &[1; 32]).is_err());
}

#[test]
fn the_seed_is_not_printed() {
    let shown = format!("{:?}", signer(ORIGIN, 0xab));
    assert!(!shown.to_lowercase().contains("abab") && !shown.contains("171, 171"), "{shown}");
}

#[test]
fn no_bit_of_a_note_can_change() {
    let log = signer(ORIGIN, 1);
    let note = log.sign(&sample()).unwrap();
    for bit in 0..note.len() * 8 {
        let mut changed = note.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&changed, &[log.verifier_key().clone()]).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_what_parses_is_the_one_spelling(
        noise in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}", at in any::<usize>(), byte in any::<u8>()
    ) {
        let _ = Note::parse(&noise);
        let _ = text.parse::<VerifierKey>();
        let _ = Checkpoint::from_text(&text);
        let mut mutated = EXAMPLE.as_bytes().to_vec();
        let at = at % mutated.len();
        mutated[at] = byte;
        if let Ok(note) = Note::parse(&mutated) {
            prop_assert_eq!(note.to_bytes(), mutated);
        }
        let mut mutated = VKEY.to_owned().into_bytes();
        let at = at % mutated.len();
        mutated[at] = byte & 0x7f;
        let mutated = String::from_utf8(mutated).unwrap();
        if let Ok(key) = mutated.parse::<VerifierKey>() {
            prop_assert_eq!(key.to_string(), mutated);
        }
    }
}
