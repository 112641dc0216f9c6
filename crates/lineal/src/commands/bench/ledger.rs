//! Durable appends: whole statements as every command commits them, or the log alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use lineal_app::project::InitOptions;
use lineal_app::{Code, Failure, Project};
use lineal_blob::files::{self, Context};
use lineal_facts::predicate::Incident;
use lineal_facts::statement::{PAYLOAD_TYPE, Subject};
use lineal_facts::{Digest, Predicate, Statement};
use lineal_proof::{Leaf, Signer, envelope};
use lineal_store::ledger::{LedgerEntry, Writer};
use serde::Serialize;

use super::super::Done;
use super::quantiles::{Quantiles, quantiles};
use crate::printer::Printer;

/// How much.
#[derive(Debug, Clone, Args)]
pub(crate) struct LedgerArguments {
    /// Statements to append.
    #[arg(long, default_value_t = 20_000)]
    entries: u64,
    /// Statements that one caller commits at a time.
    #[arg(long, default_value_t = 1)]
    batch: u64,
    /// Callers at the same time.
    #[arg(long, default_value_t = 256)]
    callers: u64,
    /// Count a commit as acknowledged when its rows are in the index too, as commands do that read them next.
    #[arg(long, conflicts_with = "log_only")]
    indexed: bool,
    /// Sign before the clock runs, then append to the log only: no index, no queue, one caller.
    #[arg(long)]
    log_only: bool,
    /// The project to append to, which stays; made if it is not there. Without it, a temporary one.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Appended {
    entries: u64,
    callers: u64,
    batch: u64,
    seconds: f64,
    entries_per_second: f64,
    /// Records that were made durable: one `fdatasync` each.
    groups: u64,
    /// From asking for a commit to its acknowledgement.
    acknowledged: Quantiles,
    /// One of those that were appended.
    statement: Digest,
}

pub(super) async fn measure(arguments: LedgerArguments, printer: &Printer) -> Done {
    let temporary = std::env::temp_dir().join(format!("lineal-bench-{}", std::process::id()));
    let root = arguments.folder.clone().unwrap_or_else(|| temporary.clone());
    let project = open(&root).await?;
    let appended = match arguments.log_only {
        true => log_only(&project, &arguments)?,
        false => whole(&project, &arguments).await?,
    };
    project.store.index().close().await;
    if arguments.folder.is_none() {
        std::fs::remove_dir_all(&temporary).context("remove", &temporary)?;
    }
    printer.result(&appended, || {
        let Appended { entries, seconds, entries_per_second, groups, acknowledged, .. } = &appended;
        let (p50, p99) = (acknowledged.p50_ms, acknowledged.p99_ms);
        format!(
            "{entries} durable appends in {seconds:.2} s: {entries_per_second:.0}/s, {groups} groups, \
             acknowledged p50 {p50} ms, p99 {p99} ms"
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// The project in `root`, made if it is not there. Its keys open with a file beside it, so that it can be removed whole.
async fn open(root: &Path) -> Result<Project, Failure> {
    files::create_directory(root)?;
    if !root.join(lineal_app::project::FOLDER).exists() {
        let identity = root.join("identity.txt");
        let options = InitOptions { identity: Some(&identity), ..InitOptions::default() };
        Project::init_with(root, "bench", options).await?;
    }
    Project::open(root, super::super::program()?).await
}

/// Signs, stores, appends and indexes. The clock stops when everything is indexed.
async fn whole(project: &Project, arguments: &LedgerArguments) -> Result<Appended, Failure> {
    let callers = arguments.callers.max(1);
    let per_caller = (arguments.entries / callers).max(1);
    let groups = project.store.groups();
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| tokio::spawn(commit(project.clone(), caller, per_caller, arguments.clone())))
        .collect();
    let mut times_ms = Vec::new();
    let mut statement = None;
    for task in tasks {
        let (times, last) = task.await.map_err(|e| Failure::caused(Code::Internal, &e))??;
        times_ms.extend(times);
        statement = last;
    }
    let groups = project.store.groups() - groups;
    project.store.indexed().await?;
    Ok(appended(started, per_caller * callers, arguments, groups, times_ms, statement))
}

/// Times of commits, and the last statement.
type Committed = (Vec<f64>, Option<Digest>);

async fn commit(
    project: Project,
    caller: u64,
    count: u64,
    arguments: LedgerArguments,
) -> Result<Committed, Failure> {
    let (store, batch) = (&project.store, arguments.batch.max(1));
    let (mut next, mut times_ms, mut last) = (0, Vec::new(), None);
    while next < count {
        let until = (next + batch).min(count);
        let statements: Vec<Statement> = (next..until).map(|n| statement(caller, n)).collect();
        let started = Instant::now();
        let committed = match arguments.indexed {
            true => store.commit(&statements, store.builder()).await?,
            false => store.append(&statements, store.builder()).await?,
        };
        times_ms.push(started.elapsed().as_secs_f64() * 1e3);
        last = committed.last().map(|committed| committed.statement);
        next = until;
    }
    Ok((times_ms, last))
}

/// Appends to the log alone. Nobody else uses the project.
fn log_only(project: &Project, arguments: &LedgerArguments) -> Result<Appended, Failure> {
    let (ledger, signer) = (project.store.ledger(), project.store.builder());
    let entries = (0..arguments.entries).map(|n| signed(&statement(0, n), signer));
    let entries = entries.collect::<Result<Vec<_>, Failure>>()?;
    let log_key = project.store.keys().load_log_key().map_err(|e| Failure::caused(Code::Key, &e))?;
    let failed = |e| Failure::caused(Code::Internal, &e);
    let mut writer = Writer::default();
    let mut times_ms = Vec::new();
    let started = Instant::now();
    for group in entries.chunks(arguments.batch.max(1) as usize) {
        let began = Instant::now();
        writer.append(ledger, &|checkpoint| log_key.sign(checkpoint), group).map_err(failed)?;
        // The store does this beside the appends; here it is part of their time.
        if let Some(tidying) = writer.begin_tidying(ledger).map_err(failed)? {
            let synced = tidying.sync(ledger);
            writer.remove(ledger, tidying, synced).map_err(failed)?;
        }
        times_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (groups, last) = (times_ms.len() as u64, entries.last().map(|entry| entry.leaf.data));
    Ok(appended(started, arguments.entries, arguments, groups, times_ms, last))
}

fn appended(
    started: Instant,
    entries: u64,
    arguments: &LedgerArguments,
    groups: u64,
    times_ms: Vec<f64>,
    statement: Option<Digest>,
) -> Appended {
    let seconds = started.elapsed().as_secs_f64();
    Appended {
        entries,
        callers: arguments.callers,
        batch: arguments.batch,
        seconds,
        entries_per_second: entries as f64 / seconds,
        groups,
        acknowledged: quantiles(times_ms),
        statement: statement.unwrap_or_else(|| Digest::of(b"")),
    }
}

fn statement(caller: u64, number: u64) -> Statement {
    let name = format!("{caller}/{number}");
    Statement {
        subject: vec![Subject::new("bench", Digest::of(name.as_bytes()))],
        predicate: Predicate::Incident(Incident {
            code: "bench".to_owned(),
            message: name,
            found_at: lineal_app::now(),
        }),
    }
}

fn signed(statement: &Statement, signer: &dyn Signer) -> Result<LedgerEntry, Failure> {
    let internal = |e: &dyn std::error::Error| Failure::caused(Code::Internal, e);
    let payload = statement.to_bytes().map_err(|e| internal(&e))?;
    let pae = envelope::pae(PAYLOAD_TYPE, &payload);
    let signature = signer.sign(&pae).map_err(|e| internal(&e))?;
    let leaf = Leaf { data: Digest::of(&pae), signature, key: signer.public_key().clone() };
    Ok(LedgerEntry { leaf, statement: pae })
}
