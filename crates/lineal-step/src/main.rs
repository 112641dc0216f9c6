//! `lineal-step`: runs steps in a pod, for an operator who is elsewhere.
//!
//! ```text
//! lineal-step                       asks for work until there is no more
//! lineal-step install DIR [WORK]    copies itself to DIR; makes the step's folders in WORK
//! lineal-step launch                the sandbox's launcher, which only the program itself starts
//! ```
//!
//! It is linked statically, because the image that it runs in is the user's and may have nothing in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lineal_sandbox::Launcher;
use lineal_step::exchange::{ExchangeError, ExchangeSettings};
use lineal_step::install;
use lineal_step::pod::{self, PodError, PodSettings};

/// The token that says which pod this is.
const TOKEN: &str = "/lineal/token/token";
/// The argument that makes this program the sandbox's launcher.
const LAUNCH: &str = "launch";
/// How long the exchange may be away, in seconds, unless `LINEAL_EXCHANGE_PATIENCE_S` says another time.
const PATIENCE_S: u64 = 60;
/// sysexits.h: the command line was used wrongly.
const EXIT_USAGE: u8 = 64;
/// sysexits.h: an internal error; nobody can be told of it but the log.
const EXIT_SOFTWARE: u8 = 70;
/// sysexits.h: it may be better later.
const EXIT_TEMPORARY: u8 = 75;
/// As shells say it: ended by SIGTERM.
const EXIT_STOPPED: u8 = 143;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let arguments: Vec<&Path> = arguments.iter().map(Path::new).collect();
    let words: Vec<&str> = arguments.iter().map(|a| a.to_str().unwrap_or_default()).collect();
    match (words.as_slice(), arguments.as_slice()) {
        // It must be a process with one thread: before anything else starts.
        ([LAUNCH], _) => lineal_sandbox::launcher_main(),
        ([], _) => run(),
        (["install", _], [_, folder]) => finish(install::program(folder)),
        (["install", _, _], [_, folder, work]) => {
            finish(install::program(folder).and_then(|()| install::folders(work)))
        }
        _ => fail(EXIT_USAGE, "usage: lineal-step [install DIR [WORK]]"),
    }
}

fn run() -> ExitCode {
    // What the step is cannot be kept from looking at the token; that it cannot change what this process says is cheap.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let settings = match settings() {
        Ok(settings) => settings,
        Err(message) => return fail(EXIT_USAGE, &message),
    };
    match pod::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit_code(&error), &lineal_facts::error::chain(&error)),
    }
}

fn exit_code(error: &PodError) -> u8 {
    match error {
        PodError::Exchange(ExchangeError::Unreachable { .. }) => EXIT_TEMPORARY,
        PodError::Exchange(ExchangeError::Stopped) => EXIT_STOPPED,
        PodError::Exchange(
            ExchangeError::SetUp(_)
            | ExchangeError::Untrusted { .. }
            | ExchangeError::Refused { .. }
            | ExchangeError::Answer(_)
            | ExchangeError::Message(_)
            | ExchangeError::Token { .. }
            | ExchangeError::File(_),
        )
        | PodError::File(_) => EXIT_SOFTWARE,
    }
}

fn settings() -> Result<PodSettings, String> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("`{name}` is not set"));
    let pin = variable("LINEAL_EXCHANGE_PIN")?;
    let patience_s = match std::env::var("LINEAL_EXCHANGE_PATIENCE_S") {
        Ok(text) => text.parse().map_err(|_| "`LINEAL_EXCHANGE_PATIENCE_S` is no number".to_owned())?,
        Err(_) => PATIENCE_S,
    };
    let exchange = ExchangeSettings {
        address: variable("LINEAL_EXCHANGE")?,
        pin: pin.parse().map_err(|error| format!("`LINEAL_EXCHANGE_PIN` is {error}"))?,
        token: PathBuf::from(TOKEN),
        patience: Duration::from_secs(patience_s),
    };
    // One that is not UTF-8 cannot be passed on.
    let image = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(PodSettings { exchange, image: image.collect(), launcher: Launcher::new("/proc/self/exe", [LAUNCH]) })
}

fn finish(done: Result<(), lineal_blob::files::FileError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_SOFTWARE, &lineal_facts::error::chain(&error)),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Whom else could it be told?
    let _ = writeln!(std::io::stderr(), "lineal-step: {message}");
    ExitCode::from(code)
}
