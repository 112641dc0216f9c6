//! From ledger to rows. Nothing else writes the index.

use std::str::FromStr;

use lineal_facts::{Digest, Statement};
use lineal_proof::keyring::Keyring;
use lineal_proof::{Hash, Leaf, tree};

use super::apply::{self, Entry};
use super::batch::Batch;
use super::database::{Database, Row, Transaction, tables};
use super::{IndexError, PlacedStatement};
use crate::ledger::{Ledger, LedgerError};
use crate::store::statement_of;

pub(super) const READ_STATE: &str = "SELECT size, root FROM state";
pub(super) const READ_KEYS: &str = "SELECT position, signer, record FROM keys ORDER BY position";

/// Most entries in one transaction, unless the rows are made anew.
const CHUNK_ENTRIES: u64 = 4096;
/// From so many entries on, an empty index is filled without its databases' indexes, which are made at the end.
const BULK_ENTRIES: u64 = 4 * CHUNK_ENTRIES;
/// Entries that are in memory at once.
const READ_ENTRIES: u64 = 256;

/// How far rows or a ledger reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// A transaction that holds the right to project.
pub(super) struct Projection<'a> {
    transaction: Transaction,
    ledger: &'a Ledger,
    /// What the rows reach.
    reached: State,
    /// What the ledger reached when it was last looked at.
    end: State,
    /// The keys among what the rows reach.
    keyring: Keyring,
    /// Whether the rows are made anew: then readers must not see a part of them.
    anew: bool,
}

impl State {
    /// The end of the ledger.
    pub(super) fn of(ledger: &Ledger) -> Result<Self, IndexError> {
        let head = ledger.head()?;
        Ok(head.map_or_else(Self::empty, |head| Self { size: head.size, root: head.root }))
    }

    fn empty() -> Self {
        Self { size: 0, root: tree::empty_root() }
    }
}

impl<'a> Projection<'a> {
    /// Waits for the right to project, then looks where the ledger ends: an earlier look could be older than the rows
    /// that another process wrote meanwhile.
    pub(super) async fn begin(database: &Database, ledger: &'a Ledger) -> Result<Self, IndexError> {
        let mut transaction = database.begin().await?;
        // Changes nothing; the row stays locked until the transaction ends.
        transaction.execute("UPDATE state SET size = size", Vec::new()).await?;
        let end = State::of(ledger)?;
        let (reached, keyring) = (State::empty(), Keyring::default());
        Ok(Self { transaction, ledger, reached, end, keyring, anew: false })
    }

    /// Goes on where the rows end; from the start if they are not this ledger's, or cannot be read.
    pub(super) async fn resume(&mut self) -> Result<(), IndexError> {
        let state = read_state(self.transaction.fetch(READ_STATE, Vec::new()).await?);
        let keys = read_keyring(&self.transaction.fetch(READ_KEYS, Vec::new()).await?);
        match (state, keys) {
            (Some(state), Ok(keyring)) if self.holds(&state)? && !self.is_bulk(&state) => {
                (self.reached, self.keyring) = (state, keyring);
                Ok(())
            }
            (Some(_) | None, Ok(_) | Err(_)) => self.clear().await,
        }
    }

    fn is_bulk(&self, state: &State) -> bool {
        state.size == 0 && self.end.size >= BULK_ENTRIES
    }

    /// Empties every table. What was committed before stays visible to readers until the commit.
    pub(super) async fn clear(&mut self) -> Result<(), IndexError> {
        for table in tables().into_iter().filter(|table| *table != "state") {
            self.transaction.execute(&format!("DELETE FROM {table}"), Vec::new()).await?;
        }
        self.transaction.drop_indexes().await?;
        // The row itself stays: those who wait for it would find no lock in a new one.
        let sql = "INSERT INTO state (id, size, root) VALUES (1, $1, $2) \
                   ON CONFLICT (id) DO UPDATE SET size = excluded.size, root = excluded.root";
        (self.reached, self.keyring) = (State::empty(), Keyring::default());
        self.anew = true;
        self.transaction.execute(sql, vec![0_i64.into(), self.reached.root.to_string().into()]).await
    }

    /// Projects some thousand entries, or all if the rows are made anew.
    pub(super) async fn run(&mut self) -> Result<(), IndexError> {
        while !self.is_done() {
            self.chunk().await?;
            if !self.anew {
                break;
            }
        }
        if self.anew {
            self.transaction.create_indexes().await?;
        }
        Ok(())
    }

    /// Whether the rows reach what the ledger had when it was last looked at.
    pub(super) fn is_done(&self) -> bool {
        self.reached.size == self.end.size
    }

    /// The ledger position that the rows reach.
    pub(super) fn size(&self) -> u64 {
        self.reached.size
    }

    pub(super) async fn commit(self) -> Result<(), IndexError> {
        self.transaction.commit().await
    }

    /// Whether `state` is how this ledger was at that size.
    fn holds(&self, state: &State) -> Result<bool, IndexError> {
        Ok(state.size <= self.end.size && self.root_at(state.size)? == state.root)
    }

    fn root_at(&self, size: u64) -> Result<Hash, IndexError> {
        if size == self.end.size {
            return Ok(self.end.root);
        }
        Ok(self.ledger.root_at(size, self.end.size)?)
    }

    async fn chunk(&mut self) -> Result<(), IndexError> {
        let to = self.end.size.min(self.reached.size + CHUNK_ENTRIES);
        let mut batch = Batch::default();
        let mut from = self.reached.size;
        while from < to {
            let until = to.min(from + READ_ENTRIES);
            let entries = read_statements(self.ledger, from, until, self.end.size)?;
            for (position, (leaf, statement)) in (from..).zip(entries) {
                let entry = Entry { position, statement: leaf.data, key: leaf.key.id() };
                if let Some(statement) = &statement {
                    self.keyring
                        .apply_statement(position, &entry.key, statement)
                        .map_err(|source| IndexError::Key { position, source })?;
                }
                apply::apply(&mut batch, &entry, statement.as_ref(), &self.keyring);
            }
            batch.flush(&mut self.transaction).await?;
            from = until;
        }
        let root = self.root_at(to)?;
        let size = i64::try_from(to).map_err(|_| IndexError::value("state.size"))?;
        let values = vec![size.into(), root.to_string().into()];
        self.transaction.execute("UPDATE state SET size = $1, root = $2", values).await?;
        self.reached = State { size: to, root };
        Ok(())
    }
}

/// The entries `from..to` of the ledger at `size`, and what they say; `None` if the bytes were erased or lost: `verify`
/// reports that, and the other entries still count.
pub(super) fn read_statements(
    ledger: &Ledger,
    from: u64,
    to: u64,
    size: u64,
) -> Result<Vec<(Leaf, Option<Statement>)>, IndexError> {
    let leaves = ledger.leaves(from, to, size)?;
    let mut signed: Vec<Option<Vec<u8>>> = Vec::with_capacity(leaves.len());
    ledger.for_each_statement(from, to, &mut |position, pae| {
        let expected = &leaves[(position - from) as usize].data;
        signed.push(match ledger.check_statement(position, expected, pae) {
            Ok(()) => Some(pae.to_vec()),
            Err(LedgerError::StatementMissing { .. }) => None,
            Err(error) => return Err(error),
        });
        Ok(())
    })?;
    let parse = |(position, (leaf, pae)): (u64, (Leaf, Option<Vec<u8>>))| {
        let statement = pae.map(|pae| statement_of(&pae)).transpose();
        Ok((leaf, statement.map_err(|source| IndexError::Format { position, source })?))
    };
    (from..).zip(leaves.into_iter().zip(signed)).map(parse).collect()
}

/// Makes the rows of some statements alone, which come in ledger order. Yields the keyring after them.
pub(super) async fn project_part(
    database: &Database,
    part: &[PlacedStatement],
) -> Result<Keyring, IndexError> {
    let (mut keyring, mut batch) = (Keyring::default(), Batch::default());
    for PlacedStatement { position, digest, key, statement } in part {
        let entry = Entry { position: *position, statement: *digest, key: *key };
        keyring
            .apply_statement(*position, key, statement)
            .map_err(|source| IndexError::Key { position: *position, source })?;
        apply::apply(&mut batch, &entry, Some(statement), &keyring);
    }
    let mut transaction = database.begin().await?;
    batch.flush(&mut transaction).await?;
    transaction.commit().await?;
    Ok(keyring)
}

/// The one row of [`READ_STATE`]; `None` if it is not one, or unreadable.
pub(super) fn read_state(rows: Vec<Row>) -> Option<State> {
    let [row] = rows.as_slice() else { return None };
    let (size, root) = (row.number("size").ok()?, row.text("root").ok()?);
    Some(State { size, root: root.parse().ok()? })
}

/// The keys of [`READ_KEYS`].
pub(super) fn read_keyring(rows: &[Row]) -> Result<Keyring, IndexError> {
    let mut keyring = Keyring::default();
    for row in rows {
        let position = row.number("position")?;
        let signer = Digest::from_str(&row.text("signer")?).map_err(|_| IndexError::value("keys.signer"))?;
        let record =
            serde_json::from_str(&row.text("record")?).map_err(|_| IndexError::value("keys.record"))?;
        keyring.apply(position, &signer, &record).map_err(|source| IndexError::Key { position, source })?;
    }
    Ok(keyring)
}
