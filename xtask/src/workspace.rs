//! Where things are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::shell;

/// The checkout.
pub(crate) struct Workspace {
    /// The folder with the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was started from (cargo says where), or was built from.
    pub(crate) fn find() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = package.parent().context("xtask lies in the workspace")?.to_owned();
        if !root.join("xtask/Cargo.toml").is_file() {
            bail!(
                "`{}` is not the workspace of Lineal; run this with `cargo xtask` inside it",
                root.display()
            );
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { root, target })
    }

    /// Files that are in git or would be added, relative to the root, below `folder`.
    pub(crate) fn files(&self, folder: &str) -> Result<Vec<PathBuf>> {
        // A checkout may belong to another user than the one that runs the task.
        let arguments = [
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            folder,
        ];
        let listed = shell::output(Command::new("git").current_dir(&self.root).args(arguments))?;
        let files = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
        Ok(files.filter(|file| self.root.join(file).is_file()).collect())
    }

    /// Packages of this workspace and everything that they need on this kind of machine.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let mut command = MetadataCommand::new();
        command.manifest_path(self.root.join("Cargo.toml"));
        command.other_options(["--filter-platform".to_owned(), host()?]);
        command.exec().context("cannot read the workspace's metadata")
    }

    /// `cargo` in the workspace.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(arguments);
        // `cargo run` sets these for xtask; inherited, they would make cargo rebuild what depends on them.
        for variable in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(variable);
        }
        command
    }

    /// Builds the binary and says where it is.
    pub(crate) fn build_lineal(&self, release: bool) -> Result<PathBuf> {
        // Over the whole workspace, so that features are chosen as for the tests and nothing is built twice.
        let mut arguments = vec!["build", "--workspace", "--bin", "lineal"];
        if release {
            arguments.push("--release");
        }
        shell::loud(&mut self.cargo(&arguments))?;
        Ok(self.target.join(if release { "release" } else { "debug" }).join("lineal"))
    }
}

/// The kind of machine that this is, as rustc calls it.
pub(crate) fn host() -> Result<String> {
    let version = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
