//! Long runs of tests that CI runs for a short time.

use anyhow::Result;

use crate::shell;
use crate::workspace::Workspace;

/// Kills a process that appends to a ledger, `rounds` times.
pub(crate) fn ledger(workspace: &Workspace, rounds: u64) -> Result<()> {
    let arguments = ["test", "-p", "lineal-store", "--test", "it", "--", "--nocapture", "kill::"];
    let mut command = workspace.cargo(&arguments);
    command.env("LINEAL_SOAK_ROUNDS", rounds.to_string());
    shell::timed(&format!("killing a writer {rounds} times"), || shell::loud(&mut command))
}
