//! What rests on something damaged.
//!
//! Statements mostly refer to earlier ones, but steps of one run are recorded as they end: the search goes over the
//! ledger until nothing more is found.

use std::collections::{BTreeMap, BTreeSet};

use lineal_facts::{Digest, Statement};
use serde::Serialize;

/// Most dependents that are named of one finding.
const DEPENDENT_LIMIT: usize = 1000;

/// A statement that rests, directly or not, on something damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependent {
    /// Where it is.
    pub position: u64,
    /// What kind of statement.
    pub noun: String,
    /// What it is about.
    pub subject: String,
}

/// The search for several damaged things at once.
pub(super) struct Search {
    searches: Vec<One>,
}

struct One {
    damaged: Option<Digest>,
    /// Digests of the damaged thing, of the statements that rest on it, and of what those made.
    suspect: BTreeSet<Digest>,
    dependents: BTreeMap<u64, Dependent>,
}

impl Search {
    /// Begins at each digest; `None` finds nothing.
    pub(super) fn new(damaged: impl Iterator<Item = Option<Digest>>) -> Self {
        let one = |digest: Option<Digest>| One {
            damaged: digest,
            suspect: digest.into_iter().collect(),
            dependents: BTreeMap::new(),
        };
        Self { searches: damaged.map(one).collect() }
    }

    /// A statement of the ledger. Yields whether something new is known, so that an earlier one may matter too.
    pub(super) fn visit(&mut self, position: u64, digest: &Digest, statement: &Statement) -> bool {
        let mut learned = false;
        let rests_on = statement.rests_on();
        let subject = statement.subject.first().map(|subject| subject.name.clone()).unwrap_or_default();
        let made = statement.subject.iter().map(|subject| subject.digest.sha256());
        let made: BTreeSet<Digest> = made.filter(|_| statement.makes_its_subjects()).collect();
        for search in &mut self.searches {
            let is_damaged = search.damaged == Some(*digest);
            let makes_damaged = !made.is_disjoint(&search.suspect);
            if !is_damaged && !makes_damaged && rests_on.is_disjoint(&search.suspect) {
                continue;
            }
            let known = search.suspect.len();
            search.suspect.insert(*digest);
            search.suspect.extend(&made);
            learned |= search.suspect.len() > known;
            if !is_damaged && search.dependents.len() < DEPENDENT_LIMIT {
                let noun = statement.predicate.noun().to_owned();
                let dependent = Dependent { position, noun, subject: subject.clone() };
                search.dependents.insert(position, dependent);
            }
        }
        learned
    }

    /// The dependents of each, in the order given; each in ledger order.
    pub(super) fn finish(self) -> Vec<Vec<Dependent>> {
        self.searches.into_iter().map(|search| search.dependents.into_values().collect()).collect()
    }
}
