//! Lineal on a test cluster: its image in the cluster's registry, its chart by Helm.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::inside;
use super::place::Place;
use crate::image::{self, Made};
use crate::shell;
use crate::workspace::Workspace;

/// `cargo xtask cluster install`.
#[derive(Args)]
pub(super) struct Installation {
    #[command(flatten)]
    image: image::Options,
    /// Wait until the operator is ready, at most so long.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// More words for Helm, after `--`.
    #[arg(last = true, value_name = "WORD")]
    words: Vec<String>,
}

const CHART: &str = "deploy/chart";
/// Of the release, and its namespace.
const NAME: &str = "lineal";

/// Installs, or upgrades what is installed.
pub(super) fn install(workspace: &Workspace, place: &Place, options: &Installation) -> Result<()> {
    place.running()?;
    let pushed = push(workspace, place, &options.image)?;
    let (repository, digest) = pushed.split_once('@').context("the registry gave no digest")?;
    let chart = workspace.root.join(CHART);
    prepare(place, &chart)?;
    let mut helm = Command::new(place.at("bin/helm"));
    helm.env("KUBECONFIG", place.machine_kubeconfig());
    helm.args(["upgrade", "--install", NAME]).arg(&chart).args(["--namespace", NAME]);
    // The test cluster has no storage class.
    for value in [
        format!("image.repository={repository}"),
        format!("image.digest={digest}"),
        "storage.kind=empty".to_owned(),
    ] {
        helm.args(["--set", &value]);
    }
    if let Some(seconds) = options.wait {
        helm.args(["--wait", "--timeout", &format!("{seconds}s")]);
    }
    shell::loud(helm.args(&options.words))
}

/// Makes the image and gives its name in the cluster's registry, with the digest.
fn push(workspace: &Workspace, place: &Place, options: &image::Options) -> Result<String> {
    let Made { file, digest } = image::image(workspace, options)?;
    let pushed = inside::push(place, &file, NAME)?;
    ensure!(pushed.ends_with(&format!("@{digest}")), "the image is {digest}, but the registry says {pushed}");
    Ok(pushed)
}

/// The namespace, in which only restricted pods are admitted; and the definitions, which Helm installs once and never
/// changes.
fn prepare(place: &Place, chart: &Path) -> Result<()> {
    let namespace = format!(
        r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{NAME}","labels":{{"pod-security.kubernetes.io/enforce":"restricted"}}}}}}"#
    );
    let file = place.at("namespace.json");
    std::fs::write(&file, namespace)?;
    for path in [file, chart.join("crds")] {
        let path = path.to_str().context("a path is no text")?.to_owned();
        let apply = ["apply", "--server-side", "--force-conflicts", "--filename", &path];
        shell::quiet(&mut inside::kubectl(place, &apply)?)?;
    }
    Ok(())
}
