//! The statements that a subject rests on: found through the project's index, proven without it.
//!
//! The index only finds. What it names is read from the ledger and proven: its bytes are those of its entry, the entry
//! is included under the signed checkpoint, its signature holds. Every key statement that the checkpoint counts is
//! among them, so it is known which signatures count. From these statements alone a small index is made, which the
//! chain is followed in.

use std::collections::{BTreeMap, BTreeSet};

use lineal_facts::sequence::Series;
use lineal_facts::{Digest, ModelVersion, Predicate, RunId, Statement};
use lineal_proof::key_chain::is_key_statement;
use lineal_proof::{KeyChain, Keyring};
use lineal_store::index::PlacedStatement;
use lineal_store::ledger::Head;
use lineal_store::store::statement_of;
use lineal_store::{Index, Ledger};

use super::VerifySubject;
use crate::failure::{Code, Failure};
use crate::fsck::check_keys;
use crate::project::Project;

/// Most statements that are proven one by one; for more, the whole ledger is less work.
const STATEMENTS_LIMIT: usize = 50_000;
/// How often the index is looked at again because somebody appended.
const ATTEMPTS_LIMIT: usize = 20;

/// A part of the ledger in which every statement is proven.
pub(crate) struct Part {
    pub(crate) head: Head,
    /// Of these statements alone.
    pub(crate) index: Index,
    pub(crate) keyring: Keyring,
    /// By the statement's digest.
    pub(crate) statements: BTreeMap<Digest, PlacedStatement>,
    /// How many of them are about keys.
    pub(super) keys: u64,
}

/// The part that `subject` rests on. Fails if the index cannot lead to it, or if anything in it does not hold.
pub(crate) async fn collect(project: &Project, subject: &VerifySubject) -> Result<Part, Failure> {
    let head = covered(project).await?;
    if head.keys.is_none() {
        return Err(gap("the checkpoint does not count the statements about keys"));
    }
    let keys = project.store.index().key_positions().await?;
    let mut collector = Collector::new(project, &head, keys);
    collector.begin(subject).await?;
    let placed = collector.follow_all().await?;
    made_of(placed, head).await
}

/// The part that `version` rests on, with every statement of the ledger that names it, its bytes or its run: what is said
/// against it cannot be left out either. Hashes the whole ledger.
pub(crate) async fn collect_all_about(project: &Project, version: &ModelVersion) -> Result<Part, Failure> {
    let row = crate::model::find(project, version).await?;
    let head = project.store.ledger().head()?.ok_or_else(|| gap("the ledger is empty"))?;
    let names = [row.digest.hex(), format!("\"{version}\""), format!("\"{}\"", row.record.run)];
    let (ledger, at) = (project.store.ledger().clone(), head.clone());
    let searched = tokio::task::spawn_blocking(move || {
        ledger.positions_of(&at, &|pae| is_key_statement(pae) || names_any(pae, &names))
    });
    let positions = searched.await.map_err(|e| Failure::caused(Code::Internal, &e))??;
    let mut collector = Collector::new(project, &head, positions);
    collector.begin(&VerifySubject::Version(version.clone())).await?;
    let placed = collector.follow_all().await?;
    let part = made_of(placed, head).await?;
    // The rows only led here: what they said must be what is proven.
    let proven = part.index.version(version).await?;
    if proven.as_ref() != Some(&row) {
        let text = format!(
            "the index does not say about {version} what the ledger says; run `lineal ledger rebuild`"
        );
        return Err(Failure::new(Code::Tampered, text));
    }
    Ok(part)
}

/// The part of these statements, if they have every one about keys.
async fn made_of(placed: BTreeMap<u64, (PlacedStatement, Digest)>, head: Head) -> Result<Part, Failure> {
    let mut keys = KeyChain::default();
    for (position, (entry, leaf)) in &placed {
        if let Predicate::Key(_) = &entry.statement.predicate {
            keys.push(*position, leaf);
        }
    }
    if let Some(failure) = check_keys(&head, &keys, false) {
        return Err(failure);
    }
    let placed: Vec<PlacedStatement> = placed.into_values().map(|(entry, _)| entry).collect();
    let (index, keyring) = Index::of_part(&placed).await?;
    let statements = placed.into_iter().map(|entry| (entry.digest, entry)).collect();
    Ok(Part { head, index, keyring, statements, keys: keys.count() })
}

/// The checkpoint, if the index reaches it. Somebody may append meanwhile: then the index follows within a moment.
async fn covered(project: &Project) -> Result<Head, Failure> {
    if let Some(trouble) = project.store.index_trouble() {
        return Err(gap(trouble));
    }
    for _ in 0..ATTEMPTS_LIMIT {
        let head = project.store.ledger().head()?.ok_or_else(|| gap("the ledger is empty"))?;
        if project.store.index().covers(&head).await? {
            return Ok(head);
        }
    }
    Err(gap("the index does not reach the ledger's end"))
}

impl Part {
    /// The statement with this digest.
    pub(crate) fn statement(&self, digest: &Digest) -> Result<&Statement, Failure> {
        let placed = self.statements.get(digest);
        let placed = placed.ok_or_else(|| gap(format!("statement {digest} is not proven")))?;
        Ok(&placed.statement)
    }
}

struct Collector<'a> {
    index: &'a Index,
    ledger: &'a Ledger,
    head: &'a Head,
    /// Positions that were found and are not proven yet.
    pending: BTreeSet<u64>,
    /// By position: what was proven, and its leaf's hash.
    placed: BTreeMap<u64, (PlacedStatement, Digest)>,
}

impl<'a> Collector<'a> {
    fn new(project: &'a Project, head: &'a Head, positions: Vec<u64>) -> Self {
        let (index, ledger) = (project.store.index(), project.store.ledger());
        Self { index, ledger, head, pending: positions.into_iter().collect(), placed: BTreeMap::new() }
    }

    async fn begin(&mut self, subject: &VerifySubject) -> Result<(), Failure> {
        match subject {
            VerifySubject::Version(version) => {
                let row = self.index.version(version).await?;
                let row = row.ok_or_else(|| gap(format!("the index has no version `{version}`")))?;
                self.statement(&row.statement).await?;
                for entry in self.index.entries_about(&row.digest).await? {
                    self.pending.insert(entry.position);
                }
                Ok(())
            }
            VerifySubject::Run(run) => self.run(run).await,
            VerifySubject::Snapshot(reference) => {
                let row = crate::data::find_in(self.index, reference).await?;
                self.statement(&row.statement).await
            }
            VerifySubject::Statement(digest) => self.statement(digest).await,
        }
    }

    async fn follow_all(mut self) -> Result<BTreeMap<u64, (PlacedStatement, Digest)>, Failure> {
        while let Some(position) = self.pending.pop_first() {
            if self.placed.contains_key(&position) {
                continue;
            }
            if self.placed.len() >= STATEMENTS_LIMIT {
                return Err(gap(format!("it rests on more than {STATEMENTS_LIMIT} statements")));
            }
            let (leaf, pae) = self.ledger.proven(position, self.head)?;
            let statement = statement_of(&pae)?;
            self.follow(&statement).await?;
            let (digest, key, hash) = (leaf.data, leaf.key.id(), leaf.hash());
            self.placed.insert(position, (PlacedStatement { position, digest, key, statement }, hash));
        }
        Ok(self.placed)
    }

    /// Finds what a proven statement rests on.
    async fn follow(&mut self, statement: &Statement) -> Result<(), Failure> {
        for digest in statement.evidence() {
            self.statement(&digest).await?;
        }
        match &statement.predicate {
            Predicate::ModelVersion(record) => self.run(&record.run).await?,
            Predicate::Provenance(provenance) => {
                for dependency in &provenance.build_definition.resolved_dependencies {
                    self.input(&dependency.digest.sha256()).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn statement(&mut self, digest: &Digest) -> Result<(), Failure> {
        let entry = self.index.entry(digest).await?;
        let entry = entry.ok_or_else(|| gap(format!("the index has no statement {digest}")))?;
        self.pending.insert(entry.position);
        Ok(())
    }

    async fn run(&mut self, run: &RunId) -> Result<(), Failure> {
        let row = self.index.run(run).await?.ok_or_else(|| gap(format!("the index has no run `{run}`")))?;
        self.statement(&row.statement).await?;
        // Also what was added behind its end.
        for member in self.index.series(&Series::Run(run.clone())).await? {
            self.statement(&member.statement).await?;
        }
        Ok(())
    }

    /// What recorded an input: a snapshot, or else the first step that made it. Code and environments have neither.
    async fn input(&mut self, digest: &Digest) -> Result<(), Failure> {
        let about = self.index.entries_about(digest).await?;
        if let Some(snapshot) =
            about.iter().rev().find(|entry| entry.noun == "dataset" && entry.holder.is_some())
        {
            self.pending.insert(snapshot.position);
        } else if let Some(maker) = self.index.makers(digest).await?.first() {
            self.statement(&maker.statement).await?;
        }
        Ok(())
    }
}

/// Whether the statement may have one of these texts. JSON can spell their letters in two other ways, which nothing of
/// ours does. What is not UTF-8 is no statement.
fn names_any(pae: &[u8], texts: &[String]) -> bool {
    let Ok(pae) = std::str::from_utf8(pae) else { return false };
    let has = |text: &str| pae.contains(text);
    texts.iter().any(|text| has(text)) || has("\\u") || has("\\/")
}

/// Why the index does not lead to the answer. What the answer is, the whole ledger says.
fn gap(reason: impl Into<String>) -> Failure {
    Failure::new(Code::NotVerified, reason)
}
