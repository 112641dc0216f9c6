//! `lineal-sigstore-verify FOLDER [DIGEST KEY BUNDLE]`: checks the bundles of an audit folder with the verifier of the
//! sigstore project, offline, against the folder's own `trusted_root.json`.
//!
//! With the folder only, each line of `statements.tsv` is checked. A line `ok` for each bundle, then `VERIFIED: ` and
//! exit code 0, or `NOT VERIFIED: ` and why and exit code 1. Nothing of Lineal's is linked here.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{PublicKeyVerificationPolicy, Verifier};

/// Digest of the subject, the signer's key and the bundle; both files below the folder.
struct Line {
    digest: String,
    key: String,
    bundle: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(count) => {
            println!("VERIFIED: {count} bundles");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("NOT VERIFIED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, lines) = match arguments.as_slice() {
        [folder] => (PathBuf::from(folder), listed(Path::new(folder))?),
        [folder, digest, key, bundle] => {
            let [digest, key, bundle] = [digest, key, bundle].map(Clone::clone);
            (PathBuf::from(folder), vec![Line { digest, key, bundle }])
        }
        _ => return Err("usage: lineal-sigstore-verify FOLDER [DIGEST KEY BUNDLE]".into()),
    };
    let root = TrustedRoot::from_json(&read(&folder, "trusted_root.json")?)?;
    let verifier = Verifier::new(&root)?;
    if lines.is_empty() {
        return Err("no statements".into());
    }
    for line in &lines {
        check(&folder, &verifier, line).map_err(|error| format!("{}: {error}", line.bundle))?;
        println!("ok {}", line.bundle);
    }
    Ok(lines.len())
}

fn check(folder: &Path, verifier: &Verifier, line: &Line) -> Result<(), Box<dyn Error>> {
    let bundle = Bundle::from_json(&read(folder, &line.bundle)?)?;
    let key = DerPublicKey::from_pem(&read(folder, &line.key)?)?;
    let digest = Sha256Hash::from_hex(&line.digest)?;
    let result = verifier.verify(digest, &bundle, &PublicKeyVerificationPolicy::new(key))?;
    // A verifier that left the log out would say so here.
    if result.tlog_verified() { Ok(()) } else { Err("the log was not checked".into()) }
}

fn listed(folder: &Path) -> Result<Vec<Line>, Box<dyn Error>> {
    let text = read(folder, "statements.tsv")?;
    text.lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let column = |number: usize| columns.get(number).map(|text| (*text).to_owned());
            let fields = column(5).zip(column(4)).zip(column(6));
            let ((digest, key), bundle) = fields.ok_or("a line of statements.tsv is too short")?;
            Ok(Line { digest, key, bundle })
        })
        .collect()
}

fn read(folder: &Path, name: &str) -> Result<String, Box<dyn Error>> {
    std::fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}").into())
}
