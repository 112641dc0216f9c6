//! Time of a step that does nothing, per mode:
//! `cargo run --release -p lineal-sandbox --example overhead target/release/lineal-sandbox-launch`
#![allow(clippy::print_stdout, reason = "it prints its result")]

use lineal_sandbox::{Determinism, EntropyKey, Isolation, Launcher, Limits, Network, SandboxError, Spec};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 100;

fn main() -> Result<(), SandboxError> {
    let program = std::env::args_os().nth(1).unwrap_or_else(|| "target/debug/lineal-sandbox-launch".into());
    let launcher = Launcher::new(PathBuf::from(program), [""; 0]);
    let log = std::env::temp_dir().join(format!("lineal-sandbox-overhead-{}", std::process::id()));
    show("plain", || {
        // The point of comparison; its result does not matter.
        let _ = Command::new("/bin/true").status();
        Ok(())
    })?;
    let strict = Determinism::Strict { key: EntropyKey::new([1; 32]), epoch_s: 0 };
    for (name, determinism) in
        [("off", Determinism::Off), ("observe", Determinism::Observe), ("strict", strict)]
    {
        let spec = Spec {
            argv: vec!["/bin/true".to_owned()],
            env: BTreeMap::new(),
            cwd: "/tmp".into(),
            isolation: Isolation::Namespaces,
            root: None,
            mounts: Vec::new(),
            stdout: log.clone(),
            stderr: log.clone(),
            tee: false,
            network: Network::None,
            determinism,
            limits: Limits::default(),
        };
        show(name, || launcher.run(&spec).map(|_| ()))?;
    }
    let _ = std::fs::remove_file(log);
    Ok(())
}

fn show(name: &str, mut body: impl FnMut() -> Result<(), SandboxError>) -> Result<(), SandboxError> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        body()?;
        times.push(start.elapsed());
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name:8} min {:5.2} ms  median {:5.2} ms  p90 {:5.2} ms",
        ms(times[0]),
        ms(times[ROUNDS / 2]),
        ms(times[ROUNDS * 9 / 10])
    );
    Ok(())
}
