//! Runs one gateway from a JSON configuration file, for the tests and measurements of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(3)
        }
    }
}

fn start() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: lineal-gateway-run CONFIG.json")?;
    let config = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(lineal_gateway::run(config)?)
}
