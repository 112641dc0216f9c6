//! What a step wrote: the declared outputs become blobs, anything else is told.

use std::collections::BTreeMap;
use std::path::Path;

use lineal_blob::BlobStore;
use lineal_blob::tree::{self, TreeError};
use lineal_facts::StepName;
use lineal_facts::error::chain;
use lineal_facts::predicate::Artifact;

use crate::order::StepOrder;

/// Why the outputs cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Whatever a step leaves in its output directory must be declared: an output nobody recorded would be lost.
    #[error(
        "step `{step}` wrote `$LINEAL_OUT/{path}`, which it does not declare under `out`; declare it, or write it to /tmp"
    )]
    Undeclared {
        /// Who wrote it.
        step: StepName,
        /// What, below the output directory.
        path: String,
    },
    /// The step ended well, but an output is not there.
    #[error("step `{step}` ended well but did not write its output `{name}` (`$LINEAL_OUT/{path}`)")]
    Missing {
        /// Who should have written it.
        step: StepName,
        /// The output.
        name: String,
        /// Where it should be.
        path: String,
    },
    /// What is there has no certain identity: it is the step's fault, told by the path that the step knows.
    #[error("the output of step `{step}` cannot be kept: {reason}")]
    Unfit {
        /// Who wrote it.
        step: StepName,
        /// What is wrong with it.
        reason: String,
    },
    /// The blob store or the disk said no.
    #[error(transparent)]
    Store(TreeError),
}

/// Freezes the outputs that `order` declares from the directory `out`.
pub fn collect(
    blobs: &BlobStore,
    order: &StepOrder,
    out: &Path,
) -> Result<BTreeMap<String, Artifact>, OutputError> {
    let step = || order.step.clone();
    let failed = |error| told(order, out, error);
    let declared = |path: &str| {
        let within = |d: &String| {
            path.strip_prefix(d.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        order.outputs.values().any(within)
    };
    let found = tree::walk(out, &|_| false).map_err(failed)?;
    if let Some(file) = found.iter().find(|file| !declared(&file.path)) {
        return Err(OutputError::Undeclared { step: step(), path: file.path.clone() });
    }
    let mut outputs = BTreeMap::new();
    for (name, path) in &order.outputs {
        let location = out.join(path);
        if !location.exists() {
            return Err(OutputError::Missing { step: step(), name: name.clone(), path: path.clone() });
        }
        outputs.insert(name.clone(), tree::freeze_artifact(blobs, &location).map_err(failed)?);
    }
    Ok(outputs)
}

fn told(order: &StepOrder, out: &Path, error: TreeError) -> OutputError {
    match error {
        TreeError::Blob(_) | TreeError::File(_) => OutputError::Store(error),
        TreeError::Name(_)
        | TreeError::Link(_)
        | TreeError::Special(_)
        | TreeError::Changed(_)
        | TreeError::Depth(_)
        | TreeError::Manifest(_) => {
            let reason = chain(&error).replace(&out.display().to_string(), "$LINEAL_OUT");
            OutputError::Unfit { step: order.step.clone(), reason }
        }
    }
}
