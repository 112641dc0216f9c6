//! The custom resources, one file each.

#![expect(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

mod approval;
mod dataset;
mod environment;
mod model;
mod pipeline;
mod pipeline_run;
mod promotion;
mod rollout;
mod rollout_action;

pub use approval::{Approval, ApprovalSpec, ApprovalStatus};
pub use dataset::{Dataset, DatasetSnapshot, DatasetSpec, DatasetStatus, SnapshotStatus};
pub use environment::{
    Approver, Environment, EnvironmentSpec, EnvironmentStatus, Policy, PolicyRule, RolloutMargins,
    RolloutStrategy,
};
pub use model::{Model, ModelAlias, ModelSpec, ModelStatus, ModelVersionSpec};
pub use pipeline::{
    Determinism, ExpectedBound, Pipeline, PipelineEnv, PipelineGate, PipelineServe, PipelineStatus,
    PipelineStep, Probe, RunSummary,
};
pub use pipeline_run::{PipelineRun, PipelineRunSpec, PipelineRunStatus, RunPhase, StepStatus};
pub use promotion::{Promotion, PromotionPhase, PromotionSpec, PromotionStatus, RuleStatus};
pub use rollout::{MetricStatus, Rollout, RolloutOutcome, RolloutPhase, RolloutSpec, RolloutStatus};
pub use rollout_action::{Action, ActionPhase, RolloutAction, RolloutActionSpec, RolloutActionStatus};
