//! What all phases share, and the transitions that leave a record.

use lineal_facts::sequence::Sequence;

use super::{
    Analysis, Degraded, DegradedReason, Deserialize, Effect, EnvironmentName, Healthy, ModelVersion,
    Observation, Progressing, Rollout, RolloutError, RolloutId, RolloutRecord, RolloutTransition, Serialize,
    Start, Stepped, Timestamp, version_one,
};

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    /// Format version, `1`.
    #[serde(deserialize_with = "version_one")]
    pub version: String,
    /// The rollout's id.
    pub id: RolloutId,
    /// Where.
    pub environment: EnvironmentName,
    /// The version that served before.
    pub stable: Option<ModelVersion>,
    /// The version that is rolled out.
    pub canary: ModelVersion,
    /// Strategy and observations.
    pub analysis: Analysis,
    /// The canary's share of traffic in percent: 0 before the first step and after the end in `Degraded`.
    pub weight_percent: u32,
    /// Latest known generation of the route table.
    pub generation: u64,
    /// Whether the canary's server answers.
    pub ready: bool,
    /// When the rollout began.
    pub started_at: Timestamp,
    /// When the present step began, moved on by pauses.
    pub step_started_at: Timestamp,
}

impl Progress {
    pub(super) fn new(start: Start, now: Timestamp) -> Result<Self, RolloutError> {
        Ok(Self {
            version: "1".to_owned(),
            id: start.id,
            environment: start.environment,
            stable: start.stable,
            canary: start.canary,
            analysis: Analysis::new(start.strategy)?,
            weight_percent: 0,
            generation: start.generation,
            ready: false,
            started_at: now,
            step_started_at: now,
        })
    }

    /// Whether observations of `generation` are of this rollout's making.
    pub fn accepts(&self, generation: u64) -> bool {
        let first = self.analysis.strata().first();
        first.is_some_and(|first| (first.generation..=self.generation).contains(&generation))
    }

    pub(super) fn observe(&mut self, observations: &[Observation]) -> Result<(), RolloutError> {
        let mut analysis = self.analysis.clone();
        for observation in observations {
            let generation = observation.generation;
            if !self.accepts(generation) {
                return Err(crate::analysis::AnalysisError::UnknownGeneration { generation }.into());
            }
            analysis.observe(observation)?;
        }
        self.analysis = analysis;
        Ok(())
    }

    pub(super) fn republished(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    pub(super) fn shift_step_start(&mut self, paused_ms: u64) {
        let paused_ms = i64::try_from(paused_ms).unwrap_or(i64::MAX);
        self.step_started_at =
            Timestamp::from_unix_ms(self.step_started_at.unix_ms().saturating_add(paused_ms));
    }

    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        now.since_ms(self.step_started_at) >= self.analysis.strategy().max_step_seconds.saturating_mul(1_000)
    }

    /// Raises the weight to the next step.
    pub(super) fn raise(self, cause: &str, now: Timestamp) -> Stepped {
        let next = self.analysis.strategy().steps.iter().find(|step| **step > self.weight_percent);
        let percent = if self.stable.is_none() { 100 } else { next.copied().unwrap_or(100) };
        self.raise_to(percent, cause, now)
    }

    fn raise_to(mut self, percent: u32, cause: &str, now: Timestamp) -> Stepped {
        let first_version = self.stable.is_none();
        self.weight_percent = percent;
        self.generation += 1;
        self.step_started_at = now;
        let set_weight = Effect::SetWeight { percent, generation: self.generation };
        if percent < 100 {
            self.analysis.open_stratum(self.generation, percent)?;
            let record = self.record(RolloutTransition::Advanced, cause, now);
            let message = format!("the canary has {percent} % of the traffic");
            let state = Rollout::Progressing(Progressing { progress: self, message });
            return Ok((state, vec![record, set_weight]));
        }
        let (transition, message) = if first_version {
            let cause = format!("first version in {}: nothing to compare it with", self.environment);
            (RolloutTransition::Started, cause)
        } else {
            (RolloutTransition::Promoted, cause.to_owned())
        };
        let mut effects = vec![self.record(transition, &message, now), set_weight];
        if !first_version {
            effects.push(Effect::KeepStableWarm);
        }
        Ok((Rollout::Healthy(Healthy { progress: self, message, promoted_at: now }), effects))
    }

    pub(super) fn promote(self, full: bool, by: &str, reason: &str, now: Timestamp) -> Stepped {
        if !self.ready {
            return Err(RolloutError::NotReady);
        }
        let cause = format!("promoted by {by}: {reason}");
        if full { self.raise_to(100, &cause, now) } else { self.raise(&cause, now) }
    }

    pub(super) fn abort(self, by: &str, reason: &str, now: Timestamp) -> Stepped {
        let cause = format!("aborted by {by}: {reason}");
        self.degrade(DegradedReason::RolloutAborted, cause, now)
    }

    pub(super) fn canary_died(self, reason: &str, now: Timestamp) -> Stepped {
        let cause = format!("the canary's server died: {reason}");
        self.degrade(DegradedReason::CanaryDied, cause, now)
    }

    pub(super) fn analysis_failed(self, cause: &str, now: Timestamp) -> Stepped {
        self.degrade(DegradedReason::AnalysisFailed, cause.to_owned(), now)
    }

    pub(super) fn expire(self, waiting_for: &str, now: Timestamp) -> Stepped {
        let seconds = self.analysis.strategy().max_step_seconds;
        let cause = format!("no verdict within {seconds} seconds; {waiting_for}");
        self.degrade(DegradedReason::Expired, cause, now)
    }

    /// All traffic goes back to the stable version. Without one there is nothing to route to and no route yet.
    fn degrade(mut self, reason: DegradedReason, message: String, now: Timestamp) -> Stepped {
        let transition = match reason {
            DegradedReason::RolloutAborted => RolloutTransition::Aborted,
            DegradedReason::AnalysisFailed | DegradedReason::CanaryDied => RolloutTransition::RolledBack,
            DegradedReason::Expired => RolloutTransition::Expired,
        };
        let mut effects = Vec::new();
        self.weight_percent = 0;
        if self.stable.is_some() {
            self.generation += 1;
            effects.push(Effect::SetWeight { percent: 0, generation: self.generation });
            effects.push(Effect::KeepStableWarm);
        }
        effects.push(self.record(transition, &message, now));
        effects.push(Effect::StopCanary);
        Ok((Rollout::Degraded(Degraded { progress: self, reason, message, degraded_at: now }), effects))
    }

    pub(super) fn record(&self, transition: RolloutTransition, cause: &str, now: Timestamp) -> Effect {
        let record = RolloutRecord {
            rollout: self.id.clone(),
            environment: self.environment.clone(),
            stable: self.stable.clone(),
            canary: self.canary.clone(),
            transition,
            canary_weight_percent: self.weight_percent.to_string(),
            generation: self.generation.to_string(),
            cause: cause.to_owned(),
            evidence: self.analysis.judge().evidence(),
            analysis: None,
            sequence: Sequence::after(None),
            decided_at: now,
        };
        Effect::Record { record: Box::new(record), analysis: Box::new(self.analysis.clone()) }
    }
}
