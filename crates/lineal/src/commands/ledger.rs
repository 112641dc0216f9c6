//! `lineal ledger`.

use std::process::ExitCode;

use lineal_app::{Code, Failure, Project};
use lineal_facts::Digest;
use lineal_proof::bundle::LogEntry;
use lineal_proof::{Bundle, Envelope};

use super::Done;
use crate::cli::LedgerCommand;
use crate::printer::{Printer, table};

pub(super) async fn run(project: &Project, command: LedgerCommand, printer: &Printer) -> Done {
    let index = project.store.index();
    match command {
        LedgerCommand::Show => {
            let entries = index.entries().await?;
            printer.result(&entries, || {
                let rows = entries.iter().map(|e| {
                    let holder = e.holder.clone().unwrap_or_else(|| "unknown key".to_owned());
                    vec![e.position.to_string(), e.noun.clone(), e.statement.to_string(), holder]
                });
                table(&["#", "KIND", "STATEMENT", "SIGNED"], &rows.collect::<Vec<_>>())
            });
        }
        LedgerCommand::Keys => {
            let keyring = index.keyring().await?;
            let value: Vec<_> = keyring
                .entries()
                .iter()
                .map(|key| {
                    let id = key.key.id().to_string();
                    serde_json::json!({
                        "holder": key.holder, "role": key.role, "id": id, "active_from": key.active_from,
                        "revoked_at": key.revoked_at, "public_key": key.key.to_pem(),
                    })
                })
                .collect();
            printer.result(&value, || {
                let rows = keyring.entries().iter().map(|key| {
                    let role = serde_json::to_string(&key.role).unwrap_or_default();
                    let state =
                        key.revoked_at.map_or_else(|| "active".to_owned(), |at| format!("revoked at {at}"));
                    vec![
                        key.holder.clone(),
                        role.trim_matches('"').to_owned(),
                        state,
                        key.key.id().to_string(),
                    ]
                });
                let rows = rows.collect::<Vec<_>>();
                let log = project.store.ledger().verifier();
                format!("ledger key {log}\n{}", table(&["HOLDER", "ROLE", "STATE", "KEY"], &rows))
            });
        }
        LedgerCommand::Proof { statement } => printer.line(&proof(project, &parse(&statement)?).await?),
        LedgerCommand::Rebuild => {
            project.store.rebuild_index().await?;
            let size = index.size().await?;
            printer.result(&serde_json::json!({"entries": size}), || {
                format!("index rebuilt from {size} entries")
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|e| Failure::caused(Code::Usage, &e))
}

/// The Sigstore bundle of a statement: envelope, signature, leaf, inclusion proof and checkpoint.
pub(super) async fn proof(project: &Project, statement: &Digest) -> Result<String, Failure> {
    let store = &project.store;
    let internal = |e: &dyn std::error::Error| Failure::caused(Code::Internal, e);
    let absent = || Failure::new(Code::NotFound, format!("statement {statement} is not in the ledger"));
    let entry = store.index().entry(statement).await?.ok_or_else(absent)?;
    let head = store.ledger().head()?.ok_or_else(absent)?;
    let leaf = store.ledger().leaf(entry.position, head.size)?;
    let path = store.ledger().inclusion_proof(entry.position, head.size)?;
    let pae = store.blobs().read(statement)?;
    let envelope = Envelope::from_pae(&pae, leaf.signature.clone()).map_err(|e| internal(&e))?;
    let log_entry = LogEntry::new((entry.position, &leaf), path, &head.note, store.ledger().verifier())
        .map_err(|e| internal(&e))?;
    let bundle = Bundle::make(envelope, &leaf.key, Some(log_entry));
    let bytes = bundle.to_bytes();
    String::from_utf8(bytes).map_err(|e| internal(&e))
}
