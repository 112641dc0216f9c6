//! The check of an audit folder: everything is derived again from log, statements and the log's keys.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use lineal_blob::files::Context;
use lineal_blob::tree::TreeError;
use lineal_blob::walk::{self, Found, Links};
use lineal_facts::sequence::SeriesEnds;
use lineal_facts::{Digest, Predicate, Statement, Timestamp};
use lineal_proof::bundle::{self, BUNDLE_LIMIT_BYTES};
use lineal_proof::checkpoint::{LOG_KEYS_LIMIT, NOTE_LIMIT_BYTES};
use lineal_proof::tile::{self, ENTRY_LIMIT_BYTES, EntryBundleId, TILE_WIDTH};
use lineal_proof::{
    Bundle, Checkpoint, Edge, KeyChain, Keyring, Leaf, LogKeys, VerifierKey, VerifyError, tree,
};

use super::contents::{self, ENTRIES_LIMIT, Placed};
use super::{Audit, Pins, evidence_code};
use crate::failure::{Code, Failure, chain, keyring_code};
use crate::progress::{Event, Observer};
use crate::verify::{Finding, Node, Verification};

/// Largest file whose size follows from the number of entries.
const LIST_LIMIT_BYTES: usize = 4 << 30;
const LOG_KEYS_LIMIT_BYTES: usize = 512 * LOG_KEYS_LIMIT;
const TILE_LIMIT_BYTES: usize = TILE_WIDTH as usize * tile::HASH_BYTES;
const ENTRIES_LIMIT_BYTES: usize = TILE_WIDTH as usize * (ENTRY_LIMIT_BYTES + 2);

/// Checks the audit folder `path` with nothing but it and `pins`.
///
/// The log is derived again from its entries up to the checkpoint's root; every bundle must be about the entry at its
/// position, included and signed by a key that counted there; every other file must be what follows from these.
pub fn verify_folder(path: &Path, pins: &Pins, observer: Observer<'_>) -> Result<Audit, Failure> {
    let mut files = Files::list(path)?;
    let mut checker = Checker::default();
    let mut tree = Node::new(path.display().to_string(), String::new());
    let (mut complete, mut keys_complete) = (false, false);
    match begin(&mut files, pins) {
        Ok(log) => {
            tree.children.push(Node::new("log", log.detail.clone()));
            observer(Event::Began { what: "verifying".to_owned(), total: log.checkpoint.size });
            let entries = checker.entries(&mut files, &log, pins, observer);
            observer(Event::Ended);
            tree.children.extend(entries);
            complete = checker.statements.len() as u64 == log.checkpoint.size;
            keys_complete = complete || checker.unread == 0 && log.keys_signed.is_some();
            if checker.unread == 0 {
                let derived = checker.derived(&mut files, &log);
                tree.children.push(derived);
                tree.children.extend(checker.key_statements(&log, complete));
                tree.children.push(checker.references());
                let rest = checker.rest(&files);
                tree.children.push(rest);
            } else {
                // Every other file would be blamed for what is missing of the log.
                let detail = format!("not checked: {} files of entries cannot be read", checker.unread);
                tree.children.push(Node { ok: false, ..Node::new("keyring and other files", detail) });
            }
        }
        Err(failure) => tree.children.push(checker.broken("log", failure)),
    }
    tree.children.push(Node::new("whole", completeness(complete, keys_complete)));
    let (log_pinned, keys_pinned) = (!pins.logs.is_empty(), !pins.logs.is_empty() || pins.key.is_some());
    tree.children.push(Node::new("pinned", pinning(log_pinned, keys_pinned)));
    tree.settle();
    let verification = Verification::new(path.display().to_string(), tree, checker.findings);
    Ok(Audit { verification, log_pinned, keys_pinned, complete, keys_complete })
}

const fn completeness(complete: bool, keys_complete: bool) -> &'static str {
    match (complete, keys_complete) {
        (true, _) => "yes: every entry of the log has its statement here",
        (false, true) => "no: some statements only, but every one about keys",
        (false, false) => "no: some statements only; a revocation among the others would not be seen",
    }
}

const fn pinning(log: bool, keys: bool) -> &'static str {
    match (log, keys) {
        (true, _) => "yes: by the log's key that you named",
        (false, true) => {
            "keys by the first builder key that you named; the log is not, name its key with --log-key"
        }
        (false, false) => "no: anybody can make a whole folder; name the log's key with --log-key",
    }
}

/// The files of the folder, each read once at most.
struct Files {
    found: BTreeMap<String, Found>,
    sums: BTreeMap<String, Digest>,
}

impl Files {
    fn list(path: &Path) -> Result<Self, Failure> {
        let found = walk::walk(path, Links::Refused, &|_| false)?;
        let found = found.into_iter().map(|file| (file.path.clone(), file)).collect();
        let mut files = Self { found, sums: BTreeMap::new() };
        // Only an audit folder has this file; without it, something else was named.
        let sums = files.bytes(contents::SUMS, LIST_LIMIT_BYTES)?;
        files.sums = contents::parse_sums(&sums).ok_or_else(|| changed(contents::SUMS, "cannot be read"))?;
        Ok(files)
    }

    /// Takes the file called `name`, whose digest must be the listed one.
    fn take(&mut self, name: &str, limit: usize) -> Result<Vec<u8>, Failure> {
        let bytes = self.bytes(name, limit)?;
        if self.sums.remove(name) == Some(Digest::of(&bytes)) {
            Ok(bytes)
        } else {
            Err(changed(name, "is not the file that `SHA256SUMS` lists"))
        }
    }

    fn bytes(&mut self, name: &str, limit: usize) -> Result<Vec<u8>, Failure> {
        let found = self.found.remove(name);
        let found = found.ok_or_else(|| Failure::new(Code::NotVerified, format!("`{name}` is missing")))?;
        if found.metadata.len() > limit as u64 {
            return Err(changed(name, &format!("has more than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        let mut file = found.open()?.take(limit as u64);
        file.read_to_end(&mut bytes).context("read", &found.location).map_err(TreeError::from)?;
        Ok(bytes)
    }

    /// The first bundle from `position` on, if it is about an earlier one than `end`.
    fn bundle_at(&self, position: u64) -> Option<String> {
        let prefix = format!("{}/{position:09}-", contents::BUNDLES);
        let next = self.found.range(prefix.clone()..).next();
        next.map(|(name, _)| name.clone()).filter(|name| name.starts_with(&prefix))
    }
}

/// A log whose checkpoint is signed and whose every hash follows from the entries.
struct Log {
    note: Vec<u8>,
    checkpoint: Checkpoint,
    /// What the checkpoint says about the key statements.
    keys_signed: Option<KeyChain>,
    keys: LogKeys,
    /// The key that signed the checkpoint.
    key: VerifierKey,
    detail: String,
}

/// Checks the log as far as it needs no statements.
fn begin(files: &mut Files, pins: &Pins) -> Result<Log, Failure> {
    let keys = files.take(contents::LOG_KEYS, LOG_KEYS_LIMIT_BYTES)?;
    let keys: Result<LogKeys, _> = String::from_utf8_lossy(&keys).parse();
    let keys = keys.map_err(|e| changed(contents::LOG_KEYS, &chain(&e)))?;
    let note = files.take(contents::CHECKPOINT, NOTE_LIMIT_BYTES)?;
    let opened = keys.open(&note).map_err(|e| broken(contents::CHECKPOINT, &e.into()))?;
    let keys_signed = KeyChain::of(&opened).map_err(|e| broken(contents::CHECKPOINT, &e.into()))?;
    let checkpoint = opened.value;
    let key = keys.at(checkpoint.size).clone();
    if !pins.logs.is_empty() && !pins.logs.contains(&key) {
        let text =
            format!("the checkpoint is signed by the log key {key}, which is not the one that you named");
        return Err(Failure::new(Code::UntrustedKey, text));
    }
    if checkpoint.size == 0 || checkpoint.size > ENTRIES_LIMIT {
        let text = format!("the log has {} entries; 1 to {ENTRIES_LIMIT} can be checked", checkpoint.size);
        return Err(Failure::new(Code::NotVerified, text));
    }
    let copy = format!("{}/{}", contents::LOG, contents::CHECKPOINT);
    if files.take(&copy, NOTE_LIMIT_BYTES)? != note {
        return Err(changed(&copy, "is not the folder's checkpoint"));
    }
    let detail = format!("{}, {} entries", checkpoint.origin, checkpoint.size);
    Ok(Log { note, checkpoint, keys_signed, keys, key, detail })
}

#[derive(Default)]
struct Checker {
    keyring: Keyring,
    keys_found: KeyChain,
    series: SeriesEnds,
    start: Option<Timestamp>,
    statements: BTreeSet<Digest>,
    references: Vec<(u64, Digest)>,
    /// What each statement adds to `statements.tsv`.
    placed: Vec<Placed>,
    /// Files of entries that are not there or not what they were.
    unread: usize,
    findings: Vec<Finding>,
}

impl Checker {
    /// Derives the log again from its entries, and checks the statement of each entry that has one here.
    fn entries(&mut self, files: &mut Files, log: &Log, pins: &Pins, observer: Observer<'_>) -> Vec<Node> {
        let size = log.checkpoint.size;
        let (mut edge, mut nodes, mut findings) = (Edge::empty(), Vec::new(), Vec::new());
        let mut tiles: BTreeSet<String> = tile::tiles_of(size).into_iter().map(|id| id.path()).collect();
        for id in tile::entry_bundles_of(size) {
            let first = id.index * u64::from(TILE_WIDTH);
            match entry_bundle(files, id) {
                Ok(entries) => {
                    let hashes: Vec<_> = entries.iter().map(|entry| tree::leaf_hash(entry)).collect();
                    for write in edge.append(&hashes) {
                        // Partial tiles appear on the way that the final log does not have.
                        let name = write.id.path();
                        if tiles.remove(&name) {
                            findings.extend(
                                same(files, &format!("{}/{name}", contents::LOG), &write.bytes).err(),
                            );
                        }
                    }
                    for (position, entry) in (first..).zip(&entries) {
                        nodes.extend(self.entry(files, log, pins, (position, entry)));
                    }
                }
                Err(failure) => {
                    self.unread += 1;
                    findings.push(failure);
                }
            }
            observer(Event::Advanced { by: id.width.into() });
        }
        if findings.is_empty() && (edge.size(), edge.root()) != (size, log.checkpoint.root) {
            let text = "the entries do not have the root that the checkpoint says";
            findings.push(Failure::new(Code::Tampered, text));
        }
        let derived =
            format!("{size} entries re-hashed, root {}, signed by {}", edge.root().short(), log.key.name());
        let node = match findings.is_empty() {
            true => Node::new("tree", derived),
            false => Node { ok: false, ..Node::new("tree", "does not follow from the entries") },
        };
        findings.into_iter().for_each(|failure| self.finding(failure));
        nodes.insert(0, node);
        nodes
    }

    /// The link of one entry, if its statement is here.
    fn entry(
        &mut self,
        files: &mut Files,
        log: &Log,
        pins: &Pins,
        (position, entry): (u64, &[u8]),
    ) -> Option<Node> {
        let label = format!("entry {position}");
        let leaf = match Leaf::from_bytes(entry) {
            Ok(leaf) => leaf,
            Err(error) => return Some(self.broken(&label, broken("entry", &error.into()))),
        };
        let pinned = pins.key.as_ref().filter(|_| position == 0);
        let stranger = pinned.filter(|key| **key != leaf.key);
        if let Some(key) = stranger {
            let text =
                format!("the log begins with the builder key {}, not with {}", leaf.key.id(), key.id());
            self.finding(Failure::new(Code::UntrustedKey, text));
        }
        let Some(name) = files.bundle_at(position) else {
            if position > 0 {
                return None;
            }
            let text = "the statement of the first entry is missing, which the keyring begins with";
            return Some(self.broken(&label, Failure::new(Code::NotVerified, text)));
        };
        Some(match self.statement(files, log, &leaf, (position, &name)) {
            Ok(node) => Node { ok: stranger.is_none(), ..node },
            Err(failure) => self.broken(&format!("{label}, {name}"), failure),
        })
    }

    fn statement(
        &mut self,
        files: &mut Files,
        log: &Log,
        leaf: &Leaf,
        (position, name): (u64, &str),
    ) -> Result<Node, Failure> {
        let bytes = files.take(name, BUNDLE_LIMIT_BYTES)?;
        let bundle = Bundle::from_bytes(&bytes).map_err(|e| broken(name, &e))?;
        let verified = bundle::verify(&bundle, &leaf.key, std::slice::from_ref(&log.key), None);
        let verified = verified.map_err(|e| broken(name, &e))?;
        let is_here = bundle.entry.as_ref().is_some_and(|entry| {
            entry.index == position
                && entry.leaf == leaf.to_bytes()
                && entry.checkpoint.as_bytes() == log.note
        });
        if !is_here {
            return Err(changed(name, "is not about this entry of this log under this checkpoint"));
        }
        // Not every byte of the format is authenticated: the hint of the key is not.
        if Bundle::make(bundle.envelope, &leaf.key, bundle.entry).to_bytes() != bytes {
            return Err(changed(name, "is not in the form of an export"));
        }
        let statement = Statement::from_bytes(&verified.payload).map_err(|e| changed(name, &chain(&e)))?;
        let digest = leaf.data;
        let placed = Placed { position, digest, signer: leaf.key.clone(), statement };
        if placed.file() != name {
            return Err(changed(name, &format!("should be called `{}`", placed.file())));
        }
        let signer = leaf.key.id();
        if let Predicate::Key(_) = &placed.statement.predicate {
            self.keys_found.push(position, &leaf.hash());
        }
        let admitted = self.admit(&placed, &signer);
        let statement = &placed.statement;
        let in_place = match admitted {
            Ok(_) => self.series.visit(statement, digest),
            Err(_) => Ok(()),
        };
        let about = statement.subject.first().map_or("", |subject| subject.name.as_str());
        let label = format!("entry {position}, {} {}", statement.predicate.noun(), digest.short());
        self.references.extend(contents::required_by(statement).into_iter().map(|on| (position, on)));
        self.statements.insert(digest);
        let about = about.to_owned();
        self.placed.push(placed);
        let holder = admitted?;
        in_place.map_err(|e| Failure::new(Code::Incomplete, chain(&e)))?;
        Ok(Node::new(label, format!("about {about}, signed by {holder}, included under the checkpoint")))
    }

    /// Whose key signed, if it counted at this position.
    fn admit(&mut self, placed: &Placed, signer: &Digest) -> Result<String, Failure> {
        let Placed { position, statement, .. } = placed;
        let refused = |e: lineal_proof::keyring::KeyringError| {
            Failure::new(keyring_code(&e), format!("statement {}: {}", placed.digest, chain(&e)))
        };
        if *position == 0 {
            self.start = contents::start_of(statement);
        }
        self.keyring.apply_statement(*position, signer, statement).map_err(refused)?;
        // A key record's signer was judged as it was applied; it may be the very key that it ends.
        if let Predicate::Key(_) = &statement.predicate {
            let entry = self.keyring.get(signer);
            return Ok(entry.map_or_else(String::new, |key| format!("{} ({})", key.holder, key.role)));
        }
        let key = self.keyring.admits(signer, &statement.predicate, *position).map_err(refused)?;
        Ok(format!("{} ({})", key.holder, key.role))
    }

    /// Everything that follows from log and statements is compared with what is there.
    fn derived(&mut self, files: &mut Files, log: &Log) -> Node {
        let before = self.findings.len();
        let list: String = self.placed.iter().map(|item| item.line(&self.keyring)).collect();
        let mut expected = vec![(contents::STATEMENTS.to_owned(), list.into_bytes())];
        if let Some(start) = self.start {
            expected.push((contents::TRUSTED_ROOT.to_owned(), bundle::trusted_root(&log.key, start)));
        }
        match contents::key_files(&self.keyring) {
            Ok(files) => expected.extend(files),
            Err(failure) => self.finding(failure),
        }
        for (name, bytes) in &expected {
            if let Err(failure) = same(files, name, bytes) {
                self.finding(failure);
            }
        }
        let recorded = self.keyring.log_keys();
        let is_recorded = log.keys.later().len() == recorded.len()
            && log
                .keys
                .later()
                .iter()
                .zip(recorded)
                .all(|((from, key), record)| *from == record.position + 1 && *key == record.key);
        let first = log.keys.all().next().map(|key| *key.log_id().as_bytes());
        let begins = recorded.first().is_none_or(|next| Some(*next.replaces.as_bytes()) == first);
        if !is_recorded || !begins {
            let text = format!("`{}` names other keys than the log introduced", contents::LOG_KEYS);
            self.finding(Failure::new(Code::UntrustedKey, text));
        }
        let keys = self.keyring.entries();
        let revoked = keys.iter().filter(|key| key.revoked_at.is_some()).count();
        let detail = format!("{} keys, {revoked} of them revoked, as the log says", keys.len());
        Node { ok: self.findings.len() == before, ..Node::new("keyring", detail) }
    }

    /// The key statements that are here are those that the checkpoint counts; nothing if it counts none.
    fn key_statements(&mut self, log: &Log, complete: bool) -> Option<Node> {
        let signed = log.keys_signed.as_ref()?;
        Some(match self.keys_found.check(signed, complete) {
            Ok(()) => Node::new("key statements", format!("{}, as the checkpoint says", signed.count())),
            Err(error) => {
                let failure = broken(contents::CHECKPOINT, &error);
                let node = Node { ok: false, ..Node::new("key statements", failure.message.clone()) };
                // First: it may be why others do not count.
                self.findings.insert(0, Finding { code: failure.code, message: failure.message });
                node
            }
        })
    }

    /// What a statement rests on must be here too.
    fn references(&mut self) -> Node {
        let missing = self.references.iter().filter(|(_, digest)| !self.statements.contains(digest));
        let missing: Vec<Failure> = missing
            .map(|(position, digest)| {
                let text = format!("entry {position} rests on statement {digest}, which is not here");
                Failure::new(Code::NotVerified, text)
            })
            .collect();
        let node =
            Node::new("references", format!("{} statements are named by others", self.references.len()));
        let ok = missing.is_empty();
        missing.into_iter().for_each(|failure| self.finding(failure));
        Node { ok, ..node }
    }

    /// Nothing else is in the folder. The file for people is not judged but for its digest.
    fn rest(&mut self, files: &Files) -> Node {
        let before = self.findings.len();
        for (name, found) in &files.found {
            let listed = files.sums.get(name);
            let digest = found.digests(None).ok().and_then(|digests| digests.first().copied());
            let text = match (name == contents::README, listed.is_some() && digest.as_ref() == listed) {
                (true, true) => continue,
                (true, false) => format!("`{name}` was changed"),
                (false, _) => format!("`{name}` is no part of this evidence"),
            };
            self.finding(Failure::new(Code::Tampered, text));
        }
        for name in files.sums.keys().filter(|name| !files.found.contains_key(*name)) {
            self.finding(Failure::new(Code::NotVerified, format!("`{name}` is missing")));
        }
        Node { ok: self.findings.len() == before, ..Node::new("files", "nothing else, nothing missing") }
    }

    fn finding(&mut self, failure: Failure) {
        self.findings.push(Finding { code: failure.code, message: failure.message });
    }

    fn broken(&mut self, label: &str, failure: Failure) -> Node {
        let node = Node { ok: false, ..Node::new(label, failure.message.clone()) };
        self.finding(failure);
        node
    }
}

fn entry_bundle(files: &mut Files, id: EntryBundleId) -> Result<Vec<Vec<u8>>, Failure> {
    let name = format!("{}/{}", contents::LOG, id.path());
    let bytes = files.take(&name, ENTRIES_LIMIT_BYTES)?;
    let entries = tile::decode_bundle(&bytes, id.width).map_err(|e| changed(&name, &chain(&e)))?;
    Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
}

fn same(files: &mut Files, name: &str, expected: &[u8]) -> Result<(), Failure> {
    if files.take(name, expected.len().max(TILE_LIMIT_BYTES))? == expected {
        Ok(())
    } else {
        Err(changed(name, "does not follow from the log and its statements"))
    }
}

fn changed(name: &str, reason: &str) -> Failure {
    Failure::new(Code::Tampered, format!("`{name}` {reason}"))
}

fn broken(name: &str, error: &VerifyError) -> Failure {
    Failure::new(evidence_code(error), format!("`{name}`: {}", chain(error)))
}
