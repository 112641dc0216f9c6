//! The ledger under the eyes of witnesses: cosigned by enough of them, lately, and continued by what is here.
//!
//! The key of the log alone proves nothing against its holder, who can sign two ledgers. Witnesses sign one of them.

use std::path::Path;

use lineal_engine::pipeline::parse_ms;
use lineal_proof::witness_policy::Witnessed;
use lineal_proof::{VerifyError, WitnessPolicy};
use lineal_store::ledger::Head;

use super::{Checker, Node};
use crate::cosigning::{self, CLOCK_TOLERANCE_SECONDS};
use crate::failure::{Code, Failure};
use crate::project::Project;
use crate::witness::unix_seconds;

/// Who must have seen the ledger, and how lately.
#[derive(Debug, Clone, Default)]
pub struct WitnessDemand {
    /// Nobody has to, without one.
    policy: Option<WitnessPolicy>,
    /// No bound, without one.
    max_age_ms: Option<u64>,
}

impl WitnessDemand {
    /// By the policy in `file`, or else the project's, if it has one; not older than `max_age`, or else as the settings
    /// say.
    pub fn of(project: &Project, file: Option<&Path>, max_age: Option<&str>) -> Result<Self, Failure> {
        let policy = match file {
            Some(file) => Some(cosigning::read_policy(project, file)?),
            None => cosigning::policy(project)?,
        };
        let policy = policy.filter(WitnessPolicy::needs_witnesses);
        let max_age_ms = match max_age {
            Some(text) => Some(parse_ms(text).map_err(|e| Failure::caused(Code::Usage, &e))?),
            None => project.config.witness_max_age_ms()?,
        };
        if max_age_ms.is_some() && policy.is_none() {
            let text = "a bound on the age needs a policy with a quorum: witnesses attest the time";
            return Err(Failure::new(Code::Policy, text));
        }
        Ok(Self { policy, max_age_ms })
    }

    /// The judged checkpoint, and how many seconds ago a quorum knew of no larger one; nothing if nobody has to have seen
    /// the ledger. `head` is what is here, if it can be read.
    pub(crate) fn judge(
        &self,
        project: &Project,
        head: Option<&Head>,
    ) -> Result<Option<(Witnessed, u64)>, Failure> {
        let Some(policy) = &self.policy else { return Ok(None) };
        let ledger = project.store.ledger();
        let published = ledger.witnessed()?.ok_or_else(|| {
            let text = "no witness has seen this ledger, and the policy has a quorum: lineal ledger witness";
            Failure::new(Code::NotVerified, text)
        })?;
        let now = unix_seconds();
        let judged =
            policy.evaluate(&published.note, now + CLOCK_TOLERANCE_SECONDS).map_err(|e| failure(&e))?;
        // A quorum is there: `needs_witnesses` was asked for.
        let attested_at = judged.require().map_err(|e| failure(&e))?.unwrap_or_default();
        // Without a head the ledger itself is broken, and that is said.
        if let Some(head) = head {
            if published.size > head.size {
                return Err(cosigning::rolled_back("the witnesses", published.size, head.size));
            }
            if !ledger.continues(&judged.checkpoint, head)? {
                let text = format!(
                    "the ledger does not continue the {} entries that the witnesses saw: it is another one under the same key",
                    published.size
                );
                return Err(Failure::new(Code::Tampered, text));
            }
        }
        let age_seconds = now.saturating_sub(attested_at);
        match self.max_age_ms {
            Some(limit_ms) if age_seconds.saturating_mul(1000) > limit_ms => {
                let text = format!(
                    "the witnesses saw this ledger {age_seconds} s ago, and the bound is {} s: lineal ledger witness",
                    limit_ms.div_ceil(1000)
                );
                Err(Failure::new(Code::Stale, text))
            }
            Some(_) | None => Ok(Some((judged, age_seconds))),
        }
    }
}

impl Checker<'_> {
    /// Checks the witnessed checkpoint; nothing if nobody has to have seen it.
    pub(super) fn witnesses(&mut self, demand: &WitnessDemand) -> Option<Node> {
        match demand.judge(self.project, self.head.as_ref()) {
            Ok(judged) => judged.map(|(witnessed, age_seconds)| {
                self.witnessed = Some(witnessed.checkpoint.size);
                let size = witnessed.checkpoint.size;
                Node::new("witnesses", format!("{size} entries {witnessed}, {age_seconds} s ago"))
            }),
            Err(failure) => Some(self.broken("witnesses", &failure)),
        }
    }
}

fn failure(error: &VerifyError) -> Failure {
    let code = match error {
        VerifyError::Malformed(_) | VerifyError::Tampered(_) => Code::Tampered,
        VerifyError::UntrustedKey(_) => Code::UntrustedKey,
        VerifyError::Stale { .. } => Code::RolledBack,
        VerifyError::Incomplete(_) | VerifyError::OtherSubject(_) => Code::NotVerified,
    };
    Failure::caused(code, error)
}
