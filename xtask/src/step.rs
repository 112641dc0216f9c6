//! The program `lineal-step`, linked statically: it runs in users' images, which may have nothing in them.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::shell;
use crate::workspace::Workspace;

const PROGRAM: &str = "lineal-step";
/// Only this target has the sandbox.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// It is copied into every pod.
const LARGEST_BYTES: u64 = 8 << 20;
/// The program header that names a dynamic loader (ELF-64, `p_type`).
const PT_INTERP: u32 = 3;
/// What it ends with when nobody told it about an exchange.
const EXIT_USAGE: i32 = 64;

/// Builds the program and makes sure that it needs nothing else. Yields its path.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let built = workspace.target.join(TARGET).join("step").join(PROGRAM);
    let program = workspace.target.join("step").join(PROGRAM);
    shell::timed("building lineal-step", || {
        let arguments = ["build", "--quiet", "--locked", "--package", PROGRAM, "--bin", PROGRAM];
        let mut cargo = workspace.cargo(&arguments);
        cargo.args(["--profile", "step", "--target", TARGET]);
        // With the same sources in another place, the same bytes.
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let mut flags =
            format!("-C target-feature=+crt-static --remap-path-prefix={}=lineal", workspace.root.display());
        if let Some(home) = home {
            flags = format!("{flags} --remap-path-prefix={}=cargo", home.display());
        }
        shell::quiet(cargo.env("RUSTFLAGS", flags))
    })?;
    fs::create_dir_all(workspace.target.join("step"))?;
    fs::copy(&built, &program).with_context(|| format!("cannot copy `{}`", built.display()))?;
    let bytes = fs::read(&program)?;
    ensure!(
        bytes.len() as u64 <= LARGEST_BYTES,
        "{PROGRAM} has {} bytes; at most {LARGEST_BYTES}",
        bytes.len()
    );
    ensure!(!needs_loader(&bytes)?, "{PROGRAM} is not linked statically");
    runs_alone(&program)?;
    eprintln!("{}: {:.1} MB", program.display(), bytes.len() as f64 / 1e6);
    Ok(program)
}

/// Whether an ELF-64 program, little endian, names a dynamic loader.
fn needs_loader(program: &[u8]) -> Result<bool> {
    let field = |at: usize, size: usize| -> Result<u64> {
        let bytes = program.get(at..at + size).context("the program is cut")?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "no ELF-64 program");
    let (start, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    for index in 0..count {
        if field(usize::try_from(start + index * size)?, 4)? == u64::from(PT_INTERP) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Starts the program where there is no other file.
fn runs_alone(program: &Path) -> Result<()> {
    let empty = tempfile::tempdir()?;
    fs::copy(program, empty.path().join(PROGRAM))?;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "chroot"]).arg(empty.path()).arg(format!("/{PROGRAM}"));
    let output = command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = said.contains("`LINEAL_EXCHANGE_PIN` is not set");
    if output.status.code() == Some(EXIT_USAGE) && told {
        return Ok(());
    }
    bail!(
        "{PROGRAM} does not run alone: {:?}, signal {:?}: {said}",
        output.status.code(),
        output.status.signal()
    );
}
