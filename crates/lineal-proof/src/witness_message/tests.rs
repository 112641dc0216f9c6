use proptest::prelude::*;

use super::*;
use crate::checkpoint::LogSigner;

const REQUEST: &str = include_str!("../../vectors/add-checkpoint.request");
const OLD: &str = include_str!("../../vectors/old-3.note");
const LOG: &str = "log.example/vector+e179d00b+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const ORIGIN: &str = "log.example";

fn log() -> LogSigner {
    LogSigner::from_seed(ORIGIN, &[1; 32]).unwrap()
}

fn leaves(size: u64, fork: u64) -> Vec<Hash> {
    (0..size).map(|n| tree::leaf_hash(format!("{n} {}", n >= fork).as_bytes())).collect()
}

/// The log with entries that differ from `fork` on.
fn checkpoint(size: u64, fork: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN, size, tree::root(&leaves(size, fork)))
}

fn path(old: u64, new: u64) -> Vec<Hash> {
    let leaves = leaves(new, u64::MAX);
    let read = |level: u8, at: u64| {
        let (from, width) = ((at << level) as usize, 1 << level);
        Ok::<Hash, tree::ProofError>(tree::root(&leaves[from..from + width]))
    };
    tree::consistency_proof(old, new, read).unwrap()
}

fn submission(old: u64, path: Vec<Hash>, new: &Checkpoint) -> Submission {
    let note = Note::parse(&log().sign(new).unwrap()).unwrap();
    AddCheckpoint { old, path, note }.open(&[log().verifier_key().clone()]).unwrap()
}

fn honest(old: u64, new: u64) -> Submission {
    submission(old, path(old, new), &checkpoint(new, u64::MAX))
}

/// The status of the answer; 200 if the witness cosigns.
fn status(latest: Option<&Checkpoint>, submission: &Submission) -> u16 {
    decide(latest, submission).map_or_else(|refusal| refusal.status(), |()| 200)
}

#[test]
fn the_request_of_the_vectors() {
    let known: Vec<VerifierKey> = vec![LOG.parse().unwrap()];
    let latest = checkpoint::open(OLD.as_bytes(), &known).unwrap().value;
    let request = AddCheckpoint::from_bytes(REQUEST.as_bytes()).unwrap();
    assert_eq!((request.old, request.path.len()), (3, 4));
    assert_eq!(request.to_bytes(), REQUEST.as_bytes());
    let submission = request.open(&known).unwrap();
    assert_eq!(decide(Some(&latest), &submission), Ok(()));
    assert_eq!(decide(None, &submission), Err(Refusal::Conflict { size: 0 }));
}

#[test]
fn a_log_is_followed_from_nothing() {
    assert_eq!(status(None, &honest(0, 0)), 200);
    assert_eq!(status(None, &honest(0, 7)), 200);
    assert_eq!(status(Some(&checkpoint(0, 9)), &honest(0, 7)), 200);
    assert_eq!(status(Some(&checkpoint(7, 9)), &honest(7, 7)), 200);
    assert_eq!(status(Some(&checkpoint(7, u64::MAX)), &honest(7, 12)), 200);
}

#[test]
fn the_answers_of_the_format() {
    let seven = checkpoint(7, u64::MAX);
    // 400 comes before 409, whatever the witness has.
    assert_eq!(status(Some(&seven), &submission(8, vec![], &seven)), 400);
    assert_eq!(status(None, &submission(8, vec![], &seven)), 400);
    // 409, with what it has.
    for old in [0, 6, 8] {
        let refusal = decide(Some(&seven), &submission(old, vec![], &checkpoint(12, 99))).unwrap_err();
        assert_eq!((refusal.status(), &refusal), (409, &Refusal::Conflict { size: 7 }));
    }
    assert_eq!(status(Some(&checkpoint(12, 99)), &honest(3, 7)), 409);
    // 422: an empty log with entries, a proof where none belongs, a wrong one, none at all.
    let empty = Checkpoint::new(ORIGIN, 0, Hash::of(b"something"));
    assert_eq!(status(None, &submission(0, vec![], &empty)), 422);
    assert_eq!(status(None, &submission(0, path(3, 7), &seven)), 422);
    assert_eq!(status(Some(&seven), &submission(7, path(3, 7), &seven)), 422);
    assert_eq!(status(Some(&seven), &submission(7, path(6, 12), &checkpoint(12, 99))), 422);
    assert_eq!(status(Some(&seven), &submission(7, vec![], &checkpoint(12, 99))), 422);
    // 422: a fork at the same size, and one further on.
    assert_eq!(status(Some(&seven), &submission(7, vec![], &checkpoint(7, 5))), 422);
    assert_eq!(status(Some(&seven), &submission(7, path(7, 12), &checkpoint(12, 5))), 422);
}

#[test]
fn only_known_logs_and_their_signatures_are_heard() {
    let known = [log().verifier_key().clone()];
    let note = |signer: &LogSigner| {
        let checkpoint = Checkpoint { origin: signer.verifier_key().name().to_owned(), ..checkpoint(7, 9) };
        Note::parse(&signer.sign(&checkpoint).unwrap()).unwrap()
    };
    let open = |note: Note| AddCheckpoint { old: 0, path: vec![], note }.open(&known);
    let status = |note: Note| open(note).unwrap_err().status();
    let stranger = LogSigner::from_seed("other.example", &[2; 32]).unwrap();
    assert_eq!(status(note(&stranger)), 404);
    // The name is known, the key is not.
    let namesake = LogSigner::from_seed(ORIGIN, &[2; 32]).unwrap();
    assert_eq!(status(note(&namesake)), 403);
    let mut bad = note(&log());
    bad.signatures[0].bytes[3] ^= 1;
    assert_eq!(status(bad.clone()), 403);
    // A bad signature beside a good one by the same key.
    bad.signatures.extend(note(&log()).signatures);
    assert_eq!(status(bad), 403);
    // Others' lines are ignored and not kept.
    let mut more = note(&log());
    more.signatures.extend(note(&namesake).signatures);
    more.signatures.extend(note(&stranger).signatures);
    assert_eq!(open(more).unwrap().note(), &note(&log()));
    // Signed, but not a checkpoint.
    let text = Note { text: "hello\n".to_owned(), ..note(&log()) };
    assert_eq!(status(text), 400);
}

#[test]
fn only_the_one_spelling_is_read() {
    let bad = [
        String::new(),
        REQUEST.replace("old 3", "old 03"),
        REQUEST.replace("old 3", "old +3"),
        REQUEST.replace("old 3", "old -3"),
        REQUEST.replace("old 3", "old  3"),
        REQUEST.replace("old 3", "Old 3"),
        REQUEST.replace("old 3\n", ""),
        REQUEST.replace("old 3", "old 9223372036854775808"),
        REQUEST.replace("old 3\n", "old 3\n\n"),
        REQUEST.replace("old 3\n", "old 3\nAAAA\n"),
        REQUEST
            .replace("old 3\n", &format!("old 3\n{}", format!("{}\n", STANDARD.encode([7; 32])).repeat(60))),
        REQUEST.replace('\n', "\r\n"),
        REQUEST[..REQUEST.len() - 1].to_owned(),
        format!("{REQUEST}\n"),
        format!("{REQUEST}{}", " ".repeat(REQUEST_LIMIT_BYTES)),
    ];
    for body in bad {
        let refusal = AddCheckpoint::from_bytes(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.status(), 400, "{body:.100}");
    }
    assert!(AddCheckpoint::from_bytes(b"\xff\n\n").is_err());
    let longest = REQUEST
        .replace("old 3\n", &format!("old 3\n{}", format!("{}\n", STANDARD.encode([7; 32])).repeat(59)));
    assert_eq!(AddCheckpoint::from_bytes(longest.as_bytes()).unwrap().path.len(), PATH_LIMIT);
}

#[test]
fn the_size_of_a_conflict_is_a_number_and_a_newline() {
    assert_eq!(parse_size(b"0\n"), Some(0));
    assert_eq!(parse_size(b"20852014\n"), Some(20_852_014));
    for bad in ["", "\n", "1", "01\n", "+1\n", "1 \n", "-1\n", "1\n\n", "9223372036854775808\n", "x\n"] {
        assert_eq!(parse_size(bad.as_bytes()), None, "{bad:?}");
    }
}

proptest! {
    /// Whatever is asked, in whatever order, a witness cosigns prefixes of one log only.
    #[test]
    fn a_witness_never_cosigns_two_histories(
        asked in proptest::collection::vec((0_u64..14, 0_u64..14, 0_u64..14, any::<bool>()), 1..12)
    ) {
        let mut latest: Option<Checkpoint> = None;
        let mut cosigned: Vec<Checkpoint> = Vec::new();
        for (old, new, fork, follow) in asked {
            let old = if follow { latest.as_ref().map_or(0, |latest| latest.size) } else { old };
            let new = checkpoint(new, fork);
            // A proof over the forked log itself: the best that an attacker has.
            let forked = leaves(new.size, fork);
            let read = |level: u8, at: u64| {
                let (from, width) = ((at << level) as usize, 1 << level);
                Ok::<Hash, tree::ProofError>(tree::root(&forked[from..from + width]))
            };
            let path = tree::consistency_proof(old.min(new.size), new.size, read).unwrap();
            if decide(latest.as_ref(), &submission(old, path, &new)).is_ok() {
                cosigned.push(new.clone());
                latest = Some(new);
            }
        }
        for pair in cosigned.windows(2) {
            prop_assert!(pair[0].size <= pair[1].size);
        }
        // All cosigned trees are prefixes of the last one: same fork point, or none of them reaches it.
        if let Some(last) = cosigned.last() {
            for one in &cosigned {
                let holds = (0..14).any(|fork| checkpoint(one.size, fork) == *one && checkpoint(last.size, fork) == *last);
                prop_assert!(holds, "{one:?} is no prefix of {last:?}");
            }
        }
    }

    #[test]
    fn nothing_panics_and_what_parses_is_the_one_spelling(at in any::<usize>(), byte in any::<u8>(), noise in ".{0,80}") {
        let _ = AddCheckpoint::from_bytes(noise.as_bytes());
        let _ = AddCheckpoint::from_bytes(format!("old 1\n{noise}\n\n{noise}").as_bytes());
        let _ = parse_size(noise.as_bytes());
        let mut mutated = REQUEST.as_bytes().to_vec();
        let at = at % mutated.len();
        mutated[at] = byte;
        if let Ok(request) = AddCheckpoint::from_bytes(&mutated) {
            prop_assert_eq!(request.to_bytes(), mutated);
        }
    }
}
