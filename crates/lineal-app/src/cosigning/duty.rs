//! Asking again whenever the log has grown, beside everything else that a control plane does.

use std::time::Duration;

use lineal_proof::witness_policy::Quorum;
use lineal_store::ledger::Head;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Asked, CLOCK_TOLERANCE_SECONDS, ask, policy};
use crate::failure::{Code, Failure};
use crate::project::Project;
use crate::witness::unix_seconds;

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Shortest time between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time between two rounds while witnesses fail.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);
/// How old the attested time may get in a log that does not grow, if the settings do not say.
const REFRESH_SECONDS: u64 = 3600;

/// Shortest time to the next round, longer with each one that was in vain.
struct Backoff {
    next: Instant,
    pause: Duration,
}

/// Keeps the published checkpoint witnessed, as the policy of the moment wants. No commit waits for it.
///
/// A witness that did not answer may know that this ledger is an old copy, so it is asked until it does. `tell` hears of
/// every change for better or worse. Ends only with a finding: the log must not be signed on.
pub async fn keep_witnessed(project: &Project, tell: impl Fn(&str)) -> Failure {
    let mut ticker = tokio::time::interval(LOOK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut rounds, mut missing) = (Backoff::new(), Backoff::new());
    let (mut everybody_answered, mut told) = (false, String::new());
    loop {
        ticker.tick().await;
        let wanted = match due(project) {
            Ok(due) => (due && rounds.is_over()) || (!everybody_answered && missing.is_over()),
            Err(_) => rounds.is_over(),
        };
        // Without a policy nobody is missing; one may be written later.
        if !wanted || !super::path(project).exists() {
            continue;
        }
        let said = match ask(project).await {
            Ok(asked) => {
                everybody_answered = asked.witnesses.iter().all(|answer| answer.problem.is_none());
                if asked.quorum { Ok(()) } else { Err(problems(&asked)) }
            }
            Err(finding) if matches!(finding.code, Code::RolledBack | Code::Tampered) => return finding,
            Err(failure) => Err(failure.message),
        };
        rounds.after(said.is_ok());
        missing.after(everybody_answered);
        let said = said.err().unwrap_or_default();
        if said != told {
            tell(if said.is_empty() { "witnesses: the quorum is reached again" } else { &said });
            told = said;
        }
    }
}

/// Asks now if the published checkpoint is not witnessed as the policy wants, for who cannot wait for the next round.
pub(crate) async fn ask_if_due(project: &Project) -> Result<(), Failure> {
    if super::path(project).exists() && due(project).unwrap_or(true) {
        ask(project).await?;
    }
    Ok(())
}

impl Backoff {
    fn new() -> Self {
        Self { next: Instant::now(), pause: PAUSE }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.next
    }

    fn after(&mut self, went_well: bool) {
        self.pause = if went_well { PAUSE } else { (self.pause * 2).min(PAUSE_LIMIT) };
        self.next = Instant::now() + self.pause;
    }
}

/// Whether witnesses must be asked: the log has grown, or what they attest gets old.
fn due(project: &Project) -> Result<bool, Failure> {
    let Some(policy) = policy(project)? else { return Ok(false) };
    let Some(head) = project.store.ledger().head()? else { return Ok(false) };
    let witnessed = project.store.ledger().witnessed()?;
    let Some(Head { note, .. }) = witnessed.filter(|witnessed| witnessed.size == head.size) else {
        return Ok(true);
    };
    let now = unix_seconds();
    let judged = policy
        .evaluate(&note, now + CLOCK_TOLERANCE_SECONDS)
        .map_err(|e| Failure::caused(Code::Policy, &e))?;
    let refresh = project.config.witness_max_age_ms()?.map_or(REFRESH_SECONDS, |ms| ms / 2000);
    Ok(match judged.quorum {
        Quorum::NotRequired => false,
        Quorum::Reached { attested_at } => now.saturating_sub(attested_at) > refresh,
        Quorum::Missed => true,
    })
}

fn problems(asked: &Asked) -> String {
    let problem =
        |answer: &super::Answer| Some(format!("\n  {}: {}", answer.witness, answer.problem.as_ref()?));
    let problems: String = asked.witnesses.iter().filter_map(problem).collect();
    format!("witnesses: {}{problems}", asked.summary)
}
