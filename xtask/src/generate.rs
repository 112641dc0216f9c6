//! Files that are written by the binary, checked in, and never edited.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// Path and what `lineal reference` calls it.
pub(crate) const FILES: [(&str, &str); 3] =
    [("docs/openapi.json", "openapi"), ("docs/cli.md", "cli"), ("docs/errors.md", "errors")];

/// Writes the files, or with `check` names those that differ.
pub(crate) fn generate(workspace: &Workspace, check: bool) -> Result<()> {
    let binary = workspace.build_lineal(false)?;
    let mut different = Vec::new();
    for (path, document) in FILES {
        let mut printed =
            shell::output(Command::new(&binary).current_dir(&workspace.root).args(["reference", document]))?;
        if !printed.ends_with('\n') {
            printed.push('\n');
        }
        let file = workspace.root.join(path);
        if fs::read_to_string(&file).is_ok_and(|found| found == printed) {
            continue;
        }
        if check {
            different.push(path);
            continue;
        }
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(&file, printed).with_context(|| format!("cannot write `{path}`"))?;
        println!("wrote {path}");
    }
    if !different.is_empty() {
        bail!("out of date: {}; run `cargo xtask gen`", different.join(", "));
    }
    Ok(())
}
