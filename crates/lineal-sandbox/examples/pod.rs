//! The same strict step in a pod and with namespaces: its output must be the same. One program plays all parts, so that
//! a static build of it is the whole image (`testing/cluster/README.md` says how to run one):
//!
//! ```text
//! RUSTFLAGS="-C target-feature=+crt-static" cargo build -p lineal-sandbox --example pod --target x86_64-unknown-linux-gnu
//! pod pod           # in a pod, as /step
//! pod namespaces    # on the machine
//! ```
#![allow(clippy::print_stdout, reason = "it prints its result")]

use lineal_sandbox::{
    Determinism, EntropyKey, Isolation, Launcher, Limits, Network, SandboxError, Spec, launcher_main,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let part = std::env::args().nth(1).unwrap_or_default();
    let result = match part.as_str() {
        "launch" => return launcher_main(),
        "program" => program(true),
        "child" => program(false),
        "pod" => start(Isolation::Pod),
        "namespaces" => start(Isolation::Namespaces),
        _ => Err(io::Error::other("say pod or namespaces")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{part}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the step and shows what it printed and what was not controlled.
fn start(isolation: Isolation) -> io::Result<()> {
    let scratch = std::env::temp_dir().join(format!("lineal-sandbox-pod-{}", std::process::id()));
    fs::create_dir(&scratch)?;
    let root = match isolation {
        Isolation::Pod => None,
        Isolation::Namespaces => Some(image(&scratch)?),
    };
    let spec = Spec {
        argv: ["/step", "program"].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        isolation,
        root,
        mounts: Vec::new(),
        stdout: scratch.join("stdout"),
        stderr: scratch.join("stderr"),
        tee: true,
        network: Network::None,
        determinism: Determinism::Strict { key: EntropyKey::new([7; 32]), epoch_s: 1_767_323_045 },
        limits: Limits { timeout_ms: Some(20_000), ..Limits::default() },
    };
    let failed = |error: SandboxError| io::Error::other(error.to_string());
    let report = Launcher::new("/proc/self/exe", ["launch"]).run(&spec).map_err(failed)?;
    println!("exit {:?}, controlled {:?}", report.exit, report.controlled);
    for entry in &report.uncontrolled {
        println!("not controlled: {}: {}", entry.what, entry.why);
    }
    println!("--- output");
    print!("{}", fs::read_to_string(&spec.stdout)?);
    fs::remove_dir_all(&scratch)
}

/// An image with this program alone.
fn image(scratch: &Path) -> io::Result<PathBuf> {
    let image = scratch.join("image");
    fs::create_dir(&image)?;
    fs::copy("/proc/self/exe", image.join("step"))?;
    Ok(image)
}

/// The step: asks for random bytes and the time in all ways, in threads and in processes.
fn program(first: bool) -> io::Result<()> {
    let mut bytes = [0; 24];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    println!("device {bytes:02x?}");
    println!("hash {:016x}", RandomState::new().hash_one("x"));
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other);
    println!("time {:?} {:?}", now()?, now()?);
    if first {
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| RandomState::new().hash_one("x"))).collect();
        for thread in threads {
            println!("thread {:016x}", thread.join().map_err(|_| io::Error::other("a thread panicked"))?);
        }
        for _ in 0..2 {
            print!("{}", String::from_utf8_lossy(&Command::new("/step").arg("child").output()?.stdout));
        }
    }
    Ok(())
}
