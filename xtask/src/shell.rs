//! Running other programs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Lines of a failed program's output that are shown.
const SHOWN_LINES: usize = 40;

/// Says `what` takes a moment, does it, and says how long it took.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = line_begins(what);
    let started = Instant::now();
    let done = work();
    let took = started.elapsed().as_secs_f64();
    let ending = if done.is_ok() { format!("{took:.1} s") } else { "failed".to_owned() };
    line_ends(own, what, &ending);
    done
}

/// Two pieces of work may run at once. The number of the one in whose line the cursor is, 0 for none; how many there
/// were.
static LINE: Mutex<(u64, u64)> = Mutex::new((0, 0));

/// Gives the number of this piece of work.
fn line_begins(what: &str) -> u64 {
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let (open, count) = *line;
    if open != 0 {
        eprintln!();
    }
    eprint!("{what} ... ");
    // Progress only: a closed terminal is no reason to stop.
    let _ = std::io::stderr().flush();
    *line = (count + 1, count + 1);
    count + 1
}

/// Ends its line, or writes one of its own if another one has begun since.
fn line_ends(own: u64, what: &str, ending: &str) {
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let (open, count) = *line;
    match open {
        0 => eprintln!("{what}: {ending}"),
        open if open == own => eprintln!("{ending}"),
        _ => eprintln!("\n{what}: {ending}"),
    }
    *line = (0, count);
}

/// Runs a program that talks to the person.
pub(crate) fn loud(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a program whose output matters only if it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// Runs a program and takes its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    finish(command).map(|(stdout, _)| stdout)
}

/// Runs a program and takes what it says on standard error.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    finish(command).map(|(_, stderr)| stderr)
}

fn finish(command: &mut Command) -> Result<(String, String)> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    if !status.success() {
        bail!("`{}` ended with {status}\n{}", line(command), tail(&format!("{stdout}{stderr}")));
    }
    Ok((stdout, stderr))
}

/// Whether the program starts and ends well.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        // Writing to a string does not fail.
        let _ = write!(text, " {}", quoted(&argument.to_string_lossy()));
    }
    text
}

/// An argument in quotes where a shell needs them.
pub(crate) fn quoted(argument: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@,+*[]".contains(&b);
    if !argument.is_empty() && argument.bytes().all(plain) {
        argument.to_owned()
    } else {
        format!("\"{argument}\"")
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
