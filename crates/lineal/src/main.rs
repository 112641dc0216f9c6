//! `lineal`: from pinned inputs to a proven production model.
//!
//! [`cli`] says what can be typed, [`commands`] does it, [`printer`] is the only place that writes to the terminal.

mod cli;
mod client;
mod commands;
mod printer;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The sandbox launcher must be a process with one thread: before anything else starts.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == lineal_app::project::SANDBOX_LAUNCH) {
        return lineal_sandbox::launcher_main();
    }
    let arguments = cli::Arguments::parse();
    let printer = printer::Printer::new(&arguments);
    match commands::run(arguments, &printer) {
        Ok(code) => code,
        Err(failure) => printer.failure(&failure),
    }
}
