//! Time, processor time and memory of a process.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Runs its arguments and prints what the system says about them. The numbers include everything that was waited for;
/// memory is that of the largest process and not below that of this interpreter, some 10 MiB.
const SCRIPT: &str = "\
import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
seconds = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    'code': done.returncode, 'seconds': seconds, 'cpu': used.ru_utime + used.ru_stime, 'kib': used.ru_maxrss,
    'output': done.stdout.decode(), 'errors': done.stderr.decode(),
}))
";

/// What a process took.
pub(super) struct Measured {
    /// From start to end.
    pub(super) seconds: f64,
    /// Of all its processes.
    pub(super) cpu_seconds: f64,
    /// Of its largest process.
    pub(super) peak_mib: f64,
    /// What it printed.
    pub(super) output: String,
}

/// Runs a program that must end well; `python` is an interpreter.
pub(super) fn measure(python: &Path, command: &Command) -> Result<Measured> {
    let mut python = Command::new(python);
    python.args(["-I", "-c", SCRIPT]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        python.current_dir(folder);
    }
    let printed: serde_json::Value =
        serde_json::from_str(&shell::output(&mut python)?).context("the measuring script")?;
    if printed["code"] != 0 {
        bail!("`{}` failed: {}", shell::line(command), printed["errors"].as_str().unwrap_or_default());
    }
    let number = |name: &str| printed[name].as_f64().context("the measuring script");
    Ok(Measured {
        seconds: number("seconds")?,
        cpu_seconds: number("cpu")?,
        peak_mib: number("kib")? / 1024.0,
        output: printed["output"].as_str().unwrap_or_default().to_owned(),
    })
}
