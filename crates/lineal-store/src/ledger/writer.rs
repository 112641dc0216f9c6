//! Appending, and repair of what a crash left.
//!
//! An append is one durable record in the journal (the commit point), then files that follow from it, then the
//! checkpoint. The tree's new root is signed only after the record is durable, so that no two checkpoints of one size
//! can differ.
//!
//! [`Writer::load`] brings files and checkpoint to the journal's end. It runs before the first append of a process,
//! after any error, when another process has appended, and after a restart of the machine. It signs nothing that does
//! not verify: it starts from a signed checkpoint, and every record that was not published yet has good signatures.
//!
//! What is different in a bucket, where the lock does not keep other machines away, is in [`shared`].

mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lineal_proof::tile::{self, TILE_WIDTH};
use lineal_proof::tree;
use lineal_proof::{Checkpoint, Edge, EntryBundleId, KeyChain, Leaf, TileId, TileWrite};

use super::layout::{self, WIDTH};
use super::{Head, Ledger, LedgerError, Sign, TILE_LIMIT_BYTES};
use crate::disk;
use crate::journal::{JournalContent, JournalEnd, JournalError, JournalRecord, JournalStart};
use lineal_blob::files;

/// Largest file with the mark of the last writer.
const MARK_LIMIT_BYTES: u64 = 256;

/// What is appended: a leaf and the signed bytes that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What enters the tree.
    pub leaf: Leaf,
    /// The statement's DSSE encoding.
    pub statement: Vec<u8>,
}

/// The right edge of the log in memory. Use it while holding the store's lock only.
#[derive(Debug, Default)]
pub struct Writer {
    state: Option<State>,
    tidying: bool,
}

/// What the last writer left; another process that finds something else loads again.
#[derive(Debug)]
struct State {
    edge: Edge,
    /// The key statements so far; `None` for a ledger whose checkpoints do not say it.
    keys: Option<KeyChain>,
    /// Entries of the bundle that is not full.
    bundle: Vec<Vec<u8>>,
    /// Bytes of the pack that is not full.
    pack_bytes: u64,
    /// The published checkpoint; empty for an empty ledger.
    note: Vec<u8>,
    end: JournalEnd,
    /// Folders of partial tiles and bundles that full ones have replaced. They go when those are durable.
    replaced: BTreeSet<PathBuf>,
}

/// What follows from records: files by path, and the new ends of packs.
#[derive(Default)]
struct Consequences {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// By number: where the bytes go, and the bytes.
    packs: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl Writer {
    /// Appends `entries` and publishes a checkpoint. When this returns, they are durable.
    ///
    /// On error it is not known whether the entries are in the ledger: the disk may have stored them and said it had
    /// not. If it has, the next append publishes them first.
    pub fn append(
        &mut self,
        ledger: &Ledger,
        sign: &Sign<'_>,
        entries: &[LedgerEntry],
    ) -> Result<Head, LedgerError> {
        self.append_at(ledger, sign, entries, None)
    }

    /// [`Writer::append`] of entries that were made for the place `position`. If others have appended since, nothing is
    /// written, and [`JournalError::Overtaken`] says so.
    pub fn append_at(
        &mut self,
        ledger: &Ledger,
        sign: &Sign<'_>,
        entries: &[LedgerEntry],
        position: Option<u64>,
    ) -> Result<Head, LedgerError> {
        // On any error the state is gone, and the next call finds out what is on the disk.
        let mut state = match self.state.take() {
            Some(state) if ledger.journal.ends_at(state.end)? => state,
            Some(_) | None => State::load(ledger, sign)?,
        };
        if entries.is_empty() {
            return Err(LedgerError::Contradiction("an append of nothing".to_owned()));
        }
        if position.is_some_and(|position| position != state.edge.size()) {
            self.state = Some(state);
            return Err(JournalError::Overtaken.into());
        }
        let head = state.append(ledger, sign, entries)?;
        self.state = Some(state);
        Ok(head)
    }

    /// Brings files and checkpoint to where the journal ends.
    pub fn load(&mut self, ledger: &Ledger, sign: &Sign<'_>) -> Result<(), LedgerError> {
        self.state = None;
        self.state = Some(State::load(ledger, sign)?);
        Ok(())
    }

    /// What can be tidied up now: `None` while nothing can, or while it is done already.
    ///
    /// The slow part, [`Tidying::sync`], needs no lock; [`Writer::remove`] ends it.
    pub fn begin_tidying(&mut self, ledger: &Ledger) -> Result<Option<Tidying>, LedgerError> {
        let Some(state) = self.state.as_mut().filter(|_| !self.tidying) else { return Ok(None) };
        // In a bucket everything is durable, and the next command would not know what is replaced.
        let can_replace = ledger.disk.bucket().is_some() && !state.replaced.is_empty();
        if !can_replace && !ledger.journal.has_closed(state.end)? {
            return Ok(None);
        }
        self.tidying = true;
        Ok(Some(Tidying { before: state.end.segment, replaced: std::mem::take(&mut state.replaced) }))
    }

    /// Removes the journal's closed segments and the partial tiles that are replaced, if `synced` says that what
    /// follows from them is durable.
    pub fn remove(
        &mut self,
        ledger: &Ledger,
        tidying: Tidying,
        synced: Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        self.tidying = false;
        let removed = synced.and_then(|()| tidying.remove(ledger));
        if removed.is_err() {
            // The next append makes everything again from the journal, and then finds what is left to remove.
            self.state = None;
            ledger.disk.remove(&ledger.mark_path())?;
        }
        removed
    }
}

/// Closed segments and replaced files on their way out.
#[derive(Debug)]
pub struct Tidying {
    before: u64,
    replaced: BTreeSet<PathBuf>,
}

impl Tidying {
    /// Makes durable what follows from the journal. Slow: it waits for the disk.
    pub fn sync(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        Ok(ledger.disk.sync_all(&ledger.layout.log)?)
    }

    fn remove(self, ledger: &Ledger) -> Result<(), LedgerError> {
        // The segments last: as long as they are there, the rest is found again.
        for folder in &self.replaced {
            for name in ledger.disk.list(folder)? {
                ledger.disk.remove(&folder.join(name))?;
            }
            ledger.disk.remove_directory(folder)?;
        }
        Ok(ledger.journal.remove_before(self.before)?)
    }
}

impl State {
    fn load(ledger: &Ledger, sign: &Sign<'_>) -> Result<Self, LedgerError> {
        match ledger.disk.bucket() {
            Some(_) => shared::settled(ledger, &|| Self::load_once(ledger, sign)),
            None => Self::load_once(ledger, sign),
        }
    }

    fn load_once(ledger: &Ledger, sign: &Sign<'_>) -> Result<Self, LedgerError> {
        // Files are torn by a stop of the machine only; otherwise one that differs was changed by somebody.
        let stopped = !ledger.was_marked_in_this_boot()?;
        // First the checkpoint: if others append meanwhile, the journal is not behind it.
        let head = ledger.head();
        let size = head.as_ref().ok().map(|head| head.as_ref().map_or(0, |head| head.size));
        let content = ledger.journal.read_back_to(size)?;
        let published = match head {
            Err(LedgerError::Checkpoint { .. }) if stopped && content.start.is_some() => None,
            head => head?,
        };
        let published_size = published.as_ref().map_or(0, |head| head.size);
        let (base, keys) = base(ledger, &content, published.as_ref())?;
        let last = content.records.last().map_or(base, JournalRecord::after);
        // Nothing is published before its record is durable, and closed segments go after their files are.
        let whole = published_size <= last.size && (published.is_none() || published_size >= base.size);
        if !whole || published.is_none() && !stopped && base.size > 0 {
            return Err(LedgerError::Contradiction(format!(
                "the checkpoint is at size {published_size}, the journal goes from {} to {}: one of them is of another time",
                base.size, last.size
            )));
        }
        let note = published.as_ref().map_or_else(|| content.note.clone(), |head| head.note.clone());
        let mut state = Self { keys, ..Self::at(ledger, base, note, content.end)? };
        state.compare_keys(published.as_ref())?;
        for record in &content.records {
            let size = record.after().size;
            if size > published_size {
                check_signatures(record)?;
            }
            let consequences = state.extend(ledger, record)?;
            if published.as_ref().is_some_and(|head| head.size == size && head.root != record.root) {
                return Err(differs(size));
            }
            state.compare_keys(published.as_ref())?;
            if size > published_size || stopped {
                // Also what looks right: after an error of the disk it may be in the machine's memory only.
                consequences.write(ledger)?;
            } else if size == published_size {
                consequences.compare(ledger)?;
            }
        }
        state.find_pack_end(ledger)?;
        ledger.journal.cut(content.end)?;
        if last.size > published_size {
            ledger.journal.secure(&content)?;
            state.publish(ledger, sign)?;
        } else if content.end.segment > 0 && !ledger.is_shared() {
            ledger.mark(content.end, last.size)?;
        }
        Ok(state)
    }

    /// The edge of the log at `base`, whose files were durable before the journal's first segment began.
    fn at(ledger: &Ledger, base: JournalStart, note: Vec<u8>, end: JournalEnd) -> Result<Self, LedgerError> {
        let edge = Edge::load(base.size, |id| ledger.read_tile(id))?;
        // A changed tile must never be signed over.
        if edge.root() != base.root {
            return Err(differs(base.size));
        }
        let (index, width) = (base.size / WIDTH, (base.size % WIDTH) as u16);
        let mut bundle = Vec::new();
        if width > 0 {
            ledger.for_each_entry(index * WIDTH, base.size, base.size, &mut |_, entry| {
                bundle.push(entry.to_vec());
                Ok(())
            })?;
            // Nor an entry that is not the one in the tree: it would be copied into every later bundle.
            let hashes: Vec<_> = bundle.iter().map(|entry| tree::leaf_hash(entry)).collect();
            if tile::encode_tile(&hashes) != ledger.read_tile(TileId { level: 0, index, width })? {
                let first = index * WIDTH;
                let message = format!("the entries from {first} on are not those of the tree");
                return Err(LedgerError::Contradiction(message));
            }
        }
        let pack = ledger.disk.read(&ledger.layout.pack(index), TILE_LIMIT_BYTES)?;
        let pack_bytes = layout::pack_length(&pack.unwrap_or_default(), bundle.len())
            .ok_or(LedgerError::StatementMissing { position: base.size.saturating_sub(1) })?;
        Ok(Self { edge, keys: None, bundle, pack_bytes, note, end, replaced: BTreeSet::new() })
    }

    /// Refuses to go on from a checkpoint that was signed over other key statements than these entries have.
    fn compare_keys(&self, published: Option<&Head>) -> Result<(), LedgerError> {
        let Some(head) = published.filter(|head| head.size == self.edge.size()) else { return Ok(()) };
        match (&head.keys, &self.keys) {
            (Some(signed), Some(found)) => found
                .check(signed, true)
                .map_err(|error| LedgerError::Contradiction(format!("at {} entries, {error}", head.size))),
            (_, None) | (None, _) => Ok(()),
        }
    }

    /// Finds where the next statement goes. Refuses to write behind statements that are not there; one that was changed
    /// stops nothing, because no other one depends on it.
    fn find_pack_end(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        let first = self.edge.size() - self.bundle.len() as u64;
        let pack =
            ledger.disk.read(&ledger.layout.pack(first / WIDTH), TILE_LIMIT_BYTES)?.unwrap_or_default();
        let position = first + layout::decode_pack(&pack).len() as u64;
        self.pack_bytes = layout::pack_length(&pack, self.bundle.len())
            .ok_or(LedgerError::StatementMissing { position })?;
        Ok(())
    }

    fn append(
        &mut self,
        ledger: &Ledger,
        sign: &Sign<'_>,
        entries: &[LedgerEntry],
    ) -> Result<Head, LedgerError> {
        let before = JournalStart { size: self.edge.size(), root: self.edge.root() };
        let bytes: Vec<Vec<u8>> = entries.iter().map(|entry| entry.leaf.to_bytes()).collect();
        let hashes: Vec<_> = bytes.iter().map(|entry| tree::leaf_hash(entry)).collect();
        let tiles = self.edge.append(&hashes);
        let statements = entries.iter().map(|entry| entry.statement.clone()).collect();
        let record = JournalRecord { before, root: self.edge.root(), entries: bytes, statements };
        let consequences = self.follow(ledger, &record, tiles)?;
        self.end = ledger.journal.append(self.end, &record, &self.note)?;
        if ledger.disk.bucket().is_some() {
            self.confirm(ledger, &record)?;
        }
        consequences.write(ledger)?;
        self.publish(ledger, sign)
    }

    /// Takes a record of the journal into the state.
    fn extend(&mut self, ledger: &Ledger, record: &JournalRecord) -> Result<Consequences, LedgerError> {
        let hashes: Vec<_> = record.entries.iter().map(|entry| tree::leaf_hash(entry)).collect();
        let tiles = self.edge.append(&hashes);
        if self.edge.root() != record.root {
            return Err(differs(self.edge.size()));
        }
        self.follow(ledger, record, tiles)
    }

    /// The files that follow from a record. The edge is already beyond it.
    fn follow(
        &mut self,
        ledger: &Ledger,
        record: &JournalRecord,
        tiles: Vec<TileWrite>,
    ) -> Result<Consequences, LedgerError> {
        let mut consequences = Consequences::default();
        for write in tiles {
            let path = ledger.layout.tile(write.id);
            if !write.id.is_partial() {
                self.replaced.insert(path.with_extension("p"));
            }
            consequences.files.insert(path, write.bytes);
        }
        let mut index = record.before.size / WIDTH;
        let positions = record.before.size..;
        for (position, (entry, statement)) in positions.zip(record.entries.iter().zip(&record.statements)) {
            if let Some(keys) = &mut self.keys {
                keys.push_if_key(position, entry, statement);
            }
            self.bundle.push(entry.clone());
            let (_, pack) = consequences.packs.entry(index).or_insert_with(|| (self.pack_bytes, Vec::new()));
            let length = pack.len();
            layout::encode_statement(statement, pack);
            self.pack_bytes += (pack.len() - length) as u64;
            if self.bundle.len() == usize::from(TILE_WIDTH) {
                let path = self.bundle_file(ledger, index, &mut consequences)?;
                self.replaced.insert(path.with_extension("p"));
                self.bundle.clear();
                self.pack_bytes = 0;
                index += 1;
            }
        }
        if !self.bundle.is_empty() {
            self.bundle_file(ledger, index, &mut consequences)?;
        }
        Ok(consequences)
    }

    fn bundle_file(
        &self,
        ledger: &Ledger,
        index: u64,
        consequences: &mut Consequences,
    ) -> Result<PathBuf, LedgerError> {
        let path = ledger.layout.bundle(EntryBundleId { index, width: self.bundle.len() as u16 });
        let slices: Vec<&[u8]> = self.bundle.iter().map(Vec::as_slice).collect();
        let bytes = tile::encode_bundle(&slices)
            .map_err(|source| LedgerError::Tile { path: path.clone(), source })?;
        consequences.files.insert(path.clone(), bytes);
        Ok(path)
    }

    /// Signs the state and publishes it.
    fn publish(&mut self, ledger: &Ledger, sign: &Sign<'_>) -> Result<Head, LedgerError> {
        let (size, root) = (self.edge.size(), self.edge.root());
        let mut value = Checkpoint::new(ledger.verifier().name(), size, root);
        value.extensions.extend(self.keys.map(|keys| keys.to_line()));
        let note = sign(&value).map_err(|source| ledger.checkpoint_error(source))?;
        match ledger.disk.bucket() {
            Some(bucket) => {
                self.exchange_checkpoint(ledger, bucket, &note)?;
                ledger.remember(JournalStart { size, root })?;
            }
            None => {
                disk::replace(&*ledger.disk, &ledger.layout.checkpoint(), &note)?;
                self.note.clone_from(&note);
                ledger.mark(self.end, size)?;
            }
        }
        Ok(Head { size, root, keys: self.keys, note })
    }
}

impl Consequences {
    fn write(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        for (path, bytes) in &self.files {
            write(ledger, path, bytes)?;
        }
        for (index, (offset, bytes)) in &self.packs {
            write_pack(ledger, &ledger.layout.pack(*index), *offset, bytes)?;
        }
        Ok(())
    }

    /// Refuses to go on if one of the files of the published checkpoint is not as it was written.
    fn compare(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        for (path, bytes) in &self.files {
            if ledger.disk.read(path, TILE_LIMIT_BYTES)?.is_some_and(|found| found != *bytes) {
                return Err(LedgerError::Contradiction(format!(
                    "`{}` does not follow from the journal: it was changed",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

fn write(ledger: &Ledger, path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    ledger.disk.create_directory(files::parent(path))?;
    Ok(ledger.disk.write(path, bytes)?)
}

fn write_pack(ledger: &Ledger, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), LedgerError> {
    if offset == 0 {
        ledger.disk.create_directory(files::parent(path))?;
    }
    Ok(ledger.disk.write_tail(path, offset, bytes)?)
}

/// Where replaying starts, and the key statements up to there. A journal's start counts only with the log's signature
/// on it.
fn base(
    ledger: &Ledger,
    content: &JournalContent,
    published: Option<&Head>,
) -> Result<(JournalStart, Option<KeyChain>), LedgerError> {
    let empty = JournalStart { size: 0, root: tree::empty_root() };
    let Some(start) = content.start else {
        return Ok(published.map_or((empty, Some(KeyChain::default())), |head| {
            (JournalStart { size: head.size, root: head.root }, head.keys)
        }));
    };
    if start == empty {
        return Ok((start, Some(KeyChain::default())));
    }
    let signed = ledger.opened(content.note.clone(), ledger.layout.checkpoint())?;
    if (signed.size, signed.root) != (start.size, start.root) {
        return Err(differs(start.size));
    }
    Ok((start, signed.keys))
}

/// Refuses entries that nobody signed: the journal itself is not signed.
fn check_signatures(record: &JournalRecord) -> Result<(), LedgerError> {
    let positions = record.before.size..;
    for (position, (entry, statement)) in positions.zip(record.entries.iter().zip(&record.statements)) {
        let leaf = Leaf::from_bytes(entry).map_err(|source| LedgerError::Leaf { position, source })?;
        leaf.verify(statement).map_err(|source| LedgerError::Leaf { position, source })?;
    }
    Ok(())
}

/// The mark says in which start of the machine files and checkpoint were last brought to the journal's end, and where
/// that is. What was written, but not synced, before the machine stopped may be lost.
impl Ledger {
    /// Whether files or checkpoint may be behind the journal. Fails if they are and no crash explains it.
    pub fn needs_repair(&self) -> Result<bool, LedgerError> {
        if self.disk.bucket().is_some() {
            return shared::settled(self, &|| shared::is_behind(self));
        }
        let Some((end, size)) = self.read_mark()? else {
            // Also when nothing was ever appended, and then there is nothing to repair.
            return Ok(!self.journal.ends_at(JournalEnd { segment: 0, offset: 0, records: 0 })?);
        };
        if !self.journal.ends_at(end)? {
            return Ok(true);
        }
        let found = self.head()?.map_or(0, |head| head.size);
        // Another process may just have appended, and marked it since.
        if found == size || self.read_mark()? != Some((end, size)) {
            return Ok(false);
        }
        if found == 0 {
            return Err(LedgerError::Missing(self.layout.checkpoint()));
        }
        Err(LedgerError::Contradiction(format!(
            "the checkpoint says {found} entries, {size} were published: one of an earlier time was put back"
        )))
    }

    fn was_marked_in_this_boot(&self) -> Result<bool, LedgerError> {
        // In a bucket nothing is ever torn.
        Ok(self.disk.bucket().is_some() || self.read_mark()?.is_some())
    }

    /// The journal's end and the log's size that were marked in this start of the machine.
    fn read_mark(&self) -> Result<Option<(JournalEnd, u64)>, LedgerError> {
        let mark = self.disk.read(&self.mark_path(), MARK_LIMIT_BYTES)?.unwrap_or_default();
        let mark = String::from_utf8_lossy(&mark);
        let mut fields = mark.split_whitespace();
        if self.boot.is_empty() || fields.next() != Some(self.boot.as_str()) {
            return Ok(None);
        }
        let mut number = || fields.next().and_then(|field| field.parse().ok());
        let (Some(segment), Some(offset), Some(size)) = (number(), number(), number()) else {
            return Ok(None);
        };
        Ok(Some((JournalEnd { segment, offset, records: 0 }, size)))
    }

    fn mark(&self, end: JournalEnd, size: u64) -> Result<(), LedgerError> {
        let text = format!("{} {} {} {size}\n", self.boot, end.segment, end.offset);
        Ok(self.disk.write(&self.mark_path(), text.as_bytes())?)
    }

    fn mark_path(&self) -> PathBuf {
        self.layout.journal.join("mark")
    }
}

fn differs(size: u64) -> LedgerError {
    LedgerError::Contradiction(format!(
        "the tiles at the right edge do not have the root of the checkpoint at size {size}"
    ))
}

#[cfg(test)]
mod tests;
