//! Who signed: whether each statement's key counted where it stands, and whether no statement of a series is missing.

use std::collections::BTreeMap;

use lineal_facts::predicate::Artifact;
use lineal_facts::sequence::SeriesEnds;
use lineal_facts::{Digest, Predicate, Statement};
use lineal_proof::keyring::KeyringError;
use lineal_proof::{KeyChain, Keyring, Leaf};
use lineal_store::ledger::CheckedEntry;

use super::{FsckFinding, may_follow};
use crate::failure::{Code, Failure, chain as error_chain, keyring_code};

/// What follows from the entries so far, which come in ledger order.
#[derive(Default)]
pub(super) struct Signers {
    keyring: Keyring,
    series: SeriesEnds,
    keys: KeyChain,
    artifacts: Artifacts,
    found: Vec<Found>,
}

/// What is known only at the end is judged there.
struct Found {
    finding: FsckFinding,
    /// Whether it may be only that another entry is damaged.
    may_follow: bool,
}

/// Artefacts by digest.
pub(super) type Artifacts = BTreeMap<Digest, Stored>;

/// What must be stored.
pub(super) struct Stored {
    /// The first statement that says so.
    pub(super) position: u64,
    pub(super) artifact: Artifact,
    /// Whether it is the plan of a run, behind which are more blobs.
    pub(super) is_plan: bool,
}

impl Signers {
    /// The next entry that is not damaged.
    pub(super) fn visit(&mut self, entry: CheckedEntry) {
        let CheckedEntry { position, leaf, statement } = entry;
        let statement = match statement {
            Ok(statement) => statement,
            Err(error) => {
                let finding = FsckFinding::new("statement-damaged", Some(position), &Failure::from(error));
                return self.found.push(Found { finding, may_follow: false });
            }
        };
        if let Predicate::Key(_) = &statement.predicate {
            self.keys.push(position, &leaf.hash());
        }
        match self.counts(position, &leaf, &statement) {
            Ok(()) => self.follow(position, &leaf, &statement),
            Err(error) => {
                let finding = about("signer", position, &leaf, keyring_code(&error), &error);
                self.found.push(Found { finding, may_follow: may_follow(&error) });
            }
        }
    }

    /// Yields findings, the key statements, and what is said to be stored. `damaged` says whether an entry was not visited
    /// because it is damaged: then what would follow from that is not told.
    pub(super) fn finish(self, damaged: bool) -> (Vec<FsckFinding>, KeyChain, Artifacts) {
        let told = self.found.into_iter().filter(|found| !(damaged && found.may_follow));
        (told.map(|found| found.finding).collect(), self.keys, self.artifacts)
    }

    fn counts(&mut self, position: u64, leaf: &Leaf, statement: &Statement) -> Result<(), KeyringError> {
        let signer = leaf.key.id();
        match &statement.predicate {
            Predicate::Key(_) => self.keyring.apply_statement(position, &signer, statement),
            other => self.keyring.admits(&signer, other, position).map(|_| ()),
        }
    }

    /// A statement that counts.
    fn follow(&mut self, position: u64, leaf: &Leaf, statement: &Statement) {
        // What a gap leaves may be among the damaged.
        if let Err(error) = self.series.visit(statement, leaf.data) {
            let finding = about("sequence", position, leaf, Code::Incomplete, &error);
            self.found.push(Found { finding, may_follow: true });
        }
        let is_plan = matches!(statement.predicate, Predicate::RunSealed(_));
        for artifact in statement.artifacts() {
            let stored = Stored { position, artifact, is_plan };
            self.artifacts.entry(stored.artifact.digest).or_insert(stored);
        }
    }
}

fn about(
    kind: &'static str,
    position: u64,
    leaf: &Leaf,
    code: Code,
    error: &dyn std::error::Error,
) -> FsckFinding {
    let message = format!("ledger position {position}: {}", error_chain(error));
    let finding = FsckFinding::new(kind, Some(position), &Failure::new(code, message));
    FsckFinding { digest: Some(leaf.data), ..finding }
}
