//! Every test: the crates', the tidy rules, generated files, the demo's facts.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::postgres::{self, Server};
use crate::s3::{self, S3Server};
use crate::workspace::Workspace;
use crate::{demo, generate, setup, tidy};

/// Names the configuration of a cluster for tests. What needs one is run only then, and the summary says if it was not.
const CLUSTER: &str = "LINEAL_TEST_KUBECONFIG";

/// Passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs all parts, even if one fails, and sums up.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let started = Instant::now();
    setup::setup(workspace)?;
    let mut total = Count::default();
    type Part = (&'static str, fn(&Workspace) -> Result<Count>);
    let parts: [Part; 4] = [
        ("tests of the crates", crates),
        ("tidy", |w| tidy::tidy(w).map(|()| Count { passed: tidy::CHECKS.len() as u64, failed: 0 })),
        ("generated files", |w| generate::generate(w, true).map(|files| Count { passed: files, failed: 0 })),
        ("the demo's facts", |w| {
            demo::demo(w, demo::Mode::Check).map(|facts| Count { passed: facts, failed: 0 })
        }),
    ];
    let mut lines = Vec::new();
    for (name, part) in parts {
        eprintln!("\n== {name}");
        let begun = Instant::now();
        let count = part(workspace).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Count { passed: 0, failed: 1 }
        });
        total = Count { passed: total.passed + count.passed, failed: total.failed + count.failed };
        let (Count { passed, failed }, seconds) = (count, begun.elapsed().as_secs_f64());
        lines.push(format!("{name}: {passed} passed, {failed} failed ({seconds:.0} s)"));
    }
    if std::env::var_os(CLUSTER).is_none() {
        lines.push(format!("custom resources on an API server: NOT RUN, because {CLUSTER} is not set"));
    }
    println!("\n{}", lines.join("\n"));
    println!("{} passed, {} failed in {:.0} s", total.passed, total.failed, started.elapsed().as_secs_f64());
    if total.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

/// `cargo test`, its dots left out. All of them share one PostgreSQL server and one S3 server.
fn crates(workspace: &Workspace) -> Result<Count> {
    let server = Server::start().map_err(|error| anyhow!(error))?;
    let s3 = S3Server::start(&workspace.target).map_err(|error| anyhow!(error))?;
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
    if std::env::var_os(CLUSTER).is_some() {
        arguments.extend(["--features", "lineal-kube/cluster"]);
    }
    arguments.extend(["--", "--quiet"]);
    let mut command = workspace.cargo(&arguments);
    command.env(postgres::VARIABLE, server.url()).env(s3::VARIABLE, s3.endpoint()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let output = BufReader::new(child.stdout.take().context("cargo has no output")?);
    let mut count = Count::default();
    for line in output.lines() {
        let line = line.context("cannot read cargo's output")?;
        match verdict(&line) {
            Some(of) => count = Count { passed: count.passed + of.passed, failed: count.failed + of.failed },
            None if is_noise(&line) => {}
            None => println!("{line}"),
        }
    }
    // A crate that does not compile has no tests that could fail.
    if !child.wait().context("cargo vanished")?.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// `test result: ok. 12 passed; 0 failed; ...`
fn verdict(line: &str) -> Option<Count> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number =
        |word: &str| numbers.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

fn is_noise(line: &str) -> bool {
    let line = line.trim();
    let dots = line.split(' ').next().unwrap_or_default();
    line.starts_with("running ") || dots.bytes().all(|b| b == b'.' || b == b'i')
}

#[cfg(test)]
mod tests;
