//! `lineal model`, `approve`, `promote`, `policy`.

use std::path::PathBuf;
use std::process::ExitCode;

use lineal_app::promotion::{self, Approver};
use lineal_app::{Project, model};

use super::{Done, parsed};
use crate::cli::PolicyCommand;
use crate::printer::{Printer, table};

/// Who signs, as typed.
pub(super) struct Signature {
    pub(super) holder: Option<String>,
    pub(super) key: Option<PathBuf>,
}

pub(super) async fn register(project: &Project, model: &str, run: &str, printer: &Printer) -> Done {
    let registered = model::register(project, &parsed(model)?, &parsed(run)?).await?;
    printer.result(&registered, || {
        let word = if registered.unchanged { "already registered" } else { "registered" };
        format!(
            "{word}: {} is {}\n  statement {}",
            registered.version, registered.digest, registered.statement
        )
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(project: &Project, printer: &Printer) -> Done {
    let versions = project.store.index().versions(None).await?;
    printer.result(&versions, || {
        let rows = versions.iter().map(|v| {
            let record = &v.record;
            vec![
                v.version.to_string(),
                record.run.to_string(),
                record.registered_at.to_string(),
                v.digest.short(),
            ]
        });
        table(&["VERSION", "RUN", "REGISTERED", "DIGEST"], &rows.collect::<Vec<_>>())
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn approve(
    project: &Project,
    (version, environment): (&str, &str),
    reason: &str,
    signature: Signature,
    printer: &Printer,
) -> Done {
    let approver = match signature {
        Signature { key: Some(path), .. } => Approver::KeyFile(path),
        Signature { holder: Some(holder), .. } => Approver::Holder(holder),
        Signature { holder: None, key: None } => Approver::Holder(project.config.approver.clone()),
    };
    let approved =
        promotion::approve(project, &parsed(version)?, &parsed(environment)?, reason, &approver).await?;
    printer.result(&approved, || {
        format!(
            "{} approves {} for {}\n  statement {}",
            approved.approver, approved.version, approved.environment, approved.statement
        )
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn promote(project: &Project, version: &str, environment: &str, printer: &Printer) -> Done {
    let promoted = promotion::promote(project, &parsed(version)?, &parsed(environment)?).await?;
    printer.result(&promoted, || {
        format!(
            "{} is promoted to {}: {} held\n  statement {}",
            promoted.version,
            promoted.environment,
            promoted.rules.join(", "),
            promoted.statement
        )
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn policy(project: &Project, command: PolicyCommand, printer: &Printer) -> Done {
    match command {
        PolicyCommand::Check { version, environment } => {
            let evaluation = promotion::evaluate(project, &parsed(&version)?, &parsed(&environment)?).await?;
            printer.result(&evaluation, || {
                let rows = evaluation.rules.iter().map(|rule| {
                    let held = if rule.held { "held" } else { "NOT held" };
                    vec![
                        rule.name.clone(),
                        held.to_owned(),
                        rule.error.clone().unwrap_or_else(|| rule.message.clone()),
                    ]
                });
                table(&["RULE", "", "REQUIRES"], &rows.collect::<Vec<_>>())
            });
            Ok(ExitCode::from(u8::from(!evaluation.passed)))
        }
    }
}
