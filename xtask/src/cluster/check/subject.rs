//! The cluster that is being asked.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::inside;
use crate::cluster::life::Start;
use crate::cluster::place::{self, Place};
use crate::shell;
use crate::workspace::Workspace;

/// For a job to end, a pod to run.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A cluster and a folder for what is made for it.
pub(super) struct Subject<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) place: Place,
    pub(super) start: Start,
    pub(super) scratch: TempDir,
}

impl<'a> Subject<'a> {
    /// It need not be up yet.
    pub(super) fn new(workspace: &'a Workspace, place: Place, start: Start) -> Result<Self> {
        Ok(Self { workspace, place, start, scratch: tempfile::tempdir()? })
    }

    /// `kubectl`, from outside of the cluster's network.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        shell::output(&mut inside::kubectl(&self.place, arguments)?)
    }

    /// What `kubectl` says when it must fail.
    pub(super) fn refusal(&self, arguments: &[&str], input: &Value) -> Result<Option<String>> {
        let (success, said) = give(&mut inside::kubectl(&self.place, arguments)?, input)?;
        Ok((!success).then_some(said))
    }

    /// Applies an object.
    pub(super) fn apply(&self, object: &Value) -> Result<()> {
        let (success, said) = give(&mut inside::kubectl(&self.place, &["apply", "--filename=-"])?, object)?;
        if !success {
            bail!("apply failed: {said}");
        }
        Ok(())
    }

    /// Runs a job to its end and gives what its pod said.
    pub(super) fn run_job(&self, name: &str, job: &Value) -> Result<String> {
        self.apply(job)?;
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        let job = format!("job/{name}");
        self.kubectl(&["wait", "--for=condition=Complete", &job, &limit])?;
        Ok(self.kubectl(&["logs", &job])?.trim().to_owned())
    }

    /// Looks until it holds.
    pub(super) fn eventually<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        place::eventually(what, limit, look)
    }
}

/// Runs a program with an object on its standard input.
fn give(command: &mut Command, input: &Value) -> Result<(bool, String)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shell::line(command)))?;
    let mut pipe = child.stdin.take().context("no input")?;
    // It may refuse before it has read everything; its answer says so.
    let _ = pipe.write_all(input.to_string().as_bytes());
    drop(pipe);
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).trim().to_owned()))
}
