//! `cargo xtask bench ledger`: durable appends and what a large ledger costs, on one disk, beside a log by others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Row;
use super::measure::{self, Measured};
use crate::setup;
use crate::shell;
use crate::workspace::Workspace;

/// Statements of one caller, and of 64 callers together.
const ONE_CALLER: &str = "500";
const CALLERS: (&str, &str) = ("64", "32000");
/// Entries and group size of appends to the log alone.
const LOG_ONLY: [(&str, &str); 2] = [("32000", "64"), ("200000", "4096")];
/// Entries that the peer gets from one writer, from 64, and from as many as our larger groups hold.
const PEER: [(&str, &str); 3] = [("1", "50"), ("64", "6400"), ("4096", "100000")];
/// Statements in a commit that fills the large ledger.
const FILL: &str = "4096";
/// How often a process that appends is killed, after how many entries, and how long these may take.
const KILLS: u32 = 5;
const KILL_AFTER: u64 = 2000;
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// Prints the table.
pub(crate) fn ledger(workspace: &Workspace, entries: u64) -> Result<()> {
    let python = setup::python()?.program;
    let lineal = workspace.build_lineal(true)?;
    let peer = setup::tessera(workspace)?;
    // Below `target` and not in the folder for temporary files, which may be memory.
    let parent = workspace.target.join("bench");
    fs::create_dir_all(&parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let folder = tempfile::Builder::new().prefix("ledger-").tempdir_in(&parent).context("no folder")?;
    let mut bench = Bench { lineal, peer, python, folder: folder.path().to_owned(), fsync_ms: 0.0 };
    type Part = (&'static str, fn(&mut Bench, u64) -> Result<Vec<Row>>);
    let parts: [Part; 5] = [
        ("the disk", |bench, _| bench.disk()),
        ("whole statements", |bench, _| bench.statements()),
        ("the log only", |bench, _| bench.log_only()),
        ("a large ledger", Bench::large),
        ("the peer", |bench, _| bench.peer()),
    ];
    Row::print_header();
    for (name, part) in parts {
        for row in shell::timed(&format!("measuring: {name}"), || part(&mut bench, entries))? {
            row.print();
        }
    }
    Ok(())
}

struct Bench {
    lineal: PathBuf,
    peer: PathBuf,
    python: PathBuf,
    folder: PathBuf,
    /// Median of the disk, measured first.
    fsync_ms: f64,
}

impl Bench {
    fn disk(&mut self) -> Result<Vec<Row>> {
        let folder = self.folder.clone();
        let measured = self.measure(&folder, &["--json", "bench", "disk", "."])?;
        let answer = parse(&measured)?;
        self.fsync_ms = number(&answer, "p50_ms")?;
        let result = format!("p50 {} ms, p99 {} ms", answer["p50_ms"], answer["p99_ms"]);
        let row = Row { what: "2 KiB appended, fdatasync".to_owned(), result, measured: Some(measured) };
        Ok(vec![row])
    }

    fn statements(&mut self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (callers, entries) in [("1", ONE_CALLER), CALLERS] {
            for (acknowledged, extra) in [("durable", &[] as &[&str]), ("indexed", &["--indexed"])] {
                let arguments = ["--entries", entries, "--callers", callers, "--batch", "1"];
                let name = format!("{acknowledged}-{callers}");
                let (measured, answer) = self.append(&name, &[&arguments, extra].concat())?;
                let group = number(&answer, "entries")? / number(&answer, "groups")?;
                let what = format!("statements signed, appended, indexed: {callers} callers");
                let result = format!("{:.0}/s, {group:.1} a group", number(&answer, "entries_per_second")?);
                rows.push(Row { what, result, measured: Some(measured) });
                let what = format!("  acknowledged when {acknowledged}");
                rows.push(Row { what, ..self.acknowledged(&answer["acknowledged"])? });
            }
        }
        Ok(rows)
    }

    fn acknowledged(&self, quantiles: &Value) -> Result<Row> {
        let (p50, p99) = (number(quantiles, "p50_ms")?, number(quantiles, "p99_ms")?);
        let result = format!("p50 {p50:.1} ms, p99 {p99:.1} ms = {:.1} fsyncs", p99 / self.fsync_ms);
        Ok(Row { what: "  acknowledged".to_owned(), result, measured: None })
    }

    /// The time to sign is outside the rate, but in the processor time.
    fn log_only(&mut self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (entries, batch) in LOG_ONLY {
            let arguments = ["--log-only", "--entries", entries, "--batch", batch];
            let (measured, answer) = self.append(&format!("log-{batch}"), &arguments)?;
            let what = format!("log only, signed before, groups of {batch}");
            let result = format!("{:.0}/s", number(&answer, "entries_per_second")?);
            rows.push(Row { what, result, measured: Some(measured) });
        }
        Ok(rows)
    }

    fn large(&mut self, entries: u64) -> Result<Vec<Row>> {
        let count = entries.to_string();
        let fill = ["--entries", count.as_str(), "--callers", "1", "--batch", FILL];
        let (filled, answer) = self.append("large", &fill)?;
        let statement = answer["statement"].as_str().context("lineal bench names no statement")?.to_owned();
        let rate = format!("{:.0}/s", number(&answer, "entries_per_second")?);
        let mut rows = vec![Row {
            what: format!("{count} entries, {FILL} a commit"),
            result: rate,
            measured: Some(filled),
        }];
        let root = self.folder.join("large");
        let commands: [(&str, &[&str]); 5] = [
            ("opening (`ledger keys`)", &["ledger", "keys"]),
            ("`verify STATEMENT`", &["verify", &statement]),
            ("`ledger proof STATEMENT`", &["ledger", "proof", &statement]),
            ("`ledger fsck`", &["ledger", "fsck"]),
            ("`ledger rebuild` (index)", &["ledger", "rebuild"]),
        ];
        for (what, arguments) in commands {
            rows.push(timed(what, self.measure(&root, arguments)?));
        }
        rows.push(self.killed(&root)?);
        // As after a restart of the machine: everything in the journal is brought into the files again.
        fs::remove_file(root.join(".lineal/journal/mark")).context("the journal has no mark")?;
        rows.push(timed(
            "first command after a restart of the machine",
            self.measure(&root, &["ledger", "keys"])?,
        ));
        Ok(rows)
    }

    /// The slowest first command of some kills.
    fn killed(&self, root: &Path) -> Result<Row> {
        let mut slowest: Option<Measured> = None;
        for _ in 0..KILLS {
            let before = size(root)?;
            let endless = u64::MAX.to_string();
            let arguments = ["bench", "ledger", "--entries", &endless, "--callers", "4", "--batch", "16"];
            let mut command = Command::new(&self.lineal);
            command.args(arguments).arg("--folder").arg(root).stdin(Stdio::null()).stdout(Stdio::null());
            let mut child = command.spawn().context("cannot start lineal")?;
            let started = Instant::now();
            while size(root)? < before + KILL_AFTER {
                if child.try_wait()?.is_some() || started.elapsed() > KILL_LIMIT {
                    child.kill()?;
                    bail!("the process to be killed appended too little");
                }
                std::thread::yield_now();
            }
            child.kill()?;
            child.wait()?;
            let measured = self.measure(root, &["ledger", "keys"])?;
            if slowest.as_ref().is_none_or(|slowest| slowest.seconds < measured.seconds) {
                slowest = Some(measured);
            }
        }
        let slowest = slowest.context("nothing was killed")?;
        Ok(timed(&format!("first command after `kill -9` (slowest of {KILLS})"), slowest))
    }

    fn peer(&mut self) -> Result<Vec<Row>> {
        let bundles = self.folder.join("large/.lineal/log/tile/entries");
        let mut rows = Vec::new();
        for (writers, entries) in PEER {
            let mut command = Command::new(&self.peer);
            command.arg(self.folder.join(format!("peer-{writers}"))).arg(&bundles).args([writers, entries]);
            let measured = measure::measure(&self.python, &command)?;
            let answer = parse(&measured)?;
            let what = format!("Tessera POSIX, same entries, {writers} writers");
            let result = format!("{:.0}/s", number(&answer, "entries_per_second")?);
            rows.push(Row { what, result, measured: Some(measured) });
            rows.push(self.acknowledged(&answer)?);
        }
        Ok(rows)
    }

    fn append(&self, name: &str, arguments: &[&str]) -> Result<(Measured, Value)> {
        let root = self.folder.join(name);
        let folder = root.to_str().context("the path is no text")?;
        let all = [&["--json", "bench", "ledger", "--folder", folder], arguments].concat();
        let measured = self.measure(&self.folder, &all)?;
        let answer = parse(&measured)?;
        Ok((measured, answer))
    }

    fn measure(&self, folder: &Path, arguments: &[&str]) -> Result<Measured> {
        measure::measure(&self.python, Command::new(&self.lineal).current_dir(folder).args(arguments))
    }
}

fn timed(what: &str, measured: Measured) -> Row {
    let result = format!("{:.0} ms", measured.seconds * 1e3);
    Row { what: what.to_owned(), result, measured: Some(measured) }
}

/// Entries of the published ledger: the second line of its checkpoint.
fn size(root: &Path) -> Result<u64> {
    let note = fs::read_to_string(root.join(".lineal/log/checkpoint")).context("no checkpoint")?;
    note.lines().nth(1).and_then(|line| line.parse().ok()).context("the checkpoint has no size")
}

fn parse(measured: &Measured) -> Result<Value> {
    serde_json::from_str(&measured.output).context("no JSON was printed")
}

fn number(value: &Value, name: &str) -> Result<f64> {
    value[name].as_f64().with_context(|| format!("no `{name}` was printed"))
}
