//! Files that are written by the binary, checked in, and never edited.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// Path and what `lineal reference` calls it.
const FILES: [(&str, &str); 4] = [
    ("docs/openapi.json", "openapi"),
    ("docs/cli.md", "cli"),
    ("docs/errors.md", "errors"),
    ("deploy/chart/templates/access.yaml", "access"),
];

/// Where Helm looks for the definitions of custom resources.
const DEFINITIONS: &str = "deploy/chart/crds";

/// Writes the files, or with `check` names those that differ. Gives how many there are.
pub(crate) fn generate(workspace: &Workspace, check: bool) -> Result<u64> {
    let binary = workspace.build_lineal(false)?;
    let print = |document: &str| {
        shell::output(Command::new(&binary).current_dir(&workspace.root).args(["reference", document]))
    };
    let mut wanted = Vec::new();
    for (path, document) in FILES {
        let mut printed = print(document)?;
        if !printed.ends_with('\n') {
            printed.push('\n');
        }
        wanted.push((path.to_owned(), printed));
    }
    wanted.extend(definitions(&print("crds")?)?);
    let mut different = stale(workspace, &wanted, check)?;
    for (path, printed) in &wanted {
        let file = workspace.root.join(path);
        if fs::read_to_string(&file).is_ok_and(|found| found == *printed) {
            continue;
        }
        if check {
            different.push(path.clone());
            continue;
        }
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(&file, printed).with_context(|| format!("cannot write `{path}`"))?;
        println!("wrote {path}");
    }
    if !different.is_empty() {
        bail!("out of date: {}; run `cargo xtask gen`", different.join(", "));
    }
    Ok(wanted.len() as u64)
}

/// One file a resource, called by its plural name.
fn definitions(printed: &str) -> Result<Vec<(String, String)>> {
    let documents = printed.trim_end().split("\n---\n");
    let file = |document: &str| {
        let name = document.lines().find_map(|line| line.strip_prefix("  name: "));
        let plural = name.and_then(|name| name.split('.').next()).context("a definition has no name")?;
        Ok((format!("{DEFINITIONS}/{plural}.yaml"), format!("{}\n", document.trim_end())))
    };
    documents.map(file).collect()
}

/// Definitions of resources that are no more: with `check` their paths, else they are removed.
fn stale(workspace: &Workspace, wanted: &[(String, String)], check: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(workspace.root.join(DEFINITIONS)) else { return Ok(found) };
    for entry in entries {
        let path = format!("{DEFINITIONS}/{}", entry?.file_name().to_string_lossy());
        if wanted.iter().any(|(known, _)| *known == path) {
            continue;
        }
        if check {
            found.push(path);
        } else {
            fs::remove_file(workspace.root.join(&path))?;
            println!("removed {path}");
        }
    }
    Ok(found)
}
