//! The statements of one run, or of one rollout, are numbered and each names the one before: none of them can be left
//! out, added later or put elsewhere without a trace.
//!
//! A series begins with number 1 and ends with the statement that says so: `run-sealed`, or the last step of a rollout.
//! One that was killed has no end, and that can be seen.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::{RolloutId, RunId};
use crate::predicate::{Predicate, RolloutTransition};
use crate::statement::Statement;

/// Where a statement stands in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sequence {
    /// From 1; written as a decimal string.
    #[serde(with = "decimal")]
    pub number: u64,
    /// The statement before; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
}

/// What is numbered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// The steps that a run executed, and its end.
    Run(RunId),
    /// The steps of a rollout.
    Rollout(RolloutId),
}

/// A statement as a member of its series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which series.
    pub series: Series,
    /// Where in it.
    pub sequence: Sequence,
    /// Whether nothing comes after it.
    pub closes: bool,
}

/// The last statement of a series so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesEnd {
    /// Its number.
    pub number: u64,
    /// Its digest.
    pub statement: Digest,
    /// Whether nothing comes after it.
    pub closed: bool,
}

/// All series of a ledger that is read from its first entry on.
#[derive(Debug, Default)]
pub struct SeriesEnds {
    ends: BTreeMap<Series, SeriesEnd>,
}

/// Why a statement cannot stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// One before it is not there.
    #[error("statement {missing} of {series} is missing: number {number} follows")]
    Missing {
        /// Which series.
        series: Series,
        /// The first that is not there.
        missing: u64,
        /// The one that is.
        number: u64,
    },
    /// There is one of that number.
    #[error("{series} has a statement number {number} already")]
    Repeated {
        /// Which series.
        series: Series,
        /// The number.
        number: u64,
    },
    /// It names another one before it than the one that is there.
    #[error("statement {number} of {series} does not follow from the one before it in the ledger")]
    Previous {
        /// Which series.
        series: Series,
        /// The number.
        number: u64,
    },
    /// The series was over.
    #[error("{series} ended with statement {last}; there is a number {number} after it")]
    Closed {
        /// Which series.
        series: Series,
        /// Its last one.
        last: u64,
        /// The one after it.
        number: u64,
    },
}

impl Sequence {
    /// The place after `end`; the first one if there is none.
    pub fn after(end: Option<&SeriesEnd>) -> Self {
        Self { number: end.map_or(0, |end| end.number) + 1, previous: end.map(|end| end.statement) }
    }
}

impl Member {
    /// Takes `statement`, which is this member, as the next one after `end`.
    pub fn follow(&self, end: Option<&SeriesEnd>, statement: Digest) -> Result<SeriesEnd, SequenceError> {
        let (series, number) = (self.series.clone(), self.sequence.number);
        let expected = Sequence::after(end);
        match end {
            _ if number < expected.number => Err(SequenceError::Repeated { series, number }),
            Some(end) if end.closed => Err(SequenceError::Closed { series, last: end.number, number }),
            _ if number > expected.number => {
                Err(SequenceError::Missing { series, missing: expected.number, number })
            }
            _ if self.sequence.previous != expected.previous => {
                Err(SequenceError::Previous { series, number })
            }
            _ => Ok(SeriesEnd { number, statement, closed: self.closes }),
        }
    }
}

impl SeriesEnds {
    /// Takes the next statement of the ledger. Goes on from it also if it is out of place, so that one gap is told
    /// once.
    pub fn visit(&mut self, statement: &Statement, digest: Digest) -> Result<(), SequenceError> {
        let Some(member) = statement.member() else { return Ok(()) };
        let followed = member.follow(self.ends.get(&member.series), digest);
        let found = SeriesEnd { number: member.sequence.number, statement: digest, closed: member.closes };
        self.ends.insert(member.series, found);
        followed.map(|_| ())
    }
}

impl Statement {
    /// Its place in a run or a rollout, if it belongs to one.
    pub fn member(&self) -> Option<Member> {
        match &self.predicate {
            Predicate::Provenance(record) => Some(Member {
                series: Series::Run(record.run_details.metadata.invocation_id.clone()),
                sequence: record.build_definition.internal_parameters.sequence,
                closes: false,
            }),
            Predicate::RunSealed(record) => Some(Member {
                series: Series::Run(record.run.clone()),
                sequence: record.sequence,
                closes: true,
            }),
            Predicate::Rollout(record) => Some(Member {
                series: Series::Rollout(record.rollout.clone()),
                sequence: record.sequence,
                closes: match record.transition {
                    // Where nothing served before, all traffic goes to the new version at once.
                    RolloutTransition::Started => record.stable.is_none(),
                    RolloutTransition::Advanced => false,
                    RolloutTransition::Promoted
                    | RolloutTransition::RolledBack
                    | RolloutTransition::Aborted
                    | RolloutTransition::Expired => true,
                },
            }),
            Predicate::Key(_)
            | Predicate::Dataset(_)
            | Predicate::TestResult(_)
            | Predicate::ModelVersion(_)
            | Predicate::ModelSignature(_)
            | Predicate::Approval(_)
            | Predicate::Promotion(_)
            | Predicate::Incident(_)
            | Predicate::Unknown { .. } => None,
        }
    }
}

impl Series {
    /// The id of the run or rollout; ids of the two differ in their first word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Run(id) => id.as_str(),
            Self::Rollout(id) => id.as_str(),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number from 1 on as a decimal string, in the one way to write it.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse::<u64>().ok().filter(|number| *number > 0 && number.to_string() == text);
        number.ok_or_else(|| serde::de::Error::custom("a sequence number is a decimal string from \"1\" on"))
    }
}

#[cfg(test)]
mod tests;
