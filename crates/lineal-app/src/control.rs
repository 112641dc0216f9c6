//! The control plane: it owns what serves where, moves traffic by evidence and publishes the route table.
//!
//! * **One owner**: a single task holds all state; everything else sends it messages. No lock is held across work.
//! * **Guarantees**: a route table's generation only rises. An abort changes the route before anything else happens,
//!   and nothing that fails afterwards can undo it. Weight rises only after the step is in the ledger. What moved traffic
//!   gets into the ledger, also if the process is killed.
//! * **Assumption**: one control plane a project; `lineal serve` holds a role lock.
//! * Requests that were not joined with their outcome when the process ends are not joined later: they are evidence,
//!   not record, and live in memory.

mod controller;
mod join;
mod lane;
mod publish;

use std::sync::Arc;
use std::time::Duration;

use lineal_engine::observation::{OutcomeReport, Report};
use lineal_engine::rollout::Command;
use lineal_facts::predicate::MetricEvidence;
use lineal_facts::{Digest, EnvironmentName, ModelName, ModelVersion, RolloutId};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::cosigning;
use crate::failure::{Code, Failure};
use crate::project::Project;

pub use publish::PublishedTable;

/// Messages that may wait for the owner task.
const QUEUE_LIMIT: usize = 1024;

/// A handle to the owner task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    project: Project,
    sender: mpsc::Sender<Message>,
    table: watch::Receiver<Arc<PublishedTable>>,
}

/// What a person asks of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "action", deny_unknown_fields)]
pub enum Action {
    /// Send all traffic back to the stable version.
    Abort {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Keep the present weight.
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
        /// To 100 % at once.
        full: bool,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What serves a model in an environment, and what its rollout does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneStatus {
    /// Where.
    pub environment: EnvironmentName,
    /// The model.
    pub model: ModelName,
    /// The version that serves whatever a canary does not.
    pub serving: Option<u32>,
    /// Generation of the route table.
    pub generation: u64,
    /// The latest rollout of this process's life, or one that it resumed.
    pub rollout: Option<RolloutStatus>,
    /// Steps of rollouts that were decided and could not be recorded yet; it is tried again until they are.
    pub unrecorded: usize,
    /// Servers by version: `starting`, `running` or why not.
    pub servers: Vec<ServerStatus>,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Its id.
    pub id: RolloutId,
    /// `Progressing`, `Paused`, `Healthy` or `Degraded`.
    pub phase: String,
    /// What it waits for, or why it ended.
    pub message: String,
    /// Whether nothing can change any more.
    pub is_final: bool,
    /// The version that served before.
    pub stable: Option<ModelVersion>,
    /// The version that is rolled out.
    pub canary: ModelVersion,
    /// The canary's share in percent.
    pub weight_percent: u32,
    /// What each metric says now.
    pub metrics: Vec<MetricEvidence>,
}

/// A model server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// The version.
    pub version: u32,
    /// The bytes that it was started from.
    pub digest: Digest,
    /// `starting`, `running`, or why it does not run.
    pub state: String,
    /// Where it listens.
    pub address: Option<String>,
    /// Requests that gateways reported since the server was started.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
}

type Reply<T> = oneshot::Sender<Result<T, Failure>>;

enum Message {
    StartRollout {
        version: ModelVersion,
        environment: EnvironmentName,
        reply: Reply<LaneStatus>,
    },
    Act {
        rollout: RolloutId,
        command: Command,
        reply: Reply<LaneStatus>,
    },
    Report {
        report: Box<Report>,
        reply: Reply<()>,
    },
    Outcomes {
        outcomes: Vec<OutcomeReport>,
        reply: Reply<u64>,
    },
    Status {
        reply: Reply<Vec<LaneStatus>>,
    },
    ServerStarted {
        lane: lane::LaneKey,
        version: u32,
        started: Box<Result<crate::serving::ModelServer, Failure>>,
    },
    Stop {
        reply: Reply<()>,
    },
}

impl Control {
    /// Takes up what the record says serves where, and starts the owner task.
    pub async fn start(project: Project) -> Result<Self, Failure> {
        let (sender, receiver) = mpsc::channel(QUEUE_LIMIT);
        let (publisher, table) = watch::channel(Arc::new(PublishedTable::none()));
        let controller = controller::Controller::resume(project.clone(), sender.clone(), publisher).await?;
        tokio::spawn(controller.run(receiver));
        Ok(Self { project, sender, table })
    }

    /// Begins to roll out a promoted version.
    pub async fn start_rollout(
        &self,
        version: ModelVersion,
        environment: EnvironmentName,
    ) -> Result<LaneStatus, Failure> {
        // Here, because the owner task waits for nobody outside.
        cosigning::ask_if_due(&self.project).await?;
        self.ask(|reply| Message::StartRollout { version, environment, reply }).await
    }

    /// Does to a rollout what a person asks.
    pub async fn act(&self, rollout: RolloutId, action: Action) -> Result<LaneStatus, Failure> {
        let command = match action {
            Action::Abort { by, reason } => Command::Abort { by, reason },
            Action::Pause { by, reason } => Command::Pause { by, reason },
            Action::Resume => Command::Resume,
            Action::Promote { full, by, reason } => Command::Promote { full, by, reason },
        };
        self.ask(|reply| Message::Act { rollout, command, reply }).await
    }

    /// Takes a gateway's report. A repetition is recognised and changes nothing.
    pub async fn report(&self, report: Report) -> Result<(), Failure> {
        self.ask(|reply| Message::Report { report: Box::new(report), reply }).await
    }

    /// Takes true outcomes; returns how many could be joined at once (the others wait for their request).
    pub async fn outcomes(&self, outcomes: Vec<OutcomeReport>) -> Result<u64, Failure> {
        self.ask(|reply| Message::Outcomes { outcomes, reply }).await
    }

    /// What serves where.
    pub async fn status(&self) -> Result<Vec<LaneStatus>, Failure> {
        self.ask(|reply| Message::Status { reply }).await
    }

    /// The route table once its generation is above `generation`; `None` if that did not happen within `wait`.
    pub async fn table_after(&self, generation: u64, wait: Duration) -> Option<Arc<PublishedTable>> {
        let mut table = self.table.clone();
        let newer = table.wait_for(|table| table.generation > generation);
        match tokio::time::timeout(wait, newer).await {
            Ok(Ok(table)) => Some(table.clone()),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Stops all servers and the owner task.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.ask(|reply| Message::Stop { reply }).await
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, Failure> {
        let stopped = || Failure::new(Code::Server, "the control plane is stopping");
        let (reply, answer) = oneshot::channel();
        self.sender.send(message(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
