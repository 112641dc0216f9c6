//! The folders of one step: what it reads, and where it writes.

use std::fs;
use std::path::{Path, PathBuf};

use lineal_blob::BlobStore;
use lineal_blob::files::{self, Context as _};
use lineal_blob::tree::{self, TreeError};
use lineal_facts::predicate::ArtifactKind;
use lineal_sandbox::{Access, Isolation, Mount, Network, Spec};

use crate::order::StepOrder;
use crate::variables;

/// A folder with code, inputs, parameters and outputs of one step below it.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// The place in `folder`, which holds no other step's files.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The code tree.
    pub fn code(&self) -> PathBuf {
        self.folder.join("code")
    }

    /// One file or directory an input.
    pub fn inputs(&self) -> PathBuf {
        self.folder.join("in")
    }

    /// What the step writes.
    pub fn outputs(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// The parameters, a file.
    pub fn parameters(&self) -> PathBuf {
        self.folder.join("params.json")
    }

    /// Standard output and error, a file.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Lays out code, inputs and parameters, from verified bytes, and the directories that outputs are written to.
    pub fn lay_out(&self, blobs: &BlobStore, order: &StepOrder) -> Result<(), TreeError> {
        tree::lay_out(blobs, ArtifactKind::Directory, &order.code, &self.code())?;
        let inputs = self.inputs();
        files::create_directory(&inputs)?;
        for (name, input) in &order.inputs {
            tree::lay_out(blobs, input.kind, &input.digest, &inputs.join(name))?;
        }
        let outputs = self.outputs();
        files::create_directory(&outputs)?;
        for path in order.outputs.values() {
            files::create_directory(files::parent(&outputs.join(path)))?;
        }
        let parameters = self.parameters();
        fs::write(&parameters, &order.parameters).context("write", &parameters)?;
        Ok(())
    }

    /// The sandbox of the step on the base system, with this place mounted where steps expect it.
    pub fn spec(&self, order: &StepOrder) -> Spec {
        let mount = |source, target, access| Mount { source, target: PathBuf::from(target), access };
        Spec {
            argv: order.run.clone(),
            env: order.env.clone(),
            cwd: PathBuf::from(variables::CODE),
            isolation: Isolation::Namespaces,
            root: None,
            mounts: vec![
                mount(self.code(), variables::CODE, Access::ReadOnly),
                mount(self.inputs(), variables::INPUTS, Access::ReadOnly),
                mount(self.parameters(), variables::PARAMETERS, Access::ReadOnly),
                mount(self.outputs(), variables::OUTPUTS, Access::ReadWrite),
            ],
            stdout: self.log(),
            stderr: self.log(),
            tee: false,
            network: Network::None,
            determinism: order.determinism.clone(),
            limits: order.limits.clone(),
        }
    }
}
