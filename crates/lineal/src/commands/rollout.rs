//! `lineal rollout`.

use std::process::ExitCode;

use lineal_app::control::{Action, LaneStatus};
use lineal_app::{Failure, Project};
use lineal_facts::{ModelName, RolloutId};
use lineal_http::api::StartRollout;

use super::{Done, parsed};
use crate::cli::{RolloutAction, RolloutCommand};
use crate::client::Client;
use crate::printer::{Printer, table};

pub(super) async fn run(project: &Project, command: RolloutCommand, printer: &Printer) -> Done {
    let by = project.config.approver.clone();
    match command {
        RolloutCommand::Start { version, environment } => {
            let body = StartRollout { version: parsed(&version)?, environment: parsed(&environment)? };
            let status: LaneStatus = Client::of(project)?.post("/api/v1/rollouts", &body).await?;
            printer.result(&status, || lane(&status));
        }
        RolloutCommand::Status => {
            let status: Vec<LaneStatus> = Client::of(project)?.get("/api/v1/status").await?;
            printer.result(&status, || {
                if status.is_empty() {
                    return "nothing serves yet; `lineal rollout start` begins".to_owned();
                }
                status.iter().map(lane).collect::<Vec<_>>().join("\n")
            });
        }
        RolloutCommand::History { model } => return history(project, model.as_deref(), printer).await,
        RolloutCommand::Abort(RolloutAction { rollout, reason }) => {
            act(project, &rollout, Action::Abort { by, reason }, printer).await?;
        }
        RolloutCommand::Pause(RolloutAction { rollout, reason }) => {
            act(project, &rollout, Action::Pause { by, reason }, printer).await?;
        }
        RolloutCommand::Resume { rollout } => act(project, &rollout, Action::Resume, printer).await?,
        RolloutCommand::Promote { action: RolloutAction { rollout, reason }, full } => {
            act(project, &rollout, Action::Promote { full, by, reason }, printer).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(project: &Project, rollout: &str, action: Action, printer: &Printer) -> Result<(), Failure> {
    let id: RolloutId = parsed(rollout)?;
    let status: LaneStatus =
        Client::of(project)?.post(&format!("/api/v1/rollouts/{id}/actions"), &action).await?;
    printer.result(&status, || lane(&status));
    Ok(())
}

async fn history(project: &Project, model: Option<&str>, printer: &Printer) -> Done {
    let model: Option<ModelName> = model.map(parsed).transpose()?;
    let mut steps = project.store.index().rollout_steps().await?;
    steps.retain(|step| model.as_ref().is_none_or(|model| step.record.canary.model == *model));
    printer.result(&steps, || {
        let rows = steps.iter().map(|step| {
            let r = &step.record;
            let weight = format!("{} %", r.canary_weight_percent);
            let transition = serde_json::to_string(&r.transition).unwrap_or_default();
            vec![r.canary.to_string(), transition.trim_matches('"').to_owned(), weight, r.cause.clone()]
        });
        table(&["CANARY", "STEP", "WEIGHT", "CAUSE"], &rows.collect::<Vec<_>>())
    });
    Ok(ExitCode::SUCCESS)
}

/// What serves and why, in a few lines.
pub(super) fn lane(status: &LaneStatus) -> String {
    let serving = status.serving.map_or_else(|| "nothing".to_owned(), |v| format!("{}/{v}", status.model));
    let mut text = format!("{} in {}: {serving} serves\n", status.model, status.environment);
    if let Some(rollout) = &status.rollout {
        text.push_str(&format!(
            "  {}: {} at {} %, {}: {}\n",
            rollout.id, rollout.canary, rollout.weight_percent, rollout.phase, rollout.message
        ));
        let rows = rollout.metrics.iter().map(|m| {
            let range = match m.harm.as_str() {
                "unknown" => "-".to_owned(),
                harm => format!("{harm} ({} to {})", m.harm_lower, m.harm_upper),
            };
            vec![
                format!("  {}", m.metric),
                m.verdict.clone(),
                m.stable_count.clone(),
                m.canary_count.clone(),
                range,
            ]
        });
        let rows = rows.collect::<Vec<_>>();
        if !rows.is_empty() {
            text.push_str(&table(
                &["  METRIC", "VERDICT", "STABLE", "CANARY", "HARM (CONFIDENCE SEQUENCE)"],
                &rows,
            ));
        }
    }
    if status.unrecorded > 0 {
        let steps = status.unrecorded;
        text.push_str(&format!(
            "  {steps} step(s) are not in the ledger yet; it is tried again every second\n"
        ));
    }
    for server in &status.servers {
        let address = server.address.as_deref().unwrap_or("-");
        text.push_str(&format!(
            "  server {}/{}: {}, {address}, {} requests, {} errors\n",
            status.model,
            server.version,
            server.state.lines().next().unwrap_or(""),
            server.requests,
            server.errors
        ));
    }
    text
}
