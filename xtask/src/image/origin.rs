//! What the image was made from, as an in-toto statement with the predicate of SLSA provenance. It is not signed: it is
//! for who builds the image again and compares.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Written;
use super::bill::Package;
use crate::cluster::image::digest;
use crate::shell;
use crate::workspace::{self, Workspace};

/// The statement.
///
/// `binary` says how the binary came about; one that was given was not built from what stands here.
pub(super) fn of(
    workspace: &Workspace,
    binary: &str,
    written: &Written,
    packages: &BTreeSet<Package>,
) -> Result<Value> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(&workspace.root).args(["-c", "safe.directory=*"]).args(arguments);
        shell::output(&mut command).map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = !git(&["status", "--porcelain"])?.is_empty();
    let lock = fs::read(workspace.root.join("Cargo.lock")).context("no `Cargo.lock`")?;
    let compiler = shell::output(Command::new("rustc").arg("--version"))?;
    let mut used = vec![
        json!({
            "name": "source",
            "digest": {"gitCommit": commit},
            "annotations": {"uncommittedChanges": changed},
        }),
        json!({"name": "Cargo.lock", "digest": {"sha256": hex(&digest(&lock))}}),
        json!({"name": "rustc", "annotations": {"version": compiler.trim(), "host": workspace::host()?}}),
    ];
    used.extend(packages.iter().map(|package| json!({"uri": package.url()})));
    let programs = written.programs.iter();
    let products: Vec<Value> =
        programs.map(|(path, digest)| json!({"name": path, "digest": {"sha256": hex(digest)}})).collect();
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": written.name, "digest": {"sha256": hex(&written.digest)}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://lineal.dev/builds/image/v1",
                "externalParameters": {"task": "cargo xtask image", "binary": binary},
                "resolvedDependencies": used,
            },
            "runDetails": {
                "builder": {"id": "https://lineal.dev/builders/xtask/v1"},
                "byproducts": products,
            },
        },
    }))
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}
