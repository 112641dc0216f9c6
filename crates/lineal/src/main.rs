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
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are no failures.
        Err(error) if error.use_stderr() && cli::asks_for_json(std::env::args_os()) => {
            return printer::usage_as_json(&error.to_string());
        }
        Err(error) => error.exit(),
    };
    let printer = printer::Printer::new(&arguments);
    match commands::run(arguments, &printer) {
        Ok(code) => code,
        Err(failure) => printer.failure(&failure),
    }
}
