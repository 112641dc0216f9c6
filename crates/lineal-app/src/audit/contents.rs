//! The files of an audit folder that follow from the evidence in it. The export writes them, the check makes them again
//! and compares, so that none of them has to be believed.

use std::collections::BTreeMap;

use lineal_facts::predicate::KeyRole;
use lineal_facts::{Digest, Predicate, Statement, Timestamp, json};
use lineal_proof::{Keyring, PublicKey};
use serde::Serialize;

use crate::failure::{Code, Failure};

pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const LOG_KEYS: &str = "log.vkey";
pub(super) const TRUSTED_ROOT: &str = "trusted_root.json";
pub(super) const KEYRING: &str = "keys/keyring.json";
pub(super) const STATEMENTS: &str = "statements.tsv";
pub(super) const README: &str = "README.txt";
/// Digests of all other files, as `sha256sum` writes them. Against accidents only: it proves nothing.
pub(super) const SUMS: &str = "SHA256SUMS";
pub(super) const LOG: &str = "log";
pub(super) const BUNDLES: &str = "bundles";
pub(super) const BUNDLE_END: &str = ".sigstore.json";

/// Most entries of a log that an audit folder holds: what is read and kept of one is bounded by this.
pub(super) const ENTRIES_LIMIT: u64 = 10_000_000;
/// Format version of `keyring.json`.
const VERSION: &str = "1";
/// Stands in a column that has no value.
const NOTHING: &str = "-";

/// A statement whose place in the log is known.
pub(super) struct Placed {
    pub(super) position: u64,
    pub(super) digest: Digest,
    pub(super) signer: PublicKey,
    pub(super) statement: Statement,
}

#[derive(Serialize)]
struct KeyringFile {
    version: &'static str,
    keys: Vec<KeyEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyEntry {
    id: Digest,
    file: String,
    holder: String,
    role: KeyRole,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Placed {
    /// `bundles/000000007-approval-0123456789ab.sigstore.json`: sorts by position.
    pub(super) fn file(&self) -> String {
        let (noun, short) = (self.statement.predicate.noun(), self.digest.short());
        format!("{BUNDLES}/{:09}-{noun}-{short}{BUNDLE_END}", self.position)
    }

    /// The line of `statements.tsv`: position, kind, statement, predicate type, key, first subject, bundle.
    pub(super) fn line(&self, keyring: &Keyring) -> String {
        let key =
            keyring.get(&self.signer.id()).map_or_else(|| NOTHING.to_owned(), |k| key_file(k.role, &k.key));
        let subject =
            self.statement.subject.first().map_or_else(|| NOTHING.to_owned(), |s| s.digest.sha256().hex());
        let (noun, kind) = (self.statement.predicate.noun(), self.statement.predicate.kind());
        // A kind of a later build may be any text.
        let kind = if kind.contains(char::is_control) { NOTHING } else { kind };
        format!("{}\t{noun}\t{}\t{kind}\t{key}\t{subject}\t{}\n", self.position, self.digest, self.file())
    }
}

/// Statements that a folder with `statement` must hold too.
pub(super) fn required_by(statement: &Statement) -> Vec<Digest> {
    let previous = statement.member().and_then(|member| member.sequence.previous);
    previous.into_iter().chain(statement.evidence()).collect()
}

/// `keys/builder-0123456789ab.pem`
fn key_file(role: KeyRole, key: &PublicKey) -> String {
    format!("keys/{role}-{}.pem", key.id().short())
}

/// `keyring.json` and the PEM files beside it: path and content.
pub(super) fn key_files(keyring: &Keyring) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let entries = keyring.entries();
    let mut files: Vec<_> =
        entries.iter().map(|k| (key_file(k.role, &k.key), k.key.to_pem().into_bytes())).collect();
    let keys = entries.iter().map(|k| KeyEntry {
        id: k.key.id(),
        file: key_file(k.role, &k.key),
        holder: k.holder.clone(),
        role: k.role,
        from: k.active_from.to_string(),
        until: k.revoked_at.map(|at| at.to_string()),
    });
    let document = KeyringFile { version: VERSION, keys: keys.collect() };
    let bytes = json::canonical(&document).map_err(|e| Failure::caused(Code::Internal, &e))?;
    files.push((KEYRING.to_owned(), bytes));
    Ok(files)
}

/// When the key record in the log's first entry was stated.
pub(super) fn start_of(first: &Statement) -> Option<Timestamp> {
    match &first.predicate {
        Predicate::Key(record) => Some(record.stated_at),
        _ => None,
    }
}

/// `SHA256SUMS`
pub(super) fn sums_file(sums: &BTreeMap<String, Digest>) -> Vec<u8> {
    sums.iter().map(|(path, digest)| format!("{}  {path}\n", digest.hex())).collect::<String>().into_bytes()
}

/// Reads what [`sums_file`] writes, and nothing else.
pub(super) fn parse_sums(bytes: &[u8]) -> Option<BTreeMap<String, Digest>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let line = |line: &str| {
        let (hex, path) = line.split_once("  ")?;
        Some((path.to_owned(), Digest::from_hex(hex).ok()?))
    };
    let sums: BTreeMap<String, Digest> = text.lines().map(line).collect::<Option<_>>()?;
    // Order and repetition are what is left to refuse.
    (sums_file(&sums) == bytes).then_some(sums)
}
