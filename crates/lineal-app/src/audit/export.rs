//! Writing an audit folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lineal_blob::files::{self, Context};
use lineal_facts::manifest::FILE_LIMIT;
use lineal_facts::{Digest, Predicate, Statement};
use lineal_proof::bundle::{self, LogEntry};
use lineal_proof::envelope::parse_pae;
use lineal_proof::{Bundle, Envelope, Keyring, Leaf, VerifierKey, tile};
use lineal_store::Ledger;
use lineal_store::ledger::{Head, Published};
use serde::Serialize;

use super::contents::{self, ENTRIES_LIMIT, Placed};
use super::readme;
use crate::failure::{Code, Failure, chain};
use crate::progress::{Event, Observer};
use crate::project::Project;
use crate::verify::{self, Scope, VerifySubject, WitnessDemand};

/// Entries that are read at once.
const CHUNK: u64 = tile::TILE_WIDTH as u64;
/// Others shall be able to read the folder.
const MODE: u32 = 0o755;

/// What goes into the folder.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// `model/2`, `run-...`, `dataset@tag` or `sha256:...`; every statement if empty.
    pub subjects: Vec<String>,
}

/// What was written.
#[derive(Debug, Serialize)]
pub struct Exported {
    /// The folder.
    pub folder: PathBuf,
    /// Name of the log.
    pub origin: String,
    /// The key that signed the checkpoint: what others should get from you another way too.
    pub log_key: String,
    /// Entries of the log.
    pub entries: u64,
    /// Statements in the folder.
    pub statements: u64,
    /// Public keys in the folder.
    pub keys: usize,
}

/// Writes the audit folder `target`, which must be new or empty. The same ledger and options give the same bytes.
///
/// Changed bytes are not exported: the failure says what was found. Statements whose key does not count are, if
/// everything is asked for: they are evidence of what happened.
pub async fn export(
    project: &Project,
    target: &Path,
    options: &ExportOptions,
    observer: Observer<'_>,
) -> Result<Exported, Failure> {
    refuse_used(target)?;
    let selected = select(project, options).await?;
    let absolute = std::path::absolute(target).context("find", target)?;
    let parent = files::parent(&absolute);
    files::create_directory(parent)?;
    // A half-written folder must not look like a whole one: it is made aside and renamed.
    let staging = tempfile::Builder::new().prefix(".lineal-audit-").tempdir_in(parent);
    let staging = staging.context("create a directory in", parent)?;
    let mut writer = Writer::begin(project, staging.path())?;
    observer(Event::Began { what: "exporting".to_owned(), total: writer.head.size });
    let written = writer.statements(selected.as_ref(), observer).await;
    observer(Event::Ended);
    let statements = written?;
    writer.write(contents::README, readme::README.as_bytes())?;
    writer.finish()?;
    let exported = Exported {
        folder: target.to_owned(),
        origin: writer.log_key.name().to_owned(),
        log_key: writer.log_key.to_string(),
        entries: writer.head.size,
        statements,
        keys: writer.keyring.entries().len(),
    };
    fs::set_permissions(staging.path(), Permissions::from_mode(MODE)).context("open", staging.path())?;
    // Renaming replaces an empty directory, and nothing else.
    fs::rename(staging.path(), &absolute).context("rename to", target)?;
    let _ = staging.keep();
    files::sync_directory(parent)?;
    Ok(exported)
}

fn refuse_used(target: &Path) -> Result<(), Failure> {
    let used = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => target.symlink_metadata().is_ok(),
    };
    if used {
        let text = format!("`{}` is there already; name a folder that is new or empty", target.display());
        return Err(Failure::new(Code::Taken, text));
    }
    Ok(())
}

/// The statements behind the subjects, and what these rest on; `None`: all.
async fn select(project: &Project, options: &ExportOptions) -> Result<Option<BTreeSet<Digest>>, Failure> {
    if options.subjects.is_empty() {
        return Ok(None);
    }
    let mut pending = BTreeSet::new();
    for text in &options.subjects {
        let subject = VerifySubject::parse(text)?;
        // Which witnesses must have seen the log is for the reader of the folder to say.
        let (verification, statements) =
            verify::evidence(project, &subject, &WitnessDemand::default(), Scope::Subject).await?;
        if let Some(failure) = verification.failure() {
            return Err(failure);
        }
        pending.extend(statements);
    }
    let mut selected = BTreeSet::new();
    while let Some(digest) = pending.pop_first() {
        if selected.insert(digest) {
            let statement = parse(&project.store.signed_bytes(&digest).await?)
                .map_err(|reason| Failure::new(Code::Tampered, format!("statement {digest}: {reason}")))?;
            pending.extend(contents::required_by(&statement).into_iter().filter(|d| !selected.contains(d)));
        }
    }
    Ok(Some(selected))
}

fn parse(pae: &[u8]) -> Result<Statement, String> {
    let (_, payload) = parse_pae(pae).map_err(|e| chain(&e))?;
    Statement::from_bytes(payload).map_err(|e| chain(&e))
}

struct Writer<'a> {
    project: &'a Project,
    folder: &'a Path,
    /// The copy in the folder, which nobody appends to.
    log: Ledger,
    head: Head,
    /// The key that signed the checkpoint.
    log_key: VerifierKey,
    keyring: Keyring,
    sums: BTreeMap<String, Digest>,
}

impl<'a> Writer<'a> {
    /// Copies the log and checks the copy.
    fn begin(project: &'a Project, folder: &'a Path) -> Result<Self, Failure> {
        let source = project.store.ledger();
        let head = source.head()?.ok_or_else(|| Failure::new(Code::NotFound, "the ledger is empty"))?;
        if head.size > ENTRIES_LIMIT {
            let text = format!("the ledger has {} entries; an audit folder holds {ENTRIES_LIMIT}", head.size);
            return Err(Failure::new(Code::Usage, text));
        }
        let log_keys = source.log_keys().get();
        let log = Ledger::new(folder, source.log_keys().clone());
        let log_key = log_keys.at(head.size).clone();
        let (keyring, sums) = (Keyring::default(), BTreeMap::new());
        let mut writer = Self { project, folder, log, head, log_key, keyring, sums };
        let tiles = tile::tiles_of(writer.head.size).into_iter().map(|id| id.path());
        let bundles = tile::entry_bundles_of(writer.head.size).into_iter().map(|id| id.path());
        for name in tiles.chain(bundles) {
            let found = source.published(&name)?;
            let (Some(Published::Tile(bytes)) | Some(Published::Entries(bytes))) = found else {
                return Err(Failure::new(Code::Tampered, format!("the ledger's file `{name}` is missing")));
            };
            writer.write(&format!("{}/{name}", contents::LOG), &bytes)?;
        }
        let note = writer.head.note.clone();
        writer.write(&format!("{}/{}", contents::LOG, contents::CHECKPOINT), &note)?;
        writer.write(contents::CHECKPOINT, &note)?;
        writer.write(contents::LOG_KEYS, log_keys.to_string().as_bytes())?;
        match writer.log.check(&|_| ()).findings.first() {
            None => Ok(writer),
            Some(finding) => Err(Failure::new(Code::Tampered, finding.message.clone())),
        }
    }

    fn write(&mut self, relative: &str, bytes: &[u8]) -> Result<(), Failure> {
        // More would not be read back.
        if self.sums.len() >= FILE_LIMIT - 1 {
            let text = format!("more than {FILE_LIMIT} files; name what you need with --subject");
            return Err(Failure::new(Code::Usage, text));
        }
        let path = self.folder.join(relative);
        files::create_directory(files::parent(&path))?;
        fs::write(&path, bytes).context("write", &path)?;
        self.sums.insert(relative.to_owned(), Digest::of(bytes));
        Ok(())
    }

    /// Bundles, their list, keys and the trusted root, in one pass over the log. Yields how many statements.
    async fn statements(
        &mut self,
        selected: Option<&BTreeSet<Digest>>,
        observer: Observer<'_>,
    ) -> Result<u64, Failure> {
        let mut lines = Vec::new();
        let mut from = 0;
        while from < self.head.size {
            let to = (from + CHUNK).min(self.head.size);
            let leaves = self.log.leaves(from, to, self.head.size)?;
            for (position, leaf) in (from..to).zip(&leaves) {
                let pae = self.project.store.ledger().statement(position, &leaf.data)?;
                let item = self.placed(position, leaf, &pae)?;
                // Every key record is needed to know which signatures count.
                let is_key = matches!(item.statement.predicate, Predicate::Key(_));
                if is_key || selected.is_none_or(|selected| selected.contains(&leaf.data)) {
                    self.bundle(&item, leaf, &pae)?;
                    lines.push(item.line(&self.keyring));
                }
            }
            observer(Event::Advanced { by: to - from });
            from = to;
        }
        self.write(contents::STATEMENTS, lines.concat().as_bytes())?;
        for (path, bytes) in contents::key_files(&self.keyring)? {
            self.write(&path, &bytes)?;
        }
        Ok(lines.len() as u64)
    }

    /// What the entry says. Its signature holds; if it is about a key, the keyring knows it now.
    fn placed(&mut self, position: u64, leaf: &Leaf, pae: &[u8]) -> Result<Placed, Failure> {
        let fails = |code, reason| Failure::new(code, format!("ledger entry {position}: {reason}"));
        leaf.verify(pae).map_err(|e| fails(Code::Tampered, chain(&e)))?;
        let statement = parse(pae).map_err(|reason| fails(Code::Tampered, reason))?;
        // A record that breaks the rules is evidence too. Whoever checks the folder finds it.
        let _ = self.keyring.apply_statement(position, &leaf.key.id(), &statement);
        if position == 0 {
            let start = contents::start_of(&statement);
            let start = start.ok_or_else(|| fails(Code::Tampered, "not a key record".to_owned()))?;
            self.write(contents::TRUSTED_ROOT, &bundle::trusted_root(&self.log_key, start))?;
        }
        Ok(Placed { position, digest: leaf.data, signer: leaf.key.clone(), statement })
    }

    fn bundle(&mut self, item: &Placed, leaf: &Leaf, pae: &[u8]) -> Result<(), Failure> {
        let internal = |e: &dyn std::error::Error| Failure::caused(Code::Internal, e);
        let path = self.log.inclusion_proof(item.position, self.head.size)?;
        let entry = LogEntry::new((item.position, leaf), path, &self.head.note, &self.log_key);
        let entry = entry.map_err(|e| internal(&e))?;
        let envelope = Envelope::from_pae(pae, leaf.signature.clone()).map_err(|e| internal(&e))?;
        self.write(&item.file(), &Bundle::make(envelope, &leaf.key, Some(entry)).to_bytes())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let sums = contents::sums_file(&self.sums);
        let path = self.folder.join(contents::SUMS);
        fs::write(&path, sums).context("write", &path)?;
        let written = self.sums.keys().map(|name| self.folder.join(name)).chain([path]);
        Ok(files::sync_all(&written.collect::<Vec<_>>())?)
    }
}
