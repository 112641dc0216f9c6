//! The Python, Go and Rust tools by others that check Lineal's files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/peers.py");
const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/peers/requirements.txt");

/// The interpreter of their environment, which must hold exactly what the lock file names.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let python = made("python-peers/bin/python");
        let wrong = run(&python, &["installed", LOCK]);
        assert_eq!(wrong, Value::Array(Vec::new()), "`cargo xtask setup` installs what the lock file names");
        python
    })
}

/// docs/verify/go, which must be built from the source as it stands.
pub(crate) fn log_check() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify/go/main.go");
        let built = std::fs::read(made("log-check/main.go")).unwrap();
        assert!(built == std::fs::read(source).unwrap(), "`cargo xtask setup` builds what the source says");
        made("log-check/lineal-log-check")
    })
}

/// cosign, of the version that `cargo xtask setup` names.
pub(crate) fn cosign() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = made("cosign/cosign");
        let version = Command::new(&program).arg("version").output().unwrap();
        let text =
            String::from_utf8_lossy(&version.stdout).into_owned() + &String::from_utf8_lossy(&version.stderr);
        assert!(text.contains("v3.1.3"), "{text}");
        program
    })
}

/// tools/peers/sigstore-verify, which must be built from the source as it stands.
pub(crate) fn sigstore_verify() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/peers/sigstore-verify/src/main.rs");
        let built = std::fs::read(made("sigstore-verify/main.rs")).unwrap();
        assert!(built == std::fs::read(source).unwrap(), "`cargo xtask setup` builds what the source says");
        made("sigstore-verify/lineal-sigstore-verify")
    })
}

/// lineal-proof as a WebAssembly module, built from the source as it stands.
pub(crate) fn wasm_module() -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let folder = made("wasm");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo sets for a test would make it build again what depends on it.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"))
    {
        cargo.env_remove(name);
    }
    cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH").current_dir(root);
    cargo.args(["build", "--release", "--locked", "--offline", "--manifest-path", "tools/wasm/Cargo.toml"]);
    cargo.args(["--target", "wasm32-unknown-unknown", "--target-dir"]).arg(&folder);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("wasm32-unknown-unknown/release/lineal_proof_wasm.wasm")
}

/// A file that `cargo xtask setup` makes.
fn made(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("xtask").join(name);
    assert!(path.exists(), "no `{}`; `cargo xtask setup` makes it", path.display());
    path
}

/// Runs a task of `peers.py` and yields what it answers.
#[track_caller]
pub(crate) fn ask(arguments: &[&str]) -> Value {
    run(python(), arguments)
}

/// Whether the `model_signing` command verifies the model.
pub(crate) fn model_signing_verifies(model: &Path, signature: &Path, key: &Path) -> bool {
    let mut command = Command::new(python());
    command.args(["-m", "model_signing", "verify", "key"]).arg(model);
    command.arg("--signature").arg(signature).arg("--public_key").arg(key);
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // A tool that does not start refuses nothing.
    let word = if output.status.success() { "succeeded" } else { "failed" };
    assert!(text.contains(&format!("Verification {word}")), "{text}");
    output.status.success()
}

/// Signs the model with the `model_signing` command.
#[track_caller]
pub(crate) fn model_signing_signs(model: &Path, signature: &Path, key: &Path) {
    let mut command = Command::new(python());
    command.args(["-m", "model_signing", "sign", "key"]).arg(model);
    command.arg("--signature").arg(signature).arg("--private_key").arg(key);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn run(python: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(python).arg(SCRIPT).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    // Libraries print to standard output too; the answer is the last line.
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {text} {error}"))
}
