//! Measurements of parts that have no command of their own. `cargo xtask bench` prints them in tables.

use std::path::Path;

use clap::Subcommand;

use super::Done;
use crate::printer::Printer;

mod disk;
mod gateway;
mod ledger;
mod quantiles;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Durable appends to a ledger of their own.
    Ledger(ledger::LedgerArguments),
    /// How long a disk takes to make a small append durable.
    Disk(disk::DiskArguments),
    /// From the order to abort until the gateway answers from the stable version, in this project.
    Abort(gateway::AbortArguments),
    /// Latency that the gateway adds to the model server of this project.
    Gateway(gateway::GatewayArguments),
}

pub(crate) async fn run(dir: &Path, command: BenchCommand, printer: &Printer) -> Done {
    match command {
        BenchCommand::Ledger(arguments) => ledger::measure(arguments, printer).await,
        BenchCommand::Disk(arguments) => disk::measure(&arguments, printer),
        BenchCommand::Abort(arguments) => gateway::abort(&super::open(dir).await?, &arguments, printer).await,
        BenchCommand::Gateway(arguments) => {
            gateway::latency(&super::open(dir).await?, &arguments, printer).await
        }
    }
}
