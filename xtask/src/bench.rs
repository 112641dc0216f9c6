//! `cargo xtask bench`: what the parts that everything rests on cost, in a release build.

mod ledger;
mod measure;
mod project;
mod served;

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::setup::{self, Flights};
use crate::shell;
use crate::workspace::Workspace;
pub(crate) use ledger::ledger;
use measure::Measured;
use project::Project;
use served::Served;

/// Steps of the measured pipeline.
const STEPS: u32 = 100;
/// Runs with nothing to do; the median counts.
const NO_OP_RUNS: usize = 9;
/// Clients, requests a second and seconds of the gateway's load.
const GATEWAY_LOAD: [&str; 3] = ["16", "2000", "5"];

/// Appends: entries, statements that a caller commits at a time, callers.
const APPENDS: [[&str; 3]; 3] = [["500", "1", "1"], ["50000", "1", "256"], ["50000", "64", "32"]];

/// A line of the table.
struct Row {
    what: String,
    result: String,
    measured: Option<Measured>,
}

/// Prints the table.
pub(crate) fn spine(workspace: &Workspace) -> Result<()> {
    let flights = setup::example(workspace)?;
    let lineal = workspace.build_lineal(true)?;
    let bench = Bench { workspace, flights, lineal };
    type Part = (&'static str, fn(&Bench<'_>) -> Result<Vec<Row>>);
    let parts: [Part; 4] = [
        ("steps", |bench| bench.steps()),
        ("ledger", |bench| bench.ledger()),
        ("abort and gateway", |bench| bench.served()),
        ("gateway under load", |bench| bench.load()),
    ];
    Row::print_header();
    for (name, part) in parts {
        for row in shell::timed(&format!("measuring: {name}"), || part(&bench))? {
            row.print();
        }
    }
    Ok(())
}

impl Row {
    fn print_header() {
        println!("{:<58}  {:<44}  {:>8}  {:>8}", "WORK", "RESULT", "CPU s", "RSS MiB");
    }

    fn print(&self) {
        let Self { what, result, measured } = self;
        let (cpu, memory) = measured.as_ref().map_or(("-".to_owned(), "-".to_owned()), |m| {
            (format!("{:.2}", m.cpu_seconds), format!("{:.0}", m.peak_mib))
        });
        println!("{what:<58}  {result:<44}  {cpu:>8}  {memory:>8}");
    }
}

struct Bench<'a> {
    workspace: &'a Workspace,
    flights: Flights,
    lineal: std::path::PathBuf,
}

impl Bench<'_> {
    fn python(&self) -> std::path::PathBuf {
        self.flights.train.join("bin/python")
    }

    /// A chain of steps that copy one small file, then the same again with nothing to do.
    fn steps(&self) -> Result<Vec<Row>> {
        let project = Project::new(&self.lineal, &project::chain(STEPS))?;
        let run = |folder: &std::path::Path| {
            measure::measure(
                &self.python(),
                Command::new(&self.lineal).current_dir(folder).arg("--quiet").arg("run"),
            )
        };
        let first = run(project.folder())?;
        let mut again = (0..NO_OP_RUNS).map(|_| run(project.folder())).collect::<Result<Vec<_>>>()?;
        again.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let again = again.swap_remove(NO_OP_RUNS / 2);
        let each = first.seconds * 1e3 / f64::from(STEPS);
        Ok(vec![
            Row {
                what: format!("step overhead, sandbox included ({STEPS} steps in a chain)"),
                result: format!("{each:.1} ms a step"),
                measured: Some(first),
            },
            Row {
                what: format!("no-op run of {STEPS} steps (median of {NO_OP_RUNS})"),
                result: format!("{:.0} ms", again.seconds * 1e3),
                measured: Some(again),
            },
        ])
    }

    fn ledger(&self) -> Result<Vec<Row>> {
        let append = |[entries, batch, callers]: [&str; 3]| {
            let mut command = Command::new(&self.lineal);
            command.args([
                "--json",
                "bench",
                "ledger",
                "--entries",
                entries,
                "--batch",
                batch,
                "--callers",
                callers,
            ]);
            let measured = measure::measure(&self.python(), &command)?;
            let answer: Value = serde_json::from_str(&measured.output).context("lineal bench")?;
            let rate = answer["entries_per_second"].as_f64().context("lineal bench names no rate")?;
            Ok(Row {
                what: format!("durable ledger appends ({callers} callers, {batch} at a time)"),
                result: format!("{rate:.0}/s"),
                measured: Some(measured),
            })
        };
        APPENDS.into_iter().map(append).collect()
    }

    fn served(&self) -> Result<Vec<Row>> {
        let served = Served::start(&self.lineal, &self.flights.train)?;
        let (abort, gateway) = (served.abort()?, served.gateway()?);
        served.stop()?;
        let number = |value: &Value| value.as_f64().context("lineal bench names no time");
        let (direct, through) = (&gateway["direct"], &gateway["gateway"]);
        let added =
            |quantile: &str| Ok::<_, anyhow::Error>(number(&through[quantile])? - number(&direct[quantile])?);
        Ok(vec![
            Row {
                what: format!("abort to changed route ({} rounds)", abort["count"]),
                result: format!("p50 {} ms, p99 {} ms", abort["p50_ms"], abort["p99_ms"]),
                measured: None,
            },
            Row {
                what: format!("gateway before a Python server, {} requests/s", served::RATE),
                result: format!("adds p50 {:.2} ms, p99 {:.2} ms", added("p50_ms")?, added("p99_ms")?),
                measured: None,
            },
        ])
    }

    /// The gateway's own load generator: the same load on a trivial model server, directly and through a gateway.
    fn load(&self) -> Result<Vec<Row>> {
        // The load generator starts the gateway's test binary, which lies beside it.
        let build = ["build", "--quiet", "--release", "-p", "lineal-gateway", "--bins", "--examples"];
        shell::output(&mut self.workspace.cargo(&build))?;
        let arguments = ["run", "--quiet", "--release", "-p", "lineal-gateway", "--example", "load", "--"];
        let printed =
            shell::output(&mut self.workspace.cargo(&[arguments.as_slice(), &GATEWAY_LOAD].concat()))?;
        let [clients, rate, _] = GATEWAY_LOAD;
        let row = |line: &str| {
            let (name, result) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<&str> = result.split_whitespace().collect();
            let result = words.iter().skip(1).take(7).copied().collect::<Vec<_>>().join(" ");
            Row { what: format!("{name}, {clients} clients, {rate} requests/s"), result, measured: None }
        };
        Ok(printed.lines().map(row).collect())
    }
}
