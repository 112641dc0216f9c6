//! Rust programs with dependencies of their own, for the tests of the binary: the sigstore project's verifier, and
//! lineal-proof as a WebAssembly module.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::shelf::{Shelf, link, read};
use crate::shell;
use crate::workspace::Workspace;

const SIGSTORE: &str = "tools/peers/sigstore-verify";
const WASM: &str = "tools/wasm/Cargo.toml";
/// Where the module is built. Tests build it again with the same words, so that it is never older than its source.
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Builds what is missing, and the link by which tests find it.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    sigstore(workspace)?;
    target()?;
    let folder = workspace.target.join("xtask/wasm");
    let mut build = workspace.cargo(&["build", "--release", "--locked", "--manifest-path", WASM]);
    build.args(["--target", WASM_TARGET, "--target-dir"]).arg(&folder);
    shell::quiet(&mut build)?;
    let module = folder.join(WASM_TARGET).join("release/lineal_proof_wasm.wasm");
    let size = fs::metadata(&module).with_context(|| format!("no `{}`", module.display()))?.len();
    eprintln!("lineal-proof as WebAssembly: {} KB", size / 1000);
    Ok(())
}

/// Makes sure of the standard library for [`WASM_TARGET`], in the toolchain that is in use.
fn target() -> Result<()> {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(WASM_TARGET).is_dir() {
        return Ok(());
    }
    shell::timed("fetching Rust's standard library for WebAssembly", || {
        shell::quiet(Command::new("rustup").args(["target", "add", WASM_TARGET]))
    })
}

fn sigstore(workspace: &Workspace) -> Result<()> {
    let source = workspace.root.join(SIGSTORE);
    let [main, manifest, lock] =
        ["src/main.rs", "Cargo.toml", "Cargo.lock"].map(|name| read(&source.join(name)));
    let (main, compiler) = (main?, shell::output(Command::new("rustc").arg("-vV"))?);
    let parts = [&main[..], &manifest?, &lock?, compiler.as_bytes()];
    let folder = Shelf::find(workspace, "rust").folder("sigstore-verify", &parts, |folder| {
        shell::timed("building the sigstore project's verifier", || {
            let build = folder.join("build");
            let mut cargo = workspace.cargo(&["build", "--locked", "--target-dir"]);
            shell::quiet(cargo.arg(&build).current_dir(&source))?;
            let program = "lineal-sigstore-verify";
            fs::rename(build.join("debug").join(program), folder.join(program))
                .context("cargo built no verifier")?;
            fs::remove_dir_all(&build).context("cannot remove what cargo built on the way")?;
            // Tests compare it with the source, so that an old program is found out.
            fs::write(folder.join("main.rs"), &main).context("cannot write beside the verifier")
        })
    })?;
    link(workspace, "sigstore-verify", &folder)
}
