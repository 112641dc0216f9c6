//! Looking for bytes that break a parser; `fuzz/src/targets.rs` has what is looked for.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// Fuzzes the target `name`, or each of them, for so many seconds.
pub(crate) fn fuzz(workspace: &Workspace, name: Option<&str>, seconds: u64) -> Result<()> {
    if !shell::succeeds(&mut workspace.cargo(&["fuzz", "--version"])) {
        bail!("cargo-fuzz is missing; `cargo install cargo-fuzz --locked`");
    }
    let corpus = workspace.root.join("fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&corpus).with_context(|| format!("cannot list `{}`", corpus.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.retain(|found| name.is_none_or(|name| name == found));
    if names.is_empty() {
        bail!("there is no folder `{}` in fuzz/corpus", name.unwrap_or_default());
    }
    for name in names {
        // The first folder takes what is new, so that the kept corpus stays small.
        let fresh = workspace.target.join("xtask/fuzz").join(&name);
        fs::create_dir_all(&fresh).with_context(|| format!("cannot create `{}`", fresh.display()))?;
        let (fresh, kept) = (fresh.to_string_lossy(), corpus.join(&name));
        let time = format!("-max_total_time={seconds}");
        let arguments =
            ["fuzz", "run", &name, &fresh, &kept.to_string_lossy(), "--", &time, "-print_final_stats=1"];
        // The sanitizer is for nightly compilers only; this makes the stable one take it.
        let mut command = workspace.cargo(&arguments);
        command.env("RUSTC_BOOTSTRAP", "1");
        shell::timed(&format!("fuzzing {name}"), || shell::quiet(&mut command))?;
    }
    Ok(())
}
