//! Whom a verifier believes: which logs, which witnesses, and how many of them.
//!
//! Format: <https://c2sp.org/tlog-policy>, a text of lines `log VKEY [URL]`, `witness NAME VKEY [URL]`,
//! `group NAME k|any|all MEMBER...` and `quorum NAME|none`. Stricter than the format in five points: the text is UTF-8,
//! keys of logs are of type 0x01 and keys of witnesses of type 0x04, a witness is not the log itself, and no two
//! witnesses have the same key name and id. A policy that names an ML-DSA-44 key is refused rather than half applied.
//!
//! **What time a quorum attests.** A witness says "at this time this was the largest tree I had seen". For a group of k
//! of n, the time that counts is the k-th newest of its members: it is the latest moment of which k members say that
//! nothing larger was there. The newest alone would let one witness with a wrong or false clock make an old checkpoint
//! look fresh; the oldest would let one that was asked long ago make a fresh one look old.

mod parse;

use std::fmt;

use crate::checkpoint::{self, Checkpoint, Note, VerifierKey};
use crate::cosignature::WitnessKey;
use crate::verify::VerifyError;

/// Largest policy in bytes.
pub const POLICY_LIMIT_BYTES: usize = 64 << 10;
/// Most logs; the format asks for at least 32.
pub const LOGS_LIMIT: usize = 32;
/// Most witnesses; the format asks for at least 32.
pub const WITNESSES_LIMIT: usize = 32;
/// Most groups; the format asks for at least 32.
pub const GROUPS_LIMIT: usize = 32;
/// Longest URL in bytes.
pub const URL_LIMIT_BYTES: usize = 2048;

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text as a whole.
    #[error("not a witness policy: {0}")]
    Text(String),
    /// One line of it, counted from 1.
    #[error("witness policy, line {line}: {reason}")]
    Line {
        /// Which.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Known logs, known witnesses, and the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessPolicy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    /// A group has only members that stand before it.
    groups: Vec<Group>,
    quorum: Option<Member>,
}

/// A log whose checkpoints are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key; the key's name is the origin.
    pub key: VerifierKey,
    /// Where it is, if said.
    pub url: Option<String>,
}

/// A witness whose cosignatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name within the policy.
    pub name: String,
    /// Its key.
    pub key: WitnessKey,
    /// Its submission prefix (<https://c2sp.org/tlog-witness>), if said.
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<Member>,
}

/// A witness or a group, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// A checkpoint that a known log signed, and who cosigned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The witnesses that cosigned, in the order of the policy.
    pub cosigned: Vec<Cosigned>,
    /// The witnesses that did not, by their names in the policy.
    pub missing: Vec<String>,
    /// Whether these are enough.
    pub quorum: Quorum,
    /// What would be enough, for people.
    rule: String,
}

/// One witness's cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The witness's name in the policy.
    pub name: String,
    /// When, in seconds since 1970, by its own clock.
    pub time: u64,
}

/// Whether enough witnesses cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// The policy wants none (`quorum none`). Nothing attests a time.
    NotRequired,
    /// Enough.
    Reached {
        /// The latest moment, in seconds since 1970, at which a quorum knew of no larger tree.
        attested_at: u64,
    },
    /// Too few.
    Missed,
}

impl WitnessPolicy {
    /// Reads a policy.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        parse::policy(text)
    }

    /// Accepts these logs and wants no witness.
    pub fn unwitnessed(logs: impl IntoIterator<Item = VerifierKey>) -> Self {
        let none = Self { logs: Vec::new(), witnesses: Vec::new(), groups: Vec::new(), quorum: None };
        none.with_logs(logs)
    }

    /// The same policy for these logs, which are known from elsewhere.
    #[must_use]
    pub fn with_logs(mut self, logs: impl IntoIterator<Item = VerifierKey>) -> Self {
        self.logs = logs.into_iter().map(|key| PolicyLog { key, url: None }).collect();
        self
    }

    /// The logs whose checkpoints are accepted.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses whose cosignatures count.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Whether any witness is needed.
    pub const fn needs_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Whether the witnesses of which `says` is true, by their places, are as many as the quorum wants. False if it wants
    /// none: then nobody speaks for all.
    pub fn is_quorum(&self, says: impl Fn(usize) -> bool) -> bool {
        let times: Vec<Option<u64>> = (0..self.witnesses.len()).map(|at| says(at).then_some(0)).collect();
        matches!(self.judge(&times), Quorum::Reached { .. })
    }

    /// Judges a checkpoint note: signed by a known log, and by whom else.
    ///
    /// One bad signature under a known key, of a log or of a witness, rejects the note; lines of unknown keys and types
    /// are ignored. Cosignatures from after `latest`, in seconds since 1970, do not count: a witness whose clock is
    /// ahead says nothing about now.
    pub fn evaluate(&self, note: &[u8], latest: u64) -> Result<Witnessed, VerifyError> {
        let logs: Vec<VerifierKey> = self.logs.iter().map(|log| log.key.clone()).collect();
        let checkpoint = checkpoint::open(note, &logs)?.value;
        let note = Note::parse(note)?;
        let times = self.witnesses.iter().map(|witness| witness.key.time_of(&note));
        let mut times: Vec<Option<u64>> = times.collect::<Result<_, _>>()?;
        times.iter_mut().for_each(|time| *time = time.filter(|time| *time <= latest));
        let named = || self.witnesses.iter().map(|witness| witness.name.clone()).zip(&times);
        Ok(Witnessed {
            checkpoint,
            cosigned: named().filter_map(|(name, time)| Some(Cosigned { name, time: (*time)? })).collect(),
            missing: named().filter(|(_, time)| time.is_none()).map(|(name, _)| name).collect(),
            quorum: self.judge(&times),
            rule: self.rule(),
        })
    }

    fn judge(&self, times: &[Option<u64>]) -> Quorum {
        let Some(quorum) = self.quorum else { return Quorum::NotRequired };
        let mut groups: Vec<Option<u64>> = Vec::new();
        for group in &self.groups {
            let members = group.members.iter();
            let mut attested: Vec<u64> = members.filter_map(|member| member.time(times, &groups)).collect();
            attested.sort_unstable_by(|a, b| b.cmp(a));
            groups.push(attested.get(group.threshold - 1).copied());
        }
        match quorum.time(times, &groups) {
            Some(attested_at) => Quorum::Reached { attested_at },
            None => Quorum::Missed,
        }
    }

    /// `2 of w1, w2, w3`.
    fn rule(&self) -> String {
        let name = |member: &Member| match *member {
            Member::Witness(at) => self.witnesses[at].name.as_str(),
            Member::Group(at) => self.groups[at].name.as_str(),
        };
        match &self.quorum {
            None => "none".to_owned(),
            Some(Member::Witness(at)) => self.witnesses[*at].name.clone(),
            Some(Member::Group(at)) => {
                let group = &self.groups[*at];
                let members: Vec<&str> = group.members.iter().map(name).collect();
                format!("{} of {}", group.threshold, members.join(", "))
            }
        }
    }
}

impl Member {
    /// What this member attests; a group that is asked for was judged before.
    fn time(self, witnesses: &[Option<u64>], groups: &[Option<u64>]) -> Option<u64> {
        match self {
            Self::Witness(at) => witnesses.get(at).copied().flatten(),
            Self::Group(at) => groups.get(at).copied().flatten(),
        }
    }
}

impl Witnessed {
    /// Insists on the quorum. Yields the time that it attests; none if the policy wants no witness.
    pub fn require(&self) -> Result<Option<u64>, VerifyError> {
        match self.quorum {
            Quorum::NotRequired => Ok(None),
            Quorum::Reached { attested_at } => Ok(Some(attested_at)),
            Quorum::Missed => Err(VerifyError::Incomplete(self.to_string())),
        }
    }
}

/// Who cosigned, and what is needed.
impl fmt::Display for Witnessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cosigned: Vec<&str> = self.cosigned.iter().map(|witness| witness.name.as_str()).collect();
        let cosigned = if cosigned.is_empty() { "nobody".to_owned() } else { cosigned.join(", ") };
        write!(f, "cosigned by {cosigned}; the quorum is {}", self.rule)
    }
}

#[cfg(test)]
mod tests;
