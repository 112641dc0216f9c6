//! What may enter the ledger: statements that would count, each in its place.

use std::collections::BTreeMap;

use lineal_facts::sequence::{Series, SeriesEnd};
use lineal_facts::{Predicate, Statement};
use lineal_proof::keyring::Keyring;

use super::StoreError;
use crate::index::{Index, IndexError};
use crate::ledger::LedgerEntry;

/// The keys and series of the whole ledger, and of what was admitted to the group that is about to be written.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    keyring: Keyring,
    ends: BTreeMap<Series, SeriesEnd>,
}

impl Admission {
    /// At the end of the ledger, for these statements. The caller holds the lock and `index` is current.
    pub(super) async fn load<'a>(
        keyring: Keyring,
        index: &Index,
        statements: impl Iterator<Item = &'a Statement>,
    ) -> Result<Self, IndexError> {
        let mut ends = BTreeMap::new();
        for member in statements.filter_map(Statement::member) {
            if !ends.contains_key(&member.series)
                && let Some(end) = index.series_end(&member.series).await?
            {
                ends.insert(member.series, end);
            }
        }
        Ok(Self { keyring, ends })
    }

    /// Admits all of `statements` from `position` on, or none of them.
    pub(super) fn admit(
        &mut self,
        position: u64,
        entries: &[LedgerEntry],
        statements: &[Statement],
    ) -> Result<(), StoreError> {
        let mut after = Changes { keyring: None, ends: Vec::new() };
        for (position, (entry, statement)) in (position..).zip(entries.iter().zip(statements)) {
            self.admit_one(position, entry, statement, &mut after)?;
        }
        self.keyring = after.keyring.unwrap_or_else(|| std::mem::take(&mut self.keyring));
        self.ends.extend(after.ends);
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
