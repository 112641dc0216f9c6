//! Checking the whole chain behind a subject, offline: every statement's bytes, signature, key and place in the
//! ledger, and every blob that the statements name.
//!
//! * [`Scope::Subject`]: what the subject rests on and every key statement, each by its proof of inclusion. The work
//!   does not grow with the ledger. Only a yes comes from this.
//! * [`Scope::Ledger`]: everything. What is wrong, or not found, is said after this check alone.

mod chain;
mod part;
mod series;
mod witnessed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lineal_facts::predicate::KeyRole;
use lineal_facts::{Digest, ModelVersion, Predicate, RunId, SnapshotRef, Statement};
use lineal_proof::{KeyChain, Keyring};
use lineal_store::index::PlacedStatement;
use lineal_store::ledger::{self, CheckedEntry, Head, WholeCheck};
use lineal_store::store::statement_of;
use lineal_store::{Index, IndexLocation};
use serde::Serialize;

use crate::failure::{Code, Failure, chain as error_chain, keyring_code};
use crate::fsck::{FsckFinding, check_keys, may_follow};
use crate::project::Project;

pub(crate) use part::{Part, collect, collect_all_about};
pub use witnessed::WitnessDemand;

/// What is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifySubject {
    /// A registered model version and everything behind it.
    Version(ModelVersion),
    /// A run.
    Run(RunId),
    /// A dataset snapshot.
    Snapshot(SnapshotRef),
    /// One statement.
    Statement(Digest),
}

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What the subject rests on.
    Subject,
    /// The whole ledger.
    Ledger,
}

/// The result: a tree for people and tools, and the findings.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// What was verified.
    pub subject: String,
    /// Whether nothing was found.
    pub verified: bool,
    /// Of a project: how much was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Why the whole ledger was checked though less was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What was checked.
    pub tree: Node,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One link of the chain.
#[derive(Debug, Serialize)]
pub struct Node {
    /// What it is.
    pub label: String,
    /// What was checked, in a sentence.
    pub detail: String,
    /// Whether everything about it held.
    pub ok: bool,
    /// What it rests on.
    pub children: Vec<Self>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether bytes were changed, or something is missing or not trusted.
    pub code: Code,
    /// What and where.
    pub message: String,
}

impl VerifySubject {
    /// Reads `model/2`, `run-...`, `dataset@tag` or `sha256:...`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Statement(digest));
        }
        if let Ok(run) = text.parse() {
            return Ok(Self::Run(run));
        }
        if let Ok(snapshot) = text.parse() {
            return Ok(Self::Snapshot(snapshot));
        }
        text.parse().map(Self::Version).map_err(|_| {
            Failure::new(
                Code::Usage,
                format!("`{text}` is no subject; expected model/2, run-..., dataset@tag or a statement's sha256:..."),
            )
        })
    }
}

/// Checks everything behind `subject`, under a checkpoint that is witnessed as `demand` says.
pub async fn verify(
    project: &Project,
    subject: &VerifySubject,
    demand: &WitnessDemand,
    scope: Scope,
) -> Result<Verification, Failure> {
    Ok(evidence(project, subject, demand, scope).await?.0)
}

/// Checks everything behind `subject`; yields the statements that it rests on too.
pub(crate) async fn evidence(
    project: &Project,
    subject: &VerifySubject,
    demand: &WitnessDemand,
    scope: Scope,
) -> Result<(Verification, BTreeSet<Digest>), Failure> {
    let because = match scope {
        Scope::Ledger => None,
        Scope::Subject => match of_part(project, subject, demand).await {
            Ok((verification, statements)) if verification.verified => return Ok((verification, statements)),
            // A no may be the index's fault, which is no evidence.
            Ok((verification, _)) => verification.findings.into_iter().next().map(|found| found.message),
            Err(failure) => Some(failure.message),
        },
    };
    let (verification, statements) = of_whole(project, subject, demand).await?;
    Ok((Verification { because, ..verification }, statements))
}

/// By the statements that the subject rests on.
async fn of_part(
    project: &Project,
    subject: &VerifySubject,
    demand: &WitnessDemand,
) -> Result<(Verification, BTreeSet<Digest>), Failure> {
    let part = part::collect(project, subject).await?;
    let detail = format!(
        "{} entries, root {}, checkpoint signed by {}; {} statements included, {} of them about keys: all that it counts",
        part.head.size,
        part.head.root.short(),
        project.store.ledger().log_keys().get().at(part.head.size).name(),
        part.statements.len(),
        part.keys
    );
    let mut checker = Checker {
        proven: part.statements,
        keyring: part.keyring,
        head: Some(part.head),
        ..Checker::new(project, part.index)
    };
    checker.log_keys();
    let ledger = Node { ok: checker.findings.is_empty(), ..Node::new("ledger", detail) };
    checker.finish(subject, ledger, demand, Scope::Subject).await
}

/// By the whole ledger.
async fn of_whole(
    project: &Project,
    subject: &VerifySubject,
    demand: &WitnessDemand,
) -> Result<(Verification, BTreeSet<Digest>), Failure> {
    // The project's index is not evidence: a row could be missing from it. An own one is made from the ledger.
    let index = Index::open(&IndexLocation::Temporary, &project.config.origin).await?;
    let rebuilt = index.catch_up(project.store.ledger()).await;
    let mut checker = Checker::new(project, index);
    let ledger = checker.ledger().await;
    if let Err(error) = rebuilt {
        let failure = Failure::from(error);
        checker.failed("index made from the ledger", &failure);
        checker.index = project.store.index().clone();
    }
    checker.finish(subject, ledger, demand, Scope::Ledger).await
}

impl fmt::Display for VerifySubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Run(run) => run.fmt(f),
            Self::Snapshot(reference) => reference.fmt(f),
            Self::Statement(digest) => digest.fmt(f),
        }
    }
}

impl Finding {
    fn of_log(found: &ledger::Finding) -> Self {
        let found = FsckFinding::of_log(found);
        Self { code: found.code, message: found.message }
    }
}

impl Verification {
    /// Of a tree that is [settled](Node::settle).
    pub(crate) fn new(subject: String, tree: Node, findings: Vec<Finding>) -> Self {
        let verified = findings.is_empty() && tree.ok;
        Self { subject, verified, scope: None, because: None, tree, findings }
    }

    /// The failure to report, if anything was found: tampering before gaps.
    pub fn failure(&self) -> Option<Failure> {
        // Of equals `max_by_key` takes the last; the first one found is the cause of those after it.
        let worst = self.findings.iter().rev().max_by_key(|f| f.code.exit())?;
        Some(Failure::new(worst.code, format!("{} is NOT verified: {}", self.subject, worst.message)))
    }
}

impl Node {
    pub(crate) fn new(label: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { label: label.into(), detail: detail.into(), ok: true, children: Vec::new() }
    }

    /// A link with a problem below it is a problem.
    pub(crate) fn settle(&mut self) {
        for child in &mut self.children {
            child.settle();
        }
        self.ok &= self.children.iter().all(|child| child.ok);
    }
}

struct Checker<'a> {
    project: &'a Project,
    index: Index,
    head: Option<Head>,
    /// The size that witnesses vouch for, if they have to: nothing beyond it counts.
    witnessed: Option<u64>,
    keyring: Keyring,
    /// Those that were proven when they were found.
    proven: BTreeMap<Digest, PlacedStatement>,
    /// Those whose bytes, signature and place were checked because the subject rests on them.
    statements: BTreeSet<Digest>,
    findings: Vec<Finding>,
}

/// A statement whose bytes, signature and place were checked.
struct Checked {
    position: u64,
    statement: Statement,
    holder: String,
}

impl<'a> Checker<'a> {
    fn new(project: &'a Project, index: Index) -> Self {
        Self {
            project,
            index,
            head: None,
            witnessed: None,
            keyring: Keyring::default(),
            proven: BTreeMap::new(),
            statements: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// Follows the chain behind `subject`, once it is known what counts.
    async fn finish(
        mut self,
        subject: &VerifySubject,
        mut ledger: Node,
        demand: &WitnessDemand,
        scope: Scope,
    ) -> Result<(Verification, BTreeSet<Digest>), Failure> {
        ledger.children.extend(self.witnesses(demand));
        let name = subject.to_string();
        let mut tree = match self.subject(subject).await {
            Ok(tree) => tree,
            // What introduced it may be what is damaged.
            Err(failure) if failure.code == Code::NotFound && !self.findings.is_empty() => {
                Node { ok: false, ..Node::new(name.clone(), "not found in what is left of the ledger") }
            }
            Err(failure) => return Err(failure),
        };
        tree.children.insert(0, ledger);
        tree.settle();
        self.index.close().await;
        let verification = Verification::new(name, tree, self.findings);
        Ok((Verification { scope: Some(scope), ..verification }, self.statements))
    }

    async fn subject(&mut self, subject: &VerifySubject) -> Result<Node, Failure> {
        match subject {
            VerifySubject::Version(version) => self.version(version).await,
            VerifySubject::Run(run) => self.run_by_id(run).await,
            VerifySubject::Snapshot(reference) => {
                let row = crate::data::find_in(&self.index, reference).await?;
                Ok(self.snapshot(&row).await)
            }
            VerifySubject::Statement(digest) => Ok(self.any_statement(digest).await),
        }
    }

    fn finding(&mut self, code: Code, message: String) {
        let finding = Finding { code, message };
        // The ledger scan and the chain may meet the same damage.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn failed(&mut self, what: &str, failure: &Failure) {
        self.finding(failure.code, format!("{what}: {}", failure.message));
    }

    /// Re-derives the log, checks every statement's bytes and signature, and collects the keys.
    async fn ledger(&mut self) -> Node {
        let store = &self.project.store;
        let before = self.findings.len();
        let head = match store.ledger().head() {
            Ok(Some(head)) => head,
            Ok(None) => {
                self.finding(Code::NotVerified, "the ledger is empty".to_owned());
                return Node { ok: false, ..Node::new("ledger", "empty") };
            }
            Err(error) => {
                let failure = Failure::from(error);
                self.failed("ledger", &failure);
                return Node { ok: false, ..Node::new("ledger", failure.message) };
            }
        };
        let (mut keys, mut refused) = (KeyChain::default(), Vec::new());
        let WholeCheck { findings: found, unvisited } =
            store.ledger().check_whole(Some(&head), &|_| (), &mut |entry| {
                if let Err(refusal) = collect_key(&mut self.keyring, &mut keys, entry) {
                    refused.push(refusal);
                }
            });
        for finding in &found {
            let Finding { code, message } = Finding::of_log(finding);
            self.finding(code, message);
        }
        let damaged = found.iter().any(ledger::Finding::is_about_an_entry);
        for Refused { finding, may_follow } in refused {
            if !(damaged && may_follow) {
                self.finding(finding.code, finding.message);
            }
        }
        if !damaged && let Some(failure) = check_keys(&head, &keys, true) {
            self.failed("ledger", &failure);
        }
        // What the check of the log has found is not told again.
        if let Some(error) = unvisited
            && found.is_empty()
        {
            self.failed("ledger", &Failure::from(error));
        }
        self.log_keys();
        let store = &self.project.store;
        let detail = format!(
            "{} entries re-hashed, root {}, checkpoint signed by {}",
            head.size,
            head.root.short(),
            store.ledger().verifier().name()
        );
        self.head = Some(head);
        Node { ok: self.findings.len() == before, ..Node::new("ledger", detail) }
    }

    /// Every later key that checkpoints are checked with was introduced by the ledger itself.
    fn log_keys(&mut self) {
        let known = self.project.store.ledger().log_keys().get();
        let recorded = self.keyring.log_keys();
        // One that was recorded a moment ago may not be known yet; the next writer sees to that.
        let agree = known.later().len() <= recorded.len()
            && known
                .later()
                .iter()
                .zip(recorded)
                .all(|((from, key), recorded)| *from == recorded.position + 1 && *key == recorded.key);
        let first = known.all().next().map(|key| *key.log_id().as_bytes());
        let begins = recorded.first().is_none_or(|next| Some(*next.replaces.as_bytes()) == first);
        if !agree || !begins {
            let message = "`keys/ledger.vkey` names other log keys than the ledger introduced".to_owned();
            self.finding(Code::UntrustedKey, message);
        }
    }

    /// Checks one statement: in the ledger, included under the checkpoint, signed by a key that counts in `role`, or in
    /// the role that its kind needs.
    async fn statement(&mut self, digest: &Digest, role: Option<KeyRole>) -> Result<Checked, Failure> {
        let gap = |message: String| Failure::new(Code::NotVerified, message);
        let head = self.head.clone().ok_or_else(|| gap("the ledger did not verify".to_owned()))?;
        let PlacedStatement { position, key, statement, .. } = match self.proven.get(digest) {
            Some(placed) => placed.clone(),
            None => self.proven_now(digest, &head).await?,
        };
        if self.witnessed.is_some_and(|size| position >= size) {
            let text = format!(
                "statement {digest} is entry {position}, and no witness has seen it yet: lineal ledger witness"
            );
            return Err(gap(text));
        }
        let admitted = match role {
            Some(role) => self.keyring.accepts(&key, role, position),
            None => self.keyring.admits(&key, &statement.predicate, position),
        };
        let holder = admitted.map(|key| key.holder.clone()).map_err(|e| {
            Failure::new(Code::UntrustedKey, format!("statement {digest}: {}", error_chain(&e)))
        })?;
        self.statements.insert(*digest);
        Ok(Checked { position, statement, holder })
    }

    async fn proven_now(&self, digest: &Digest, head: &Head) -> Result<PlacedStatement, Failure> {
        let entry = self.index.entry(digest).await?;
        let entry = entry.ok_or_else(|| {
            Failure::new(Code::NotVerified, format!("statement {digest} is not in the ledger"))
        })?;
        let (leaf, pae) = self.project.store.ledger().proven(entry.position, head)?;
        if leaf.data != *digest {
            let text = format!("ledger entry {} is not statement {digest}", entry.position);
            return Err(Failure::new(Code::Tampered, text));
        }
        let (position, key, statement) = (entry.position, leaf.key.id(), statement_of(&pae)?);
        Ok(PlacedStatement { position, digest: *digest, key, statement })
    }

    async fn any_statement(&mut self, digest: &Digest) -> Node {
        match self.statement(digest, None).await {
            Ok(checked) => Node::new(
                format!("{} {}", checked.statement.predicate.noun(), digest.short()),
                format!("entry {}, signed by {}", checked.position, checked.holder),
            ),
            Err(failure) => self.broken(&format!("statement {}", digest.short()), &failure),
        }
    }

    fn broken(&mut self, label: &str, failure: &Failure) -> Node {
        self.failed(label, failure);
        Node { ok: false, ..Node::new(label, failure.message.clone()) }
    }
}

/// What a statement about a key, or one that cannot be read, is refused for.
struct Refused {
    finding: Finding,
    /// Whether it may be only that another entry is damaged.
    may_follow: bool,
}

/// Takes what the next entry of the ledger says about a key.
fn collect_key(keyring: &mut Keyring, keys: &mut KeyChain, entry: CheckedEntry) -> Result<(), Refused> {
    let CheckedEntry { position, leaf, statement } = entry;
    let statement = statement.map_err(|error| {
        let failure = Failure::from(error);
        let message = format!("statement at ledger position {position}: {}", failure.message);
        Refused { finding: Finding { code: failure.code, message }, may_follow: false }
    })?;
    if let Predicate::Key(_) = &statement.predicate {
        keys.push(position, &leaf.hash());
    }
    keyring.apply_statement(position, &leaf.key.id(), &statement).map_err(|error| {
        let message = format!("key at ledger position {position}: {}", error_chain(&error));
        Refused { finding: Finding { code: keyring_code(&error), message }, may_follow: may_follow(&error) }
    })
}
