//! Every file of the fuzzer's corpus, and many small changes of each, through the fuzzer's own functions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
#![expect(clippy::disallowed_methods, reason = "the corpus is files")]

#[expect(unreachable_pub, reason = "the fuzzer's programs call each of them")]
#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use targets::TARGETS;

/// Changes of each file.
const CHANGES: usize = 2000;
/// Most bytes that one change removes or repeats.
const SPAN_LIMIT: usize = 16;
/// What parsers look for.
const SPECIAL: &[u8] = b"\0\n\"{}[]:,/.\\09aZ\xff";

/// A small generator with a fixed start, so that every run does the same (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(mixed).unwrap() % limit.max(1)
    }

    /// `bytes` with one to three small changes.
    fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(SPAN_LIMIT)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = SPECIAL[self.below(SPECIAL.len())],
                2 => drop(bytes.drain(at..end)),
                3 => bytes.truncate(at),
                4 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
            }
        }
        bytes
    }
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

#[test]
fn every_kept_file_and_its_neighbours_keep_the_properties() {
    for (name, target) in TARGETS {
        let mut files: Vec<_> =
            fs::read_dir(corpus().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut answers = BTreeSet::new();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let check = |bytes: &[u8], what: String| {
                let answer = std::panic::catch_unwind(|| target(bytes));
                assert!(answer.is_ok(), "{what} of {}: {}", file.display(), String::from_utf8_lossy(bytes));
                answer.ok()
            };
            answers.extend(check(&bytes, "the bytes".to_owned()));
            for change in 0..CHANGES {
                check(&random.changed(&bytes), format!("change {change}"));
            }
        }
        // A corpus of which nothing is accepted, or everything, does not reach what it is for.
        assert_eq!(answers.len(), 2, "fuzz/corpus/{name} has files that are accepted and files that are not");
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let listed = |folder: &str| -> BTreeSet<String> {
        let stem = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_string_lossy().into_owned();
        let folder = corpus().join("..").join(folder);
        fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap())).collect()
    };
    assert_eq!(listed("corpus"), names);
    assert_eq!(listed("fuzz_targets"), names);
}
