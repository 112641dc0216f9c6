//! Lineal on a test cluster: its image in the cluster's registry, its chart by Helm.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

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

/// Makes the image, and installs or upgrades what is installed.
pub(super) fn install(workspace: &Workspace, place: &Place, options: &Installation) -> Result<()> {
    place.running()?;
    let image = image::image(workspace, &options.image)?;
    install_image(workspace, place, &image, options.wait, &options.words)
}

/// Installs this image, or upgrades to it.
pub(super) fn install_image(
    workspace: &Workspace,
    place: &Place,
    image: &Made,
    wait: Option<u64>,
    words: &[String],
) -> Result<()> {
    let pushed = push(place, image)?;
    let (repository, digest) = pushed.split_once('@').context("the registry gave no digest")?;
    let chart = workspace.root.join(CHART);
    prepare(place, &chart)?;
    let mut helm = Command::new(place.at("bin/helm"));
    helm.env("KUBECONFIG", place.machine_kubeconfig());
    helm.args(["upgrade", "--install", NAME]).arg(&chart).args(["--namespace", NAME]);
    for value in [format!("image.repository={repository}"), format!("image.digest={digest}")] {
        helm.args(["--set", &value]);
    }
    if let Some(seconds) = wait {
        helm.args(["--wait", "--timeout", &format!("{seconds}s")]);
    }
    shell::loud(helm.args(words))
}

/// Gives the image's name in the cluster's registry, with the digest.
fn push(place: &Place, Made { file, digest }: &Made) -> Result<String> {
    let pushed = inside::push(place, file, NAME)?;
    ensure!(pushed.ends_with(&format!("@{digest}")), "the image is {digest}, but the registry says {pushed}");
    Ok(pushed)
}

/// The namespace, in which only restricted pods are admitted; a volume for the chart's claim, because the cluster has no
/// storage class; and the definitions, which Helm installs once and never changes.
fn prepare(place: &Place, chart: &Path) -> Result<()> {
    let folder = place.at("volumes").join(NAME);
    fs::create_dir_all(&folder)?;
    let file = place.at("namespace.json");
    fs::write(
        &file,
        json!({"apiVersion": "v1", "kind": "List", "items": [namespace(), volume(&folder)]}).to_string(),
    )?;
    for path in [file, chart.join("crds")] {
        let path = path.to_str().context("a path is no text")?.to_owned();
        let apply = ["apply", "--server-side", "--force-conflicts", "--filename", &path];
        shell::quiet(&mut inside::kubectl(place, &apply)?)?;
    }
    Ok(())
}

fn namespace() -> Value {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": labels}})
}

/// A folder of this machine as a volume for one claim.
fn volume(folder: &Path) -> Value {
    let node = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]});
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": NAME},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "20Gi"},
            "claimRef": {"namespace": NAME, "name": NAME},
            "local": {"path": folder},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    })
}
