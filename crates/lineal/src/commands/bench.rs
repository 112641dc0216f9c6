//! Measurements of parts that have no command of their own. `cargo xtask bench spine` prints them in one table.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};
use lineal_app::{Code, Failure, Project};
use lineal_facts::predicate::Incident;
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, Predicate, Statement};

use super::Done;
use crate::printer::Printer;

mod gateway;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Durable appends to a ledger of their own.
    Ledger(LedgerArguments),
    /// From the order to abort until the gateway answers from the stable version, in this project.
    Abort(gateway::AbortArguments),
    /// Latency that the gateway adds to the model server of this project.
    Gateway(gateway::GatewayArguments),
}

/// How much.
#[derive(Debug, Args)]
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
}

pub(crate) async fn run(dir: &Path, command: BenchCommand, printer: &Printer) -> Done {
    match command {
        BenchCommand::Ledger(arguments) => ledger(arguments, printer).await,
        BenchCommand::Abort(arguments) => gateway::abort(&super::open(dir).await?, &arguments, printer).await,
        BenchCommand::Gateway(arguments) => {
            gateway::latency(&super::open(dir).await?, &arguments, printer).await
        }
    }
}

/// Signs, stores, appends and indexes statements, durably, in a temporary project.
async fn ledger(arguments: LedgerArguments, printer: &Printer) -> Done {
    let root = std::env::temp_dir().join(format!("lineal-bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).map_err(|e| Failure::caused(Code::File, &e))?;
    Project::init_with(&root, "bench", Some(&root.join("identity.txt"))).await?;
    let project = Project::open(&root, super::program()?).await?;
    let per_caller = arguments.entries / arguments.callers.max(1);
    let started = Instant::now();
    let callers: Vec<_> = (0..arguments.callers)
        .map(|caller| tokio::spawn(append(project.clone(), caller, per_caller, arguments.batch.max(1))))
        .collect();
    for caller in callers {
        caller.await.map_err(|e| Failure::caused(Code::Internal, &e))??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let entries = per_caller * arguments.callers;
    project.store.index().close().await;
    std::fs::remove_dir_all(&root).map_err(|e| Failure::caused(Code::File, &e))?;
    let rate = entries as f64 / seconds;
    let value = serde_json::json!({
        "entries": entries, "seconds": seconds, "entries_per_second": rate,
        "callers": arguments.callers, "batch": arguments.batch,
    });
    printer.result(&value, || format!("{entries} durable appends in {seconds:.2} s: {rate:.0}/s"));
    Ok(ExitCode::SUCCESS)
}

async fn append(project: Project, caller: u64, count: u64, batch: u64) -> Result<(), Failure> {
    let statement = |n: u64| Statement {
        subject: vec![Subject::new("bench", Digest::of(format!("{caller}/{n}").as_bytes()))],
        predicate: Predicate::Incident(Incident {
            code: "bench".to_owned(),
            message: format!("{caller}/{n}"),
            found_at: lineal_app::now(),
        }),
    };
    let mut next = 0;
    while next < count {
        let until = (next + batch).min(count);
        let statements: Vec<Statement> = (next..until).map(statement).collect();
        project.store.commit(&statements, project.store.builder()).await?;
        next = until;
    }
    Ok(())
}
