//! The owner task.

mod outbox;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lineal_engine::observation::Report;
use lineal_engine::rollout::{Command, Effect, Rollout, Start};
use lineal_engine::route::RouteTable;
use lineal_facts::predicate::{RolloutRecord, RolloutTransition};
use lineal_facts::{EnvironmentName, ModelVersion, RolloutId};
use lineal_proof::Signer;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::join::Join;
use super::lane::{self, Lane, LaneKey, Server, ServerState, StoredLane};
use super::publish::PublishedTable;
use super::{LaneStatus, Message};
use crate::failure::{Code, Failure};
use crate::project::{Project, now, random_hex};
use crate::promotion;
use crate::serving::{ModelServer, ServeTarget, stop_others};
use crate::{keys, model};

/// How often observations are judged, servers looked at and states saved.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two attempts to start the serving version again, and between two saves.
const SLOW_TICKS: u64 = 10;
/// How long a server whose traffic went away may finish what it is doing.
const DRAIN: Duration = Duration::from_secs(2);
/// Gateways whose sequence numbers are remembered.
const GATEWAY_LIMIT: usize = 1000;

pub(super) struct Controller {
    project: Project,
    router: Arc<dyn Signer>,
    sender: mpsc::Sender<Message>,
    publisher: watch::Sender<Arc<PublishedTable>>,
    generation: u64,
    lanes: BTreeMap<LaneKey, Lane>,
    join: Join,
    /// Last report of each gateway.
    gateways: BTreeMap<String, u64>,
    ticks: u64,
}

/// Stops a server after the requests under way had time to end.
fn drain(server: Option<Server>) {
    if let Some(Server { state: ServerState::Running(server), .. }) = server {
        tokio::spawn(async move {
            tokio::time::sleep(DRAIN).await;
            server.stop().await;
        });
    }
}

/// After a promotion the version before stays warm, so that going back is quick; older ones are stopped.
fn retire(lane: &mut Lane) {
    let Some(Rollout::Healthy(healthy)) = &lane.rollout else { return };
    let keep = [Some(healthy.progress.canary.version), healthy.progress.stable.as_ref().map(|v| v.version)];
    let old: Vec<u32> =
        lane.servers.keys().copied().filter(|version| !keep.contains(&Some(*version))).collect();
    for version in old {
        drain(lane.servers.remove(&version));
    }
}

impl Controller {
    /// Takes up lanes from the ledger and, where a rollout was under way, from its stored state.
    pub(super) async fn resume(
        project: Project,
        sender: mpsc::Sender<Message>,
        publisher: watch::Sender<Arc<PublishedTable>>,
    ) -> Result<Self, Failure> {
        let router = keys::router(&project).await?;
        // Gateways refuse tables that are not newer than theirs; the clock keeps generations rising across crashes.
        let generation = u64::try_from(now().unix_ms()).unwrap_or(0);
        let (lanes, join, gateways) = (BTreeMap::new(), Join::default(), BTreeMap::new());
        let mut controller =
            Self { project, router, sender, publisher, generation, lanes, join, gateways, ticks: 0 };
        controller.resume_lanes().await?;
        Ok(controller)
    }

    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = receiver.recv() => match message {
                    Some(Message::Stop { reply }) => {
                        self.stop().await;
                        // Whoever asked may be gone; there is nobody else to tell.
                        let _ = reply.send(Ok(()));
                        return;
                    }
                    Some(message) => self.handle(message).await,
                    None => return self.stop().await,
                },
                _ = ticker.tick() => self.tick().await,
            }
        }
    }

    async fn handle(&mut self, message: Message) {
        // A requester that went away needs no answer: hence the ignored results.
        match message {
            Message::StartRollout { version, environment, reply } => {
                let _ = reply.send(self.start_rollout(version, environment).await);
            }
            Message::Act { rollout, command, reply } => {
                let _ = reply.send(self.act(&rollout, command).await);
            }
            Message::Report { report, reply } => {
                self.report(*report);
                let _ = reply.send(Ok(()));
            }
            Message::Outcomes { outcomes, reply } => {
                let joined: Vec<_> =
                    outcomes.into_iter().filter_map(|o| self.join.outcome(o.id, o.outcome)).collect();
                for loss in &joined {
                    self.lanes
                        .values_mut()
                        .filter(|l| l.key.model == loss.model)
                        .for_each(|l| l.observe_loss(loss));
                }
                let _ = reply.send(Ok(joined.len() as u64));
            }
            Message::Status { reply } => {
                let _ = reply.send(Ok(self.lanes.values().map(|l| l.status(self.generation)).collect()));
            }
            Message::ServerStarted { lane, version, started } => {
                self.server_started(&lane, version, *started).await
            }
            Message::Stop { .. } => {}
        }
    }

    async fn start_rollout(
        &mut self,
        version: ModelVersion,
        environment: EnvironmentName,
    ) -> Result<LaneStatus, Failure> {
        let Some(row) = promotion::promoted(&self.project, &version, &environment).await? else {
            return Err(Failure::new(
                Code::Refused,
                format!(
                    "{version} is not promoted to {environment}; run `lineal promote {version} --to {environment}`"
                ),
            ));
        };
        let (policy, _) = promotion::load_policy(&self.project, &environment)?;
        let (strategy, slow_after_ms) = lane::strategy(&policy)?;
        let key = LaneKey { environment: environment.clone(), model: version.model.clone() };
        let generation = self.generation;
        let entry = self.lanes.entry(key.clone()).or_insert_with(|| Lane::new(key.clone()));
        if let Some(active) = entry.active() {
            return Err(Failure::new(
                Code::RolloutState,
                format!(
                    "{} of {} is under way; wait for it, or `lineal rollout abort {}`",
                    active.progress().id,
                    active.progress().canary,
                    active.progress().id
                ),
            ));
        }
        entry.slow_after_ms = slow_after_ms;
        let at = now();
        let nonce = u64::from_str_radix(&random_hex()?, 16).unwrap_or(0);
        let start = Start {
            id: RolloutId::derive(&row.digest, at, nonce),
            environment,
            stable: entry.serving.map(|serving| entry.version(serving)),
            canary: version.clone(),
            strategy,
            generation,
        };
        let (rollout, effects) =
            Rollout::start(start, at).map_err(|e| Failure::caused(Code::RolloutState, &e))?;
        entry.pending.clear();
        self.enter(&key, rollout, effects).await?;
        self.ensure_server(&key, version.version).await;
        self.lane_status(&key)
    }

    async fn act(&mut self, id: &RolloutId, command: Command) -> Result<LaneStatus, Failure> {
        let found = self.lanes.values().find(|l| l.rollout.as_ref().is_some_and(|r| r.progress().id == *id));
        let key = found.map(|lane| lane.key.clone()).ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("there is no rollout `{id}` here; `lineal rollout status` shows what there is"),
            )
        })?;
        self.apply(&key, command).await?;
        self.lane_status(&key)
    }

    /// Takes one report; losses and sums are judged at the next tick.
    fn report(&mut self, report: Report) {
        let last = self.gateways.get(&report.gateway).copied().unwrap_or(0);
        if report.sequence <= last {
            return;
        }
        if self.gateways.len() >= GATEWAY_LIMIT && last == 0 {
            self.gateways.pop_first();
        }
        self.gateways.insert(report.gateway, report.sequence);
        for window in &report.windows {
            self.lanes
                .values_mut()
                .filter(|l| l.key.model == window.model)
                .for_each(|l| l.observe_window(window));
        }
        for record in report.records {
            if let Some(loss) = self.join.request(record) {
                self.lanes
                    .values_mut()
                    .filter(|l| l.key.model == loss.model)
                    .for_each(|l| l.observe_loss(&loss));
            }
        }
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        let slow = self.ticks.is_multiple_of(SLOW_TICKS);
        for key in self.lanes.keys().cloned().collect::<Vec<_>>() {
            self.look_at_servers(&key, slow).await;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            if lane.active().is_none() {
                continue;
            }
            let pending: Vec<_> = std::mem::take(&mut lane.pending).into_values().collect();
            let command = if pending.is_empty() { Command::Tick } else { Command::Observe(pending) };
            lane.dirty |= command != Command::Tick;
            // A refusal leaves the state as it was, and the next tick judges again.
            let _ = self.apply(&key, command).await;
        }
        if slow {
            self.record_late().await;
        }
    }

    /// Steps the rollout of a lane and carries out what follows.
    async fn apply(&mut self, key: &LaneKey, command: Command) -> Result<(), Failure> {
        let Some(rollout) = self.lanes.get(key).and_then(|lane| lane.rollout.clone()) else { return Ok(()) };
        let (next, effects) =
            rollout.step(command, now()).map_err(|e| Failure::caused(Code::RolloutState, &e))?;
        self.enter(key, next, effects).await
    }

    /// Makes `next` the state of the lane. A step that raises weight is recorded first and does not happen if it
    /// cannot be; one that takes weight away happens first and is recorded as soon as possible. Either is stored, with
    /// the state that it leads to, before anything else.
    async fn enter(&mut self, key: &LaneKey, next: Rollout, effects: Vec<Effect>) -> Result<(), Failure> {
        let Some(lane) = self.lanes.get_mut(key) else { return Ok(()) };
        let previous = lane.rollout.replace(next);
        let served_before = lane.serving;
        for effect in &effects {
            if let Effect::Record { record, analysis } = effect {
                let bytes = analysis.to_json().map_err(|e| Failure::caused(Code::Internal, &e))?;
                let analysis = self.project.store.blobs().put(&bytes).ok();
                // A disk that fails must not hold up a fall, and a rise is recorded before it happens.
                let _ = self.post(key, RolloutRecord { analysis, ..(**record).clone() });
            }
        }
        let (mut routed, mut recorded) = (false, false);
        for effect in effects {
            match effect {
                Effect::SetWeight { generation, .. } => {
                    routed = true;
                    self.set_weight(key, generation)?;
                }
                Effect::Record { .. } => {
                    recorded = true;
                    if let Err(failure) = self.record_due(key).await
                        && !routed
                    {
                        if let Some(lane) = self.lanes.get_mut(key) {
                            lane.rollout = previous;
                            lane.serving = served_before;
                        }
                        self.withdraw(key);
                        return Err(failure);
                    }
                }
                Effect::StopCanary => self.stop_canary(key),
                Effect::KeepStableWarm => {
                    if let Some(serving) = self.lanes.get(key).and_then(|lane| lane.serving) {
                        self.ensure_server(key, serving).await;
                    }
                }
            }
        }
        if (routed || recorded)
            && let Some(lane) = self.lanes.get_mut(key)
        {
            retire(lane);
            lane.save(&self.project, self.generation)?;
        }
        Ok(())
    }

    fn set_weight(&mut self, key: &LaneKey, generation: u64) -> Result<(), Failure> {
        if let Some(lane) = self.lanes.get_mut(key)
            && let Some(Rollout::Healthy(healthy)) = &lane.rollout
        {
            lane.serving = Some(healthy.progress.canary.version);
        }
        self.publish(generation.max(self.generation + 1), Some(key))
    }

    /// Publishes the table of all lanes. Rollouts of other lanes learn the generation that carries their weight now.
    fn publish(&mut self, generation: u64, cause: Option<&LaneKey>) -> Result<(), Failure> {
        self.generation = generation;
        let routes = self.lanes.values().filter_map(Lane::route).collect();
        let table = RouteTable { version: "1".to_owned(), generation, issued_at: now(), routes };
        let published = PublishedTable::sign(&table, &*self.router)?;
        self.publisher.send_replace(Arc::new(published));
        let at = now();
        for lane in self.lanes.values_mut().filter(|lane| Some(&lane.key) != cause) {
            let Some(rollout) = lane.rollout.clone() else { continue };
            if let Ok((next, _)) = rollout.step(Command::RouteRepublished { generation }, at) {
                lane.rollout = Some(next);
            }
        }
        Ok(())
    }

    /// Starts the server of a version unless it runs or is being started.
    async fn ensure_server(&mut self, key: &LaneKey, version: u32) {
        self.begin_server(key, version, false).await;
    }

    /// Like [`Self::ensure_server`]; `take_up` allows to use what an earlier control plane left running.
    async fn begin_server(&mut self, key: &LaneKey, version: u32, take_up: bool) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let running = lane.servers.get(&version).is_some_and(|s| !matches!(s.state, ServerState::Failed(_)));
        if running {
            return;
        }
        let model_version = lane.version(version);
        let row = match model::find(&self.project, &model_version).await {
            Ok(row) => row,
            Err(failure) => {
                let failed = Box::new(Err(failure));
                let message = Message::ServerStarted { lane: key.clone(), version, started: failed };
                let sender = self.sender.clone();
                // The owner task must not wait for its own queue.
                tokio::spawn(async move { sender.send(message).await });
                return;
            }
        };
        let output = row.record.serve.output.clone();
        let server =
            Server { digest: row.digest, output, state: ServerState::Starting, requests: 0, errors: 0 };
        lane.servers.insert(version, server);
        let target = ServeTarget { version: model_version, digest: row.digest, serve: row.record.serve };
        let (project, sender, key) = (self.project.clone(), self.sender.clone(), key.clone());
        tokio::spawn(async move {
            let started = if take_up {
                ModelServer::take_up(&project, &target).await
            } else {
                ModelServer::start_kept(&project, &target).await
            };
            let started = Box::new(started);
            // If the owner task is gone, dropping the message stops the server.
            let _ = sender.send(Message::ServerStarted { lane: key, version, started }).await;
        });
    }

    async fn server_started(&mut self, key: &LaneKey, version: u32, started: Result<ModelServer, Failure>) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let is_canary = lane.canary().is_some_and(|canary| canary.version == version);
        let is_serving = lane.serving == Some(version);
        let Some(server) = lane.servers.get_mut(&version) else { return };
        let outcome = match started {
            Ok(running) => {
                server.state = ServerState::Running(Box::new(running));
                Ok(())
            }
            Err(failure) => {
                server.state = ServerState::Failed(failure.message.clone());
                Err(failure.message)
            }
        };
        let command = match outcome {
            Ok(()) => Command::CanaryReady,
            Err(reason) => Command::CanaryDied { reason },
        };
        let ready = command == Command::CanaryReady;
        // A failure to publish or record is seen again at the next tick: the state says what is not done.
        if ready && (is_serving || is_canary) {
            let _ = self.publish(self.generation + 1, None);
        }
        if is_canary {
            let _ = self.apply(key, command).await;
        }
    }

    /// Notices servers that ended; starts the serving one again.
    async fn look_at_servers(&mut self, key: &LaneKey, retry: bool) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let canary = lane.canary().map(|canary| canary.version);
        let mut died = Vec::new();
        for (version, server) in &mut lane.servers {
            if let ServerState::Running(running) = &mut server.state
                && let Some(reason) = running.exited()
            {
                server.state = ServerState::Failed(reason.clone());
                died.push((*version, reason));
            }
        }
        let serving = lane.serving;
        for (version, reason) in died {
            // Refusals need no handling: the state machine ignores what does not matter in its state.
            if Some(version) == canary {
                let _ = self.apply(key, Command::CanaryDied { reason }).await;
            } else if Some(version) == serving {
                let _ = self.apply(key, Command::StableDied).await;
                self.ensure_server(key, version).await;
            }
        }
        if retry && let Some(serving) = serving {
            self.ensure_server(key, serving).await;
        }
    }

    /// Stops the server of the version that lost its traffic, after the requests under way had time to end.
    fn stop_canary(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let Some(rollout) = &lane.rollout else { return };
        let canary = rollout.progress().canary.version;
        drain(lane.servers.remove(&canary));
    }

    fn lane_status(&self, key: &LaneKey) -> Result<LaneStatus, Failure> {
        let lane = self.lanes.get(key).ok_or_else(|| Failure::new(Code::Internal, "the lane is gone"))?;
        Ok(lane.status(self.generation))
    }

    async fn stop(&mut self) {
        for lane in self.lanes.values_mut() {
            // The state file only shortens a restart.
            let _ = lane.save(&self.project, self.generation);
            for (_, server) in std::mem::take(&mut lane.servers) {
                if let ServerState::Running(server) = server.state {
                    server.stop().await;
                }
            }
        }
    }

    async fn resume_lanes(&mut self) -> Result<(), Failure> {
        for (key, stored) in StoredLane::all(&self.project)? {
            self.generation = self.generation.max(stored.generation + 1);
            let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane::new(key.clone()));
            (lane.rollout, lane.outbox) = (stored.rollout, stored.outbox);
            // What was decided and is not in the ledger gets there before any of it is routed.
            self.record_due(&key).await?;
        }
        for row in self.project.store.index().latest_rollout_steps().await? {
            let record = row.record;
            let key = LaneKey { environment: record.environment.clone(), model: record.canary.model.clone() };
            let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane::new(key));
            match record.transition {
                RolloutTransition::Promoted => lane.serving = Some(record.canary.version),
                RolloutTransition::Started if record.stable.is_none() => {
                    lane.serving = Some(record.canary.version)
                }
                RolloutTransition::Started
                | RolloutTransition::Advanced
                | RolloutTransition::RolledBack
                | RolloutTransition::Aborted
                | RolloutTransition::Expired => lane.serving = record.stable.map(|stable| stable.version),
            }
        }
        let mut wanted = Vec::new();
        for key in self.lanes.keys().cloned().collect::<Vec<_>>() {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let (serving, canary) = (lane.serving, lane.canary().map(|canary| canary.version));
            for version in serving.into_iter().chain(canary) {
                wanted.push(ModelVersion { model: key.model.clone(), version });
                self.begin_server(&key, version, true).await;
            }
        }
        let project = self.project.clone();
        let stopped = tokio::task::spawn_blocking(move || stop_others(&project, &wanted));
        stopped.await.map_err(|e| Failure::caused(Code::Internal, &e))?;
        self.abort_lost().await
    }
}
