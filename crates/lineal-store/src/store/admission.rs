//! What may enter the ledger: statements that would count, each in its place.

use std::collections::BTreeMap;

use lineal_facts::sequence::{Series, SeriesEnd};
use lineal_facts::{Predicate, Statement};
use lineal_proof::keyring::Keyring;
use lineal_proof::{Hash, tree};

use super::StoreError;
use crate::index::{Index, IndexError};
use crate::ledger::{Head, LedgerEntry};

/// Series that are kept in memory.
const SERIES_LIMIT: usize = 4096;

/// The keys and series of the whole ledger, and of what was admitted to the group that is about to be written.
///
/// It stays good from group to group for as long as nobody else appends: what it has of series comes before what the
/// index has, which may be behind.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    keyring: Keyring,
    ends: BTreeMap<Series, SeriesEnd>,
    /// Entries of the ledger, and of what was admitted.
    size: u64,
    /// Of the ledger.
    root: Hash,
}

impl Admission {
    /// At this end of the ledger, where the keys are these. The index has all of it.
    pub(super) fn at(head: Option<&Head>, keyring: Keyring) -> Self {
        let (size, root) = place(head);
        Self { keyring, ends: BTreeMap::new(), size, root }
    }

    /// Whether this is the end of the ledger that it knows.
    pub(super) fn is_at(&self, head: Option<&Head>) -> bool {
        (self.size, self.root) == place(head)
    }

    /// The keys.
    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Where the next statement goes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What was admitted is in the ledger.
    pub(super) fn publish(&mut self, head: &Head) {
        (self.size, self.root) = place(Some(head));
    }

    /// Whether [`Admission::forget_series`] is due.
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= SERIES_LIMIT
    }

    /// Leaves the series to the index, which has all of the ledger.
    pub(super) fn forget_series(&mut self) {
        self.ends.clear();
    }

    /// Looks up the series of these statements.
    pub(super) async fn load_series<'a>(
        &mut self,
        index: &Index,
        statements: impl Iterator<Item = &'a Statement>,
    ) -> Result<(), IndexError> {
        for member in statements.filter_map(Statement::member) {
            if !self.ends.contains_key(&member.series)
                && let Some(end) = index.series_end(&member.series).await?
            {
                self.ends.insert(member.series, end);
            }
        }
        Ok(())
    }

    /// Admits all of `statements`, or none of them.
    pub(super) fn admit(
        &mut self,
        entries: &[LedgerEntry],
        statements: &[Statement],
    ) -> Result<(), StoreError> {
        let mut after = Changes { keyring: None, ends: Vec::new() };
        for (position, (entry, statement)) in (self.size..).zip(entries.iter().zip(statements)) {
            self.admit_one(position, entry, statement, &mut after)?;
        }
        self.keyring = after.keyring.unwrap_or_else(|| std::mem::take(&mut self.keyring));
        self.ends.extend(after.ends);
        self.size += entries.len() as u64;
        Ok(())
    }

    fn admit_one(
        &self,
        position: u64,
        entry: &LedgerEntry,
        statement: &Statement,
        after: &mut Changes,
    ) -> Result<(), StoreError> {
        let signer = entry.leaf.key.id();
        match &statement.predicate {
            Predicate::Key(_) => {
                let keyring = after.keyring.get_or_insert_with(|| self.keyring.clone());
                keyring.apply_statement(position, &signer, statement)?;
            }
            other => {
                after.keyring.as_ref().unwrap_or(&self.keyring).admits(&signer, other, position)?;
            }
        }
        if let Some(member) = statement.member() {
            let latest = after.ends.iter().rev().find(|(series, _)| *series == member.series);
            let end = latest.map(|(_, end)| end).or_else(|| self.ends.get(&member.series));
            let end = member.follow(end, entry.leaf.data)?;
            after.ends.push((member.series, end));
        }
        Ok(())
    }
}

/// What one caller's statements change. Copies of the keyring are made for key statements only.
struct Changes {
    keyring: Option<Keyring>,
    ends: Vec<(Series, SeriesEnd)>,
}

fn place(head: Option<&Head>) -> (u64, Hash) {
    head.map_or_else(|| (0, tree::empty_root()), |head| (head.size, head.root))
}
