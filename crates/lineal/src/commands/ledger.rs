//! `lineal ledger`.

use std::process::ExitCode;

use lineal_app::audit::{self, ExportOptions};
use lineal_app::{Code, Failure, Project, fsck};
use lineal_facts::Digest;
use lineal_proof::bundle::LogEntry;
use lineal_proof::{Bundle, Envelope, Note, TlogProof};
use lineal_store::ledger::Head;

use super::{Done, keys, observer};
use crate::cli::{KeysCommand, LedgerCommand, ProofFormat};
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
        LedgerCommand::Keys { command: None } => keys::list(project, printer).await?,
        LedgerCommand::Keys { command: Some(KeysCommand::Encrypt) } => keys::encrypt(project, printer)?,
        LedgerCommand::Rotate { log: true, .. } => keys::rotate_log(project, printer).await?,
        LedgerCommand::Rotate { holder, role, log: false, signed_by } => {
            let (Some(holder), Some(role)) = (holder, role) else {
                return Err(Failure::new(Code::Usage, "name the holder and the role, or --log"));
            };
            keys::rotate(project, &holder, role, signed_by.as_deref(), printer).await?;
        }
        LedgerCommand::Revoke { key, role, reason } => {
            keys::revoke(project, &key, role, &reason, printer).await?;
        }
        LedgerCommand::Proof { statement, format: ProofFormat::Bundle } => {
            printer.line(&proof(project, &parse(&statement)?).await?);
        }
        LedgerCommand::Proof { statement, format: ProofFormat::TlogProof } => {
            printer.line(tlog_proof(project, &parse(&statement)?).await?.trim_end());
        }
        LedgerCommand::Witness => return super::witness::ask(project, printer).await,
        LedgerCommand::Fsck => return check(project, printer).await,
        LedgerCommand::Export { folder, subjects } => {
            let options = ExportOptions { subjects };
            let exported = audit::export(project, &folder, &options, &observer(printer)).await?;
            printer.result(&exported, || {
                format!(
                    "exported {} statements and {} keys of a log with {} entries to {}\n  \
                     give others the log's key in another way than the folder:\n  {}",
                    exported.statements,
                    exported.keys,
                    exported.entries,
                    exported.folder.display(),
                    exported.log_key
                )
            });
        }
        LedgerCommand::Rebuild => {
            // It was made anew as the project was opened.
            let size = index.size().await?;
            // Otherwise all rows stay in the log beside the file, which every later command would read.
            index.close().await;
            printer.result(&serde_json::json!({"entries": size}), || {
                format!("index rebuilt from {size} entries")
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Most dependents that are printed of one finding; `--json` has all.
const SHOWN_DEPENDENTS: usize = 8;

pub(super) async fn check(project: &Project, printer: &Printer) -> Done {
    let checked = fsck::fsck(project, &observer(printer)).await?;
    printer.result(&checked, || {
        let root = checked.root.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let word = if checked.ok { "WHOLE" } else { "DAMAGED" };
        let mut text = format!(
            "{word}: {} entries, {} blobs hashed again\nroot: {root}\n",
            checked.entries, checked.blobs
        );
        for finding in &checked.findings {
            text.push_str(&format!("{} ({}): {}\n", finding.code, finding.kind, finding.message));
            for dependent in finding.dependents.iter().take(SHOWN_DEPENDENTS) {
                let (position, noun, subject) = (dependent.position, &dependent.noun, &dependent.subject);
                text.push_str(&format!("  on it rests: #{position} {noun} {subject}\n"));
            }
            if finding.dependents.len() > SHOWN_DEPENDENTS {
                let rest = finding.dependents.len() - SHOWN_DEPENDENTS;
                text.push_str(&format!("  and {rest} more\n"));
            }
        }
        text.trim_end().to_owned()
    });
    match checked.failure() {
        Some(failure) => Ok(printer.failure(&failure)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn parse(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|e| Failure::caused(Code::Usage, &e))
}

/// Where a statement is in the ledger, and the ledger as it stands.
async fn located(project: &Project, statement: &Digest) -> Result<(u64, Head), Failure> {
    let absent = || Failure::new(Code::NotFound, format!("statement {statement} is not in the ledger"));
    let entry = project.store.index().entry(statement).await?.ok_or_else(absent)?;
    Ok((entry.position, project.store.ledger().head()?.ok_or_else(absent)?))
}

/// The Sigstore bundle of a statement: envelope, signature, leaf, inclusion proof and checkpoint.
pub(super) async fn proof(project: &Project, statement: &Digest) -> Result<String, Failure> {
    let store = &project.store;
    let (position, head) = located(project, statement).await?;
    let leaf = store.ledger().leaf(position, head.size)?;
    let path = store.ledger().inclusion_proof(position, head.size)?;
    let pae = store.ledger().statement(position, statement)?;
    let envelope = Envelope::from_pae(&pae, leaf.signature.clone()).map_err(|e| internal(&e))?;
    let log_keys = store.ledger().log_keys().get();
    let signer = log_keys.at(head.size);
    let log_entry = LogEntry::new((position, &leaf), path, &head.note, signer).map_err(|e| internal(&e))?;
    let bundle = Bundle::make(envelope, &leaf.key, Some(log_entry));
    String::from_utf8(bundle.to_bytes()).map_err(|e| internal(&e))
}

/// The proof that a statement's entry is in the log, without statement and entry.
async fn tlog_proof(project: &Project, statement: &Digest) -> Result<String, Failure> {
    let (index, head) = located(project, statement).await?;
    let path = project.store.ledger().inclusion_proof(index, head.size)?;
    let note = Note::parse(&head.note).map_err(|e| internal(&e))?;
    let proof = TlogProof { extra: Vec::new(), index, path, note };
    String::from_utf8(proof.to_bytes()).map_err(|e| internal(&e))
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::caused(Code::Internal, error)
}
