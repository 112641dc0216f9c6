//! `lineal-proof` as a WebAssembly module says what the native code says.

#[expect(unreachable_pub, reason = "the fuzzer's programs call each of them")]
#[path = "../../../../fuzz/src/targets.rs"]
mod targets;
#[path = "../../../../tools/wasm/src/verdict.rs"]
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use targets::TARGETS;

use crate::audit::Folder;
use crate::peers;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/wasm.py");
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
/// Flipped bits of each file of the corpus, spread over it.
const FLIPS: usize = 60;
/// Largest module that a page should have to load.
const SIZE_LIMIT_BYTES: u64 = 1_000_000;

/// Calls of the module, and what the native code answers.
#[derive(Default)]
struct Calls {
    bytes: Vec<u8>,
    expected: Vec<u64>,
}

impl Calls {
    fn add(&mut self, name: &str, numbers: &[usize], input: &[u8], expected: u32) {
        let line = serde_json::json!([name, numbers, input.len()]).to_string();
        self.bytes.extend([line.as_bytes(), b"\n", input].concat());
        self.expected.push(expected.into());
    }

    fn accepts(&mut self, target: usize, input: &[u8]) {
        self.add("accepts", &[target], input, (TARGETS[target].1)(input).into());
    }

    fn verify(&mut self, bundle: &[u8], key: &[u8], log: &[u8]) -> u32 {
        let expected = verdict::verdict(bundle, key, log);
        let input = [bundle, key, log].concat();
        self.add("verify", &[bundle.len(), key.len()], &input, expected);
        expected
    }

    /// Asks the module; every answer must be the native one.
    #[track_caller]
    fn agree(&self) {
        let folder = tempfile::Builder::new().prefix("lineal-it-").tempdir().unwrap();
        let calls = folder.path().join("calls");
        fs::write(&calls, &self.bytes).unwrap();
        let mut command = Command::new(peers::python());
        let output = command.arg(SCRIPT).arg(peers::wasm_module()).arg(&calls).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answers.len(), self.expected.len());
        let differ = |at: &usize| answers[*at] != self.expected[*at];
        let differences: Vec<_> =
            (0..answers.len()).filter(differ).map(|at| (at, &answers[at], self.expected[at])).collect();
        assert!(differences.is_empty(), "call, module, native: {differences:?}");
    }
}

/// The file, the file with single bits flipped, the file cut short.
fn neighbours(bytes: &[u8]) -> Vec<Vec<u8>> {
    let flipped = |number: usize| {
        let mut changed = bytes.to_vec();
        changed[number * bytes.len() / FLIPS] ^= 1 << (number % 8);
        changed
    };
    let flips = (0..FLIPS).filter(|_| !bytes.is_empty()).map(flipped);
    let cuts = [bytes.to_vec(), bytes[..bytes.len() / 2].to_vec()];
    flips.chain(cuts).collect()
}

#[test]
fn every_parser_answers_as_the_native_one() {
    let mut calls = Calls::default();
    for (place, (name, _)) in TARGETS.iter().enumerate() {
        for file in fs::read_dir(Path::new(CORPUS).join(name)).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            neighbours(&bytes).iter().for_each(|bytes| calls.accepts(place, bytes));
        }
    }
    assert!(calls.expected.contains(&0) && calls.expected.contains(&1));
    calls.add("accepts", &[TARGETS.len()], b"", 2);
    calls.agree();
}

#[test]
fn bundles_are_accepted_and_refused_as_natively() {
    let folder = Folder::example();
    let files = folder.files();
    let below = |start: &str, end: &str| -> BTreeMap<&str, &[u8]> {
        let named = files.iter().filter(|(name, _)| name.starts_with(start) && name.ends_with(end));
        named.map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect()
    };
    let (bundles, keys) = (below("bundles/", ".json"), below("keys/", ".pem"));
    let log = folder.log_key.as_bytes();
    let list = String::from_utf8(files["statements.tsv"].clone()).unwrap();
    let mut calls = Calls::default();
    let mut codes = BTreeSet::new();
    for line in list.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let (bundle, key) = (bundles[columns[6]], keys[columns[4]]);
        assert_eq!((calls.verify(bundle, key, log), calls.verify(bundle, key, b"")), (0, 0), "{line}");
        codes.extend(keys.values().map(|other| calls.verify(bundle, other, log)));
    }
    let (bundle, key) = bundles.values().zip([keys[list.split('\t').nth(4).unwrap()]]).next().unwrap();
    codes.extend(neighbours(bundle).iter().map(|changed| calls.verify(changed, key, log)));
    codes.extend(neighbours(key).iter().map(|changed| calls.verify(bundle, changed, log)));
    codes.extend(neighbours(log).iter().map(|changed| calls.verify(bundle, key, changed)));
    // Holds, unreadable, tampered with, another key, no key.
    assert!([0, 1, 2, 4, 7].iter().all(|code| codes.contains(code)), "{codes:?}");
    calls.add("verify", &[9, 9], b"short", 8);
    calls.agree();
}

#[test]
fn the_module_is_small() {
    let size = fs::metadata(peers::wasm_module()).unwrap().len();
    assert!(size < SIZE_LIMIT_BYTES, "{size} bytes; `cargo xtask setup` says the size too");
}
