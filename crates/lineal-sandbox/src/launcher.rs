//! How the parent starts a launcher.

use crate::running::{Running, readable_within};
use crate::wire::{Answer, read_answer, spec_line};
use crate::{Report, SandboxError, Spec};
use std::ffi::OsString;
use std::io::{BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The launcher itself gives up after 30 s of set-up; this is for a program that is no launcher.
const START_LIMIT: Duration = Duration::from_secs(40);

/// The program that runs as the launcher: usually the own binary with the hidden subcommand.
///
/// Its calls block; in async code run them on a blocking thread.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Launcher {
    /// A launcher that is started as `program args..` and calls [`crate::launcher_main`].
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect() }
    }

    /// Runs a step to its end.
    ///
    /// # Errors
    /// When the step could not be started. A step that failed is a [`Report`].
    pub fn run(&self, spec: &Spec) -> Result<Report, SandboxError> {
        Ok(self.start(spec)?.wait())
    }

    /// Starts a step and returns when its program runs.
    ///
    /// # Errors
    /// When the step could not be started; then nothing is left of it.
    pub fn start(&self, spec: &Spec) -> Result<Running, SandboxError> {
        spec.check()?;
        let line = spec_line(spec)?;
        let not_started =
            |reason: String| SandboxError::LauncherNotStarted { program: self.program.clone(), reason };
        // An empty environment: a step can look at its ancestors inside, and what is not there cannot leak.
        // An own process group: Ctrl-C in a terminal goes to the parent only, which then decides.
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| not_started(error.to_string()))?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(not_started("no pipes".to_owned()));
        };
        // A launcher that refuses the spec closes its stdin early; its answer says more than the failed write.
        let sent = stdin.write_all(&line);
        let mut running = Running::new(child, stdin, BufReader::new(stdout));
        if !readable_within(running.answers(), START_LIMIT) {
            running.abandon();
            return Err(SandboxError::LauncherBroken { reason: format!("silence for {START_LIMIT:?}") });
        }
        match read_answer(running.answers())? {
            Some(Answer::Started { pid }) => {
                running.set_pid(pid);
                Ok(running)
            }
            Some(Answer::Failed(error)) => Err(error),
            Some(Answer::Report(_)) => {
                Err(SandboxError::LauncherBroken { reason: "a report before the start".to_owned() })
            }
            None => Err(SandboxError::LauncherBroken {
                reason: match sent {
                    Ok(()) => "it ended before the step started".to_owned(),
                    Err(error) => format!("it ended before it read the spec: {error}"),
                },
            }),
        }
    }
}
