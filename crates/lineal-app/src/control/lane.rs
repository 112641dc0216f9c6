//! One model in one environment: its servers, its rollout and its route.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use lineal_blob::files::{self, Context};
use lineal_engine::analysis::{Arm, Observation, Strategy};
use lineal_engine::observation::Window;
use lineal_engine::policy::Policy;
use lineal_engine::rollout::Rollout;
use lineal_engine::route::{Role, Route, Share, WEIGHT_TOTAL};
use lineal_facts::predicate::RolloutRecord;
use lineal_facts::{Digest, EnvironmentName, ModelName, ModelVersion};
use serde::{Deserialize, Serialize};

use super::join::Joined;
use super::{LaneStatus, RolloutStatus, ServerStatus};
use crate::failure::{Code, Failure};
use crate::project::Project;
use crate::serving::ModelServer;

/// Slow requests, unless the policy says otherwise.
const DEFAULT_SLOW_AFTER_MS: u64 = 250;
const STATE_LIMIT_BYTES: u64 = 16 << 20;

/// Where and what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) environment: EnvironmentName,
    pub(super) model: ModelName,
}

/// A model in an environment.
pub(super) struct Lane {
    pub(super) key: LaneKey,
    pub(super) slow_after_ms: u64,
    /// The version that serves whatever a canary does not.
    pub(super) serving: Option<u32>,
    pub(super) rollout: Option<Rollout>,
    pub(super) servers: BTreeMap<u32, Server>,
    /// Observations that the rollout has not seen yet, by generation.
    pub(super) pending: BTreeMap<u64, Observation>,
    /// Steps of rollouts that were decided and are not in the ledger yet, oldest first.
    pub(super) outbox: Vec<RolloutRecord>,
    /// Whether the stored state is behind.
    pub(super) dirty: bool,
}

/// A version's server.
pub(super) struct Server {
    pub(super) digest: Digest,
    pub(super) output: String,
    pub(super) state: ServerState,
    pub(super) requests: u64,
    pub(super) errors: u64,
}

pub(super) enum ServerState {
    /// A task is starting it; a message will tell.
    Starting,
    /// It was ready, and no exit was seen since.
    Running(Box<ModelServer>),
    /// It could not be started or died. Left by starting it again.
    Failed(String),
}

/// What a restart needs beyond the ledger, version 1. State and outbox are one file: a step is decided and due to be
/// recorded in the same moment, whatever happens next.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StoredLane {
    pub(super) version: String,
    pub(super) generation: u64,
    pub(super) rollout: Option<Rollout>,
    #[serde(default)]
    pub(super) outbox: Vec<RolloutRecord>,
}

impl Lane {
    pub(super) fn new(key: LaneKey) -> Self {
        Self {
            key,
            slow_after_ms: DEFAULT_SLOW_AFTER_MS,
            serving: None,
            rollout: None,
            servers: BTreeMap::new(),
            pending: BTreeMap::new(),
            outbox: Vec::new(),
            dirty: false,
        }
    }

    /// The rollout, unless it ended.
    pub(super) fn active(&self) -> Option<&Rollout> {
        self.rollout.as_ref().filter(|rollout| !rollout.is_final())
    }

    /// The version that is being rolled out.
    pub(super) fn canary(&self) -> Option<&ModelVersion> {
        self.active().map(|rollout| &rollout.progress().canary)
    }

    pub(super) fn version(&self, version: u32) -> ModelVersion {
        ModelVersion { model: self.key.model.clone(), version }
    }

    /// The route, if the serving version's server runs. A canary without a running server gets nothing.
    pub(super) fn route(&self) -> Option<Route> {
        let stable = self.serving?;
        let output = self.servers.get(&stable)?.output.clone();
        let mut shares = Vec::new();
        let mut left = WEIGHT_TOTAL;
        if let Some(rollout) = self.active() {
            let progress = rollout.progress();
            let weight = progress.weight_percent.min(100) * (WEIGHT_TOTAL / 100);
            if let Some(share) =
                self.share(progress.canary.version, Role::Canary, weight).filter(|s| s.weight > 0)
            {
                left -= share.weight;
                shares.push(share);
            }
        }
        shares.push(self.share(stable, Role::Stable, left)?);
        let (model, environment) = (self.key.model.clone(), self.key.environment.clone());
        Some(Route { model, environment, slow_after_ms: self.slow_after_ms, output, shares })
    }

    fn share(&self, version: u32, role: Role, weight: u32) -> Option<Share> {
        let server = self.servers.get(&version)?;
        match &server.state {
            ServerState::Running(running) => {
                Some(Share { version, digest: server.digest, role, weight, upstream: running.address })
            }
            ServerState::Starting | ServerState::Failed(_) => None,
        }
    }

    /// Takes a gateway's sums.
    pub(super) fn observe_window(&mut self, window: &Window) {
        if let Some(server) = self.servers.get_mut(&window.version) {
            server.requests += window.requests;
            server.errors += window.errors;
        }
        self.observe(window.generation, window.role, Arm::of_window(window));
    }

    /// Takes the loss of one request.
    pub(super) fn observe_loss(&mut self, joined: &Joined) {
        let mut arm = Arm::default();
        if arm.loss.add(joined.loss).is_ok() {
            self.observe(joined.generation, joined.role, arm);
        }
    }

    fn observe(&mut self, generation: u64, role: Role, arm: Arm) {
        let Some(rollout) = self.active() else { return };
        if !rollout.progress().accepts(generation) {
            return;
        }
        let observation = self.pending.entry(generation).or_insert_with(|| Observation {
            generation,
            stable: Arm::default(),
            canary: Arm::default(),
        });
        let slot = match role {
            Role::Stable => &mut observation.stable,
            Role::Canary => &mut observation.canary,
        };
        *slot = slot.merged(&arm);
    }

    pub(super) fn status(&self, generation: u64) -> LaneStatus {
        let servers = self.servers.iter().map(|(version, server)| {
            let (state, address) = match &server.state {
                ServerState::Starting => ("starting".to_owned(), None),
                ServerState::Running(running) => ("running".to_owned(), Some(running.address.to_string())),
                ServerState::Failed(reason) => (reason.clone(), None),
            };
            let (digest, requests, errors) = (server.digest, server.requests, server.errors);
            ServerStatus { version: *version, digest, state, address, requests, errors }
        });
        LaneStatus {
            environment: self.key.environment.clone(),
            model: self.key.model.clone(),
            serving: self.serving,
            generation,
            rollout: self.rollout.as_ref().map(rollout_status),
            unrecorded: self.outbox.len(),
            servers: servers.collect(),
        }
    }

    /// The file of the stored state.
    fn state_path(&self, project: &Project) -> PathBuf {
        folder(project).join(format!("{}.{}.json", self.key.environment, self.key.model))
    }

    pub(super) fn save(&mut self, project: &Project, generation: u64) -> Result<(), Failure> {
        let (rollout, outbox) = (self.rollout.clone(), self.outbox.clone());
        let stored = StoredLane { version: "1".to_owned(), generation, rollout, outbox };
        let bytes = serde_json::to_vec(&stored).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let path = self.state_path(project);
        files::create_directory(files::parent(&path))?;
        files::replace(&path, &bytes)?;
        self.dirty = false;
        Ok(())
    }
}

impl StoredLane {
    /// The stored states of all lanes. An unreadable one counts as none, because the ledger says what serves.
    pub(super) fn all(project: &Project) -> Result<Vec<(LaneKey, Self)>, Failure> {
        let (folder, mut lanes) = (folder(project), Vec::new());
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(lanes),
            entries => entries.context("list", &folder)?,
        };
        for entry in entries {
            let path = entry.context("list", &folder)?.path();
            // Others are what a kill left of a replacement.
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            let Ok(bytes) = files::read_limited(&path, STATE_LIMIT_BYTES) else { continue };
            let stored = serde_json::from_slice(&bytes).ok().filter(|stored: &Self| stored.version == "1");
            // Without a rollout nothing is due.
            if let Some(stored) = stored
                && let Some(progress) = stored.rollout.as_ref().map(Rollout::progress)
            {
                let (environment, model) = (progress.environment.clone(), progress.canary.model.clone());
                lanes.push((LaneKey { environment, model }, stored));
            }
        }
        Ok(lanes)
    }
}

fn folder(project: &Project) -> PathBuf {
    project.folder().join("control")
}

fn rollout_status(rollout: &Rollout) -> RolloutStatus {
    let progress = rollout.progress();
    RolloutStatus {
        id: progress.id.clone(),
        phase: rollout.phase().to_owned(),
        message: rollout.message().to_owned(),
        is_final: rollout.is_final(),
        stable: progress.stable.clone(),
        canary: progress.canary.clone(),
        weight_percent: progress.weight_percent,
        // Without a version to compare with there is nothing to say.
        metrics: progress.stable.as_ref().map(|_| progress.analysis.judge().evidence()).unwrap_or_default(),
    }
}

/// Strategy and slow threshold of a policy's `rollout` section: `slowAfterMs` and the fields of [`Strategy`].
pub(super) fn strategy(policy: &Policy) -> Result<(Strategy, u64), Failure> {
    let wrong = |reason: String| {
        Failure::new(Code::Policy, format!("policy of `{}`: rollout: {reason}", policy.environment))
    };
    let Some(value) = policy.rollout.clone() else { return Ok((Strategy::default(), DEFAULT_SLOW_AFTER_MS)) };
    let serde_json::Value::Object(mut fields) = value else {
        return Err(wrong("expected fields such as `steps: [5, 25, 50, 100]`".to_owned()));
    };
    let slow_after_ms = match fields.shift_remove("slowAfterMs") {
        None => DEFAULT_SLOW_AFTER_MS,
        Some(value) => {
            value.as_u64().ok_or_else(|| wrong("slowAfterMs: expected whole milliseconds".to_owned()))?
        }
    };
    let strategy: Strategy =
        serde_json::from_value(serde_json::Value::Object(fields)).map_err(|e| wrong(e.to_string()))?;
    strategy.check().map_err(|e| wrong(crate::failure::chain(&e)))?;
    Ok((strategy, slow_after_ms))
}
