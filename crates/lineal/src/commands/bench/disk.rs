//! The disk, without anything of ours: what figures of durable appends are read against.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use lineal_app::Failure;
use lineal_blob::files::Context;

use super::super::Done;
use super::quantiles::quantiles;
use crate::printer::Printer;

/// Where, how often, how much.
#[derive(Debug, Args)]
pub(crate) struct DiskArguments {
    /// A folder of the disk; a file is made in it and removed.
    folder: PathBuf,
    /// How often.
    #[arg(long, default_value_t = 1000)]
    appends: usize,
    /// Bytes that are appended each time.
    #[arg(long, default_value_t = 2048)]
    bytes: usize,
}

/// Appends to a file and waits for the disk (`fdatasync`), each time.
pub(super) fn measure(arguments: &DiskArguments, printer: &Printer) -> Done {
    let path = arguments.folder.join(format!("lineal-bench-{}", std::process::id()));
    let mut file = OpenOptions::new().append(true).create_new(true).open(&path).context("create", &path)?;
    let bytes = vec![1; arguments.bytes];
    let mut times_ms = Vec::with_capacity(arguments.appends);
    for _ in 0..arguments.appends {
        let started = Instant::now();
        file.write_all(&bytes).and_then(|()| file.sync_data()).context("write", &path)?;
        times_ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(&path).context("remove", &path).map_err(Failure::from)?;
    let result = quantiles(times_ms);
    printer.result(&result, || {
        let (p50, p99) = (result.p50_ms, result.p99_ms);
        format!("{} bytes appended and synced: p50 {p50} ms, p99 {p99} ms", arguments.bytes)
    });
    Ok(ExitCode::SUCCESS)
}
