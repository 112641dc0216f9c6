//! The rules of STYLE.md that no lint knows.

mod graph;
mod licences;
mod text;
mod threats;

use anyhow::{Result, bail};
use cargo_metadata::Metadata;

use crate::workspace::Workspace;

/// One rule: its name, and what breaks it.
pub(crate) struct Check {
    /// What is kept.
    name: &'static str,
    find: fn(&Material) -> Vec<String>,
}

/// What the checks look at.
pub(crate) struct Material {
    metadata: Metadata,
    files: Vec<TextFile>,
}

/// A text file of the repository.
pub(crate) struct TextFile {
    /// From the root, with `/`.
    path: String,
    text: String,
}

/// All rules.
pub(crate) const CHECKS: &[Check] = &[
    Check { name: "crates depend in one direction", find: graph::direction },
    Check { name: "heavy dependencies are fenced", find: graph::fences },
    Check { name: "heavy dependencies have one version", find: graph::duplicates },
    Check { name: "only the sandbox may be unsafe", find: graph::unsafe_code },
    Check { name: "licences are allowed", find: licences::licences },
    Check { name: "files are short", find: text::length },
    Check { name: "tests are in files of their own", find: text::inline_tests },
    Check { name: "modules are named after their subject", find: text::vague_names },
    Check { name: "pure crates are pure", find: text::purity },
    Check { name: "no registry hosts or machine paths", find: text::places },
    Check { name: "nothing is left to do", find: text::leftovers },
    Check { name: "npm locks name no registry", find: text::npm_locks },
    Check { name: "files end with a newline", find: text::last_line },
    Check { name: "threats name tests that exist", find: threats::threats },
];

/// Applies all rules and names every breach.
pub(crate) fn tidy(workspace: &Workspace) -> Result<()> {
    let material = Material::read(workspace)?;
    let mut count = 0;
    for check in CHECKS {
        let findings = (check.find)(&material);
        count += findings.len();
        for finding in findings {
            eprintln!("tidy: {}: {finding}", check.name);
        }
    }
    if count > 0 {
        bail!("tidy: {count} findings");
    }
    Ok(())
}

impl Material {
    /// Reads the workspace.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let mut files = Vec::new();
        for path in workspace.files(".")? {
            // What is not UTF-8 is no text.
            if let Ok(text) = std::fs::read_to_string(workspace.root.join(&path)) {
                files.push(TextFile { path: path.to_string_lossy().into_owned(), text });
            }
        }
        Ok(Self { metadata: workspace.metadata()?, files })
    }
}

#[cfg(test)]
mod tests;
