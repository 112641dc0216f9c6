//! Looking for bytes that break a parser; `fuzz/src/targets.rs` has what is looked for.
//!
//! libFuzzer over one program with all targets, built by the compiler that everything else is built by: coverage comes
//! from a pass of LLVM that the stable compiler can be told to run. The address sanitizer, which it has not, would look
//! for errors of `unsafe` code, and there is none here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// What CI has for each target.
pub(crate) const SHORT_SECONDS: u64 = 4;
/// From here on, optimised code finds more, although it takes longer to build.
const LONG_SECONDS: u64 = 60;
/// What makes LLVM count what was reached and compared, as cargo-fuzz does.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing -Cdebug-assertions -Coverflow-checks";
/// Longest time for one input, memory, and size of an input.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=65536"];

/// Fuzzes the target `name`, or each of them, for so many seconds. New inputs stay below `target`.
pub(crate) fn fuzz(workspace: &Workspace, name: Option<&str>, seconds: u64) -> Result<()> {
    let corpus = workspace.root.join("fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&corpus).with_context(|| format!("cannot list `{}`", corpus.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.retain(|found| name.is_none_or(|name| name == found));
    if names.is_empty() {
        bail!("there is no folder `{}` in fuzz/corpus", name.unwrap_or_default());
    }
    let profile = if seconds < LONG_SECONDS { "dev" } else { "release" };
    let program = shell::timed("building the fuzzer", || build(workspace, profile))?;
    // As many at a time as there are processors; each takes one.
    let queue = Mutex::new(names.into_iter());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let found = std::thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(name) = next(&queue) {
                let runs = one(workspace, &program, &corpus, &name, seconds);
                let runs = runs.with_context(|| format!("fuzzing {name}"))?;
                eprintln!("fuzzing {name} for {seconds} s: {runs} inputs");
            }
            Ok(())
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    for worker in found {
        worker.unwrap_or_else(|_| bail!("a worker panicked"))?;
    }
    Ok(())
}

fn next(queue: &Mutex<std::vec::IntoIter<String>>) -> Option<String> {
    queue.lock().ok()?.next()
}

fn build(workspace: &Workspace, profile: &str) -> Result<PathBuf> {
    let host = crate::workspace::host()?;
    let folder = workspace.target.join("xtask/fuzz-build");
    let arguments = ["build", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--bin", "any"];
    let mut cargo = workspace.cargo(&arguments);
    // With a target, build scripts and macros are built without coverage.
    cargo.args(["--profile", profile, "--target", &host, "--target-dir"]).arg(&folder);
    shell::quiet(cargo.env("RUSTFLAGS", COVERAGE))?;
    let place = if profile == "dev" { "debug" } else { profile };
    Ok(folder.join(host).join(place).join("any"))
}

/// Yields how many inputs were tried.
fn one(workspace: &Workspace, program: &Path, corpus: &Path, name: &str, seconds: u64) -> Result<String> {
    // The first folder takes what is new, so that the kept corpus stays small.
    let fresh = workspace.target.join("xtask/fuzz").join(name);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot create `{}`", fresh.display()))?;
    let mut command = Command::new(program);
    command.env("LINEAL_FUZZ_TARGET", name).arg(&fresh).arg(corpus.join(name)).args(LIMITS);
    command.arg(format!("-max_total_time={}", seconds));
    // Beside the folder: what broke a parser is no input to start from.
    command.arg(format!("-artifact_prefix={}-", fresh.display())).arg("-print_final_stats=1");
    let text = shell::said(&mut command)?;
    let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let runs = runs.map(str::trim).filter(|runs| *runs != "0");
    Ok(runs.context("nothing was tried")?.to_owned())
}
