//! A project in a temporary folder.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// Removed when dropped.
pub(super) struct Project {
    folder: tempfile::TempDir,
    lineal: PathBuf,
}

impl Project {
    /// A fresh project with this pipeline.
    pub(super) fn new(lineal: &Path, pipeline: &str) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("lineal-bench-").tempdir().context("no temporary folder")?;
        let project = Self { folder, lineal: lineal.to_owned() };
        project.write("pipeline.yaml", pipeline)?;
        project.lineal(&["init"])?;
        Ok(project)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Runs `lineal` and takes its answer.
    pub(super) fn lineal(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.lineal);
        let printed = shell::output(command.current_dir(self.folder()).arg("--json").args(arguments))?;
        Ok(serde_json::from_str(&printed).unwrap_or_default())
    }
}

/// A pipeline of `steps` steps that hand one small file on.
pub(super) fn chain(steps: u32) -> String {
    let mut text = String::from(
        "apiVersion: lineal.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: chain}\nsteps:\n  s1:\n    \
         run: [cp, /lineal/params.json, /lineal/out/f]\n    out: {f: f}\n",
    );
    for step in 2..=steps {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "  s{step}:\n    run: [cp, /lineal/in/f, /lineal/out/f]\n    in: {{f: s{}.f}}\n    out: {{f: f}}\n",
            step - 1
        );
    }
    text
}
