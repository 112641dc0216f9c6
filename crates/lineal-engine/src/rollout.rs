//! The state machine that moves traffic from a stable version to a canary, by evidence.
//!
//! Phases carry the words of Argo Rollouts (`Progressing`, `Paused`, `Healthy`, `Degraded`). [`Rollout::step`]
//! consumes the state and returns the next one and its effects; it does nothing itself. `Healthy` and `Degraded`
//! are final, and each is entered with exactly one final record. Rules that hold everywhere:
//!
//! * Weight rises only while the canary is ready, and falls to 0 in the very step that ends in `Degraded`.
//! * Evidence of harm ends the rollout even while it is paused. Only a rise waits for a person.
//! * Weight falls first and is recorded after; it rises only after it is recorded.
//! * While the stable version is down nothing is counted: against a dead version every canary looks good.

use lineal_facts::predicate::{RolloutRecord, RolloutTransition};
use lineal_facts::{EnvironmentName, ModelVersion, RolloutId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, AnalysisError, Judgement, Observation, Strategy, Verdict, version_one};

mod progress;

pub use progress::Progress;

/// A rollout in one of its phases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase")]
pub enum Rollout {
    /// Waiting for the canary to be ready, or for evidence.
    Progressing(Progressing),
    /// Weight stands until a person says otherwise.
    Paused(Paused),
    /// The new version has all traffic. Final.
    Healthy(Healthy),
    /// The canary has no traffic. Final.
    Degraded(Degraded),
}

/// See [`Rollout::Progressing`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progressing {
    /// Where the rollout stands.
    pub progress: Progress,
    /// What it waits for, in a sentence.
    pub message: String,
}

/// See [`Rollout::Paused`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Paused {
    /// Where the rollout stands.
    pub progress: Progress,
    /// Why, in a sentence.
    pub message: String,
    /// Since when.
    pub paused_at: Timestamp,
    /// The stable version died; observations are not counted until the rollout is resumed.
    pub stable_down: bool,
}

/// See [`Rollout::Healthy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Healthy {
    /// Where the rollout ended.
    pub progress: Progress,
    /// Why, in a sentence.
    pub message: String,
    /// When.
    pub promoted_at: Timestamp,
}

/// See [`Rollout::Degraded`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Degraded {
    /// Where the rollout ended.
    pub progress: Progress,
    /// The kind of end.
    pub reason: DegradedReason,
    /// Why, in a sentence.
    pub message: String,
    /// When.
    pub degraded_at: Timestamp,
}

/// How a rollout failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DegradedReason {
    /// A person aborted it.
    RolloutAborted,
    /// A metric showed harm.
    AnalysisFailed,
    /// The canary's server died.
    CanaryDied,
    /// A step had no verdict in the time given.
    Expired,
}

/// What to roll out, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The rollout's id.
    pub id: RolloutId,
    /// Where.
    pub environment: EnvironmentName,
    /// The version that serves now. Without one the canary goes live at 100 % as soon as it is ready.
    pub stable: Option<ModelVersion>,
    /// The version to roll out.
    pub canary: ModelVersion,
    /// How.
    pub strategy: Strategy,
    /// Generation of the route table that is served now.
    pub generation: u64,
}

/// What happens to a rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The canary's server answers.
    CanaryReady,
    /// The canary's server does not answer yet, or not any more; weight does not rise.
    CanaryNotReady {
        /// What it said.
        reason: String,
    },
    /// The canary's process is gone.
    CanaryDied {
        /// How it ended.
        reason: String,
    },
    /// The stable version's process is gone.
    StableDied,
    /// Sums since the last observation. Either all are counted, or none and an error says why.
    Observe(Vec<Observation>),
    /// The route table was published again for another model: `generation` carries this rollout's present weight.
    RouteRepublished {
        /// The new generation.
        generation: u64,
    },
    /// Time passed.
    Tick,
    /// Keep the weight.
    Pause {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// End a pause.
    Resume,
    /// Go on without waiting for evidence.
    Promote {
        /// All the way, not one step.
        full: bool,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Send all traffic back. Always possible while the rollout is not final; repeating it does nothing.
    Abort {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What to do, in this order. Each may be carried out more than once.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Publish a route table of at least this generation in which the canary has this share.
    SetWeight {
        /// The canary's share in percent.
        percent: u32,
        /// The table's generation.
        generation: u64,
    },
    /// Store the analysis as a blob, put its digest and the place in the rollout into the record, append the record to
    /// the ledger.
    Record {
        /// The record, without the analysis's digest and as if it were the first.
        record: Box<RolloutRecord>,
        /// What the verdict was computed from.
        analysis: Box<Analysis>,
    },
    /// Stop the canary's server once no request is under way.
    StopCanary,
    /// Keep the stable version's server running, and start it if it is not.
    KeepStableWarm,
}

/// Why a command is refused. The state stays as it was.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RolloutError {
    /// The rollout is over.
    #[error("the rollout has ended ({0}); start another one to change traffic")]
    Ended(&'static str),
    /// Weight must not rise onto a server that does not answer.
    #[error("the canary is not ready, so that its weight cannot rise; wait for it or abort")]
    NotReady,
    /// One more step would need a comparison, and there is nothing to compare with.
    #[error("the stable version is down; resume once it is back, promote fully or abort")]
    StableDown,
    /// A resume without a pause.
    #[error("the rollout is not paused")]
    NotPaused,
    /// The canary is the stable version.
    #[error("version {0} is already the stable one; nothing to roll out")]
    SameVersion(ModelVersion),
    /// Canary and stable version are different models.
    #[error("{canary} cannot replace {stable}: another model")]
    OtherModel {
        /// The version that serves now.
        stable: ModelVersion,
        /// The version to roll out.
        canary: ModelVersion,
    },
    /// Strategy or observations are not usable.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

type Stepped = Result<(Rollout, Vec<Effect>), RolloutError>;

impl Rollout {
    /// Begins a rollout.
    pub fn start(start: Start, now: Timestamp) -> Stepped {
        if let Some(stable) = start.stable.as_ref().filter(|s| **s == start.canary) {
            return Err(RolloutError::SameVersion(stable.clone()));
        }
        if let Some(stable) = start.stable.as_ref().filter(|s| s.model != start.canary.model) {
            return Err(RolloutError::OtherModel { stable: stable.clone(), canary: start.canary });
        }
        let progress = Progress::new(start, now)?;
        let mut effects = Vec::new();
        if let Some(stable) = &progress.stable {
            let cause = format!("{} is to replace {stable}", progress.canary);
            effects.push(progress.record(RolloutTransition::Started, &cause, now));
            effects.push(Effect::KeepStableWarm);
        }
        let message = "waiting for the canary to be ready".to_owned();
        Ok((Self::Progressing(Progressing { progress, message }), effects))
    }

    /// Where the rollout stands.
    pub const fn progress(&self) -> &Progress {
        match self {
            Self::Progressing(state) => &state.progress,
            Self::Paused(state) => &state.progress,
            Self::Healthy(state) => &state.progress,
            Self::Degraded(state) => &state.progress,
        }
    }

    /// What the rollout waits for, or why it ended.
    pub fn message(&self) -> &str {
        match self {
            Self::Progressing(state) => &state.message,
            Self::Paused(state) => &state.message,
            Self::Healthy(state) => &state.message,
            Self::Degraded(state) => &state.message,
        }
    }

    /// `Progressing`, `Paused`, `Healthy` or `Degraded`.
    pub const fn phase(&self) -> &'static str {
        match self {
            Self::Progressing(_) => "Progressing",
            Self::Paused(_) => "Paused",
            Self::Healthy(_) => "Healthy",
            Self::Degraded(_) => "Degraded",
        }
    }

    /// Whether nothing can change any more.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Progressing(_) | Self::Paused(_) => false,
            Self::Healthy(_) | Self::Degraded(_) => true,
        }
    }

    /// Applies `command`. On an error nothing changed; keep a copy of the state to go on with.
    pub fn step(self, command: Command, now: Timestamp) -> Stepped {
        match self {
            Self::Progressing(state) => state.step(command, now),
            Self::Paused(state) => state.step(command, now),
            Self::Healthy(_) | Self::Degraded(_) => self.step_final(&command),
        }
    }

    /// What the world still reports is ignored; what people still want is answered.
    fn step_final(self, command: &Command) -> Stepped {
        let refused = match command {
            Command::CanaryReady
            | Command::CanaryNotReady { .. }
            | Command::CanaryDied { .. }
            | Command::StableDied
            | Command::Observe(_)
            | Command::RouteRepublished { .. }
            | Command::Tick => false,
            Command::Pause { .. } | Command::Resume | Command::Promote { .. } => true,
            Command::Abort { .. } => matches!(self, Self::Healthy(_)),
        };
        if refused { Err(RolloutError::Ended(self.phase())) } else { Ok((self, Vec::new())) }
    }
}

impl Progressing {
    fn step(mut self, command: Command, now: Timestamp) -> Stepped {
        match command {
            Command::CanaryReady => {
                self.progress.ready = true;
                if self.progress.weight_percent == 0 {
                    return self.progress.raise("the canary is ready", now);
                }
                self.evaluate(now)
            }
            Command::CanaryNotReady { reason } => {
                self.progress.ready = false;
                self.message = format!("the canary is not ready: {reason}");
                self.expire_or_stay(now)
            }
            Command::CanaryDied { reason } => self.progress.canary_died(&reason, now),
            Command::StableDied if self.progress.stable.is_none() => Ok((self.into(), Vec::new())),
            Command::StableDied => {
                let message = "the stable version died; resume when it is back, promote or abort".to_owned();
                let paused = Paused { progress: self.progress, message, paused_at: now, stable_down: true };
                Ok((Rollout::Paused(paused), vec![Effect::KeepStableWarm]))
            }
            Command::Observe(observations) => {
                self.progress.observe(&observations)?;
                self.evaluate(now)
            }
            Command::RouteRepublished { generation } => {
                self.progress.republished(generation);
                Ok((self.into(), Vec::new()))
            }
            Command::Tick => self.expire_or_stay(now),
            Command::Pause { by, reason } => {
                let message = format!("paused by {by}: {reason}");
                let paused = Paused { progress: self.progress, message, paused_at: now, stable_down: false };
                Ok((Rollout::Paused(paused), Vec::new()))
            }
            Command::Resume => Err(RolloutError::NotPaused),
            Command::Promote { full, by, reason } => self.progress.promote(full, &by, &reason, now),
            Command::Abort { by, reason } => self.progress.abort(&by, &reason, now),
        }
    }

    fn evaluate(mut self, now: Timestamp) -> Stepped {
        let Judgement { verdict, cause, .. } = self.progress.analysis.judge();
        match verdict {
            Verdict::Abort => self.progress.analysis_failed(&cause, now),
            Verdict::Promote if self.progress.ready => self.progress.raise(&cause, now),
            Verdict::Promote | Verdict::Hold => {
                if self.progress.ready {
                    self.message = cause;
                }
                self.expire_or_stay(now)
            }
        }
    }

    fn expire_or_stay(self, now: Timestamp) -> Stepped {
        if self.progress.is_overdue(now) {
            return self.progress.expire(&self.message, now);
        }
        Ok((self.into(), Vec::new()))
    }
}

impl Paused {
    fn step(mut self, command: Command, now: Timestamp) -> Stepped {
        match command {
            Command::CanaryReady => self.progress.ready = true,
            Command::CanaryNotReady { .. } => self.progress.ready = false,
            Command::CanaryDied { reason } => return self.progress.canary_died(&reason, now),
            Command::StableDied => {
                self.stable_down = self.progress.stable.is_some();
                let effects = if self.stable_down { vec![Effect::KeepStableWarm] } else { Vec::new() };
                return Ok((Rollout::Paused(self), effects));
            }
            Command::Observe(_) if self.stable_down => {}
            Command::Observe(observations) => {
                self.progress.observe(&observations)?;
                let Judgement { verdict, cause, .. } = self.progress.analysis.judge();
                match verdict {
                    Verdict::Abort => return self.progress.analysis_failed(&cause, now),
                    Verdict::Promote | Verdict::Hold => {}
                }
            }
            Command::RouteRepublished { generation } => self.progress.republished(generation),
            Command::Tick => {}
            Command::Pause { by, reason } => self.message = format!("paused by {by}: {reason}"),
            Command::Resume => return self.resume(now),
            Command::Promote { full: false, .. } if self.stable_down => return Err(RolloutError::StableDown),
            Command::Promote { full, by, reason } => return self.progress.promote(full, &by, &reason, now),
            Command::Abort { by, reason } => return self.progress.abort(&by, &reason, now),
        }
        Ok((Rollout::Paused(self), Vec::new()))
    }

    /// The step goes on; the time of the pause does not count against it.
    fn resume(self, now: Timestamp) -> Stepped {
        let mut progress = self.progress;
        progress.shift_step_start(now.since_ms(self.paused_at));
        let resumed = Progressing { progress, message: "resumed".to_owned() };
        if resumed.progress.ready && resumed.progress.weight_percent == 0 {
            return resumed.progress.raise("the canary is ready", now);
        }
        resumed.evaluate(now)
    }
}

impl From<Progressing> for Rollout {
    fn from(state: Progressing) -> Self {
        Self::Progressing(state)
    }
}

#[cfg(test)]
mod tests;
