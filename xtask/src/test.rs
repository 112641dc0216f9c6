//! Every test: the crates', the tidy rules, generated files, the demo's facts, a cluster's.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::cluster::lent::{self, Lent};
use crate::postgres::{self, Server};
use crate::s3::{self, S3Server};
use crate::setup::Containerd;
use crate::workspace::Workspace;
use crate::{demo, generate, image, setup, shell, tidy};

/// Names the configuration of a cluster for tests; without it one is started.
const KUBECONFIG: &str = "LINEAL_TEST_KUBECONFIG";
/// Names the client of that cluster.
const KUBECTL: &str = "LINEAL_TEST_KUBECTL";
/// Names Helm.
const HELM: &str = "LINEAL_TEST_HELM";
/// Names `lineal` on this machine, for the same runs without a cluster.
const PROGRAM: &str = "LINEAL_TEST_PROGRAM";
/// Names an image with the example's environment, by digest, as the cluster's nodes pull it.
const STEP_IMAGE: &str = "LINEAL_TEST_STEP_IMAGE";
/// Names the file with that image.
const STEP_IMAGE_FILE: &str = "LINEAL_TEST_STEP_IMAGE_FILE";
/// Names the folder with the example's months.
const FLIGHTS: &str = "LINEAL_TEST_FLIGHTS";

/// What is tested.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out the tests on a Kubernetes cluster, which needs root and some minutes to be built once.
    #[arg(long)]
    without_cluster: bool,
    /// Run nothing else.
    #[arg(long, conflicts_with = "without_cluster")]
    only_cluster: bool,
}

/// Where the tests run that need a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cluster {
    /// On one that is started for them.
    Own,
    /// On one that runs already.
    Given,
    /// Nowhere, and the summary says so.
    Without,
}

/// What is tested, once it is known that it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    cluster: Cluster,
    only_cluster: bool,
}

impl Plan {
    /// What the options and the environment say; refused at once where a cluster cannot be had.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let cluster = if options.without_cluster {
            Cluster::Without
        } else if std::env::var_os(KUBECONFIG).is_some_and(|value| !value.is_empty()) {
            Cluster::Given
        } else {
            lent::possible().context("`--without-cluster` leaves out the tests on a cluster")?;
            Cluster::Own
        };
        Ok(Self { cluster, only_cluster: options.only_cluster })
    }

    /// What the tests need.
    pub(crate) fn set_up(self, workspace: &Workspace) -> Result<()> {
        match (self.cluster, self.only_cluster) {
            (Cluster::Own, true) => setup::cluster(workspace, Containerd::Debian).map(|_| ()),
            (Cluster::Own, false) => setup::setup_with_cluster(workspace),
            (Cluster::Given | Cluster::Without, _) => setup::setup(workspace),
        }
    }

    fn parts(self) -> Vec<Part> {
        let mut parts: Vec<Part> = vec![
            ("tests of the crates", crates),
            ("tidy", |w| tidy::tidy(w).map(|()| Count { passed: tidy::CHECKS.len() as u64, failed: 0 })),
            ("generated files", |w| {
                generate::generate(w, true).map(|files| Count { passed: files, failed: 0 })
            }),
            ("the demo's facts", |w| {
                demo::demo(w, demo::Mode::Check).map(|facts| Count { passed: facts, failed: 0 })
            }),
        ];
        if self.only_cluster {
            parts.clear();
        }
        match self.cluster {
            Cluster::Own => parts.push(("tests on a cluster", on_own_cluster)),
            Cluster::Given => parts.push(("tests on a cluster", |w| on_cluster(w, &[]))),
            Cluster::Without => {}
        }
        parts
    }
}

type Part = (&'static str, fn(&Workspace) -> Result<Count>);

/// Passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs all parts, even if one fails, and sums up.
pub(crate) fn test(workspace: &Workspace, plan: Plan) -> Result<()> {
    let started = Instant::now();
    plan.set_up(workspace)?;
    let mut total = Count::default();
    let mut lines = Vec::new();
    for (name, part) in plan.parts() {
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
    if plan.cluster == Cluster::Without {
        lines.push("tests on a cluster: NOT RUN, because of `--without-cluster`".to_owned());
    }
    if plan.only_cluster {
        lines.push("everything else: NOT RUN, because of `--only-cluster`".to_owned());
    }
    println!("\n{}", lines.join("\n"));
    println!("{} passed, {} failed in {:.0} s", total.passed, total.failed, started.elapsed().as_secs_f64());
    if total.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

/// `cargo test`. All tests share one PostgreSQL server and one S3 server.
fn crates(workspace: &Workspace) -> Result<Count> {
    let server = Server::start().map_err(|error| anyhow!(error))?;
    let s3 = S3Server::start(&workspace.target).map_err(|error| anyhow!(error))?;
    let mut command = workspace.cargo(&["test", "--workspace", "--no-fail-fast", "--", "--quiet"]);
    counted(command.env(postgres::VARIABLE, server.url()).env(s3::VARIABLE, s3.endpoint()))
}

/// The tests of feature `cluster`, on a cluster that is started for them and ended however they end.
fn on_own_cluster(workspace: &Workspace) -> Result<Count> {
    // A cluster takes memory and time from the compiler.
    shell::loud(cluster_tests(workspace).arg("--no-run"))?;
    let program = workspace.build_lineal(false)?;
    let made = image::image(workspace, &image::Options::default())?;
    let image = setup::step_image(workspace)?;
    let flights = setup::example(workspace)?;
    let lent = Lent::start(workspace)?;
    lent.install(workspace, &made)?;
    let pushed = lent.push(&image, "flights-train")?;
    let variables = [
        (KUBECONFIG, lent.kubeconfig().into()),
        (KUBECTL, lent.kubectl().into()),
        (HELM, lent.helm().into()),
        (PROGRAM, program.into()),
        (STEP_IMAGE, pushed.into()),
        (STEP_IMAGE_FILE, image.into()),
        (FLIGHTS, flights.months.into()),
    ];
    let count = on_cluster(workspace, &variables);
    lent.end()?;
    count
}

fn on_cluster(workspace: &Workspace, variables: &[(&str, OsString)]) -> Result<Count> {
    let mut command = cluster_tests(workspace);
    command.args(["--no-fail-fast", "--", "--quiet"]);
    let count = counted(command.envs(variables.iter().map(|(name, value)| (name, value))))?;
    if count == Count::default() {
        bail!("there are no tests on a cluster");
    }
    Ok(count)
}

/// Of the whole workspace, so that features of dependencies are chosen as before and nothing is built twice.
fn cluster_tests(workspace: &Workspace) -> Command {
    workspace.cargo(&["test", "--workspace", "--features", "lineal-kube/cluster", "--test", "cluster"])
}

/// Runs `cargo test`, its dots left out, and counts.
fn counted(command: &mut Command) -> Result<Count> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
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
