//! Programs inside a cluster's network, and images on its node.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::place::{Place, Process};
use crate::shell;

/// A program in the cluster's network, mounts and processes, with `kubectl`, `ctr` and `KUBECONFIG`.
///
/// Whoever kills this command kills the program: `nsenter` has it as a child, and would leave it behind.
pub(crate) fn command(place: &Place, program: &OsStr) -> Result<Command> {
    let folder = std::env::current_dir().context("no working directory")?;
    let mut command = enter(place.running()?, &folder);
    command.arg(program).env("KUBECONFIG", place.kubeconfig()).env("PATH", path(place));
    command
        .env("CONTAINERD_ADDRESS", "/run/containerd/containerd.sock")
        .env("CONTAINERD_NAMESPACE", "k8s.io");
    Ok(command)
}

/// What goes before a program that is to run inside, in this folder.
fn enter(init: Process, folder: &Path) -> Command {
    let mut command = Command::new("nsenter");
    // Not `ip netns exec`, which mounts a new /sys and hides the cgroups.
    command.args(["--target", &init.pid.to_string(), "--net", "--mount", "--pid", "--uts", "--"]);
    // The root of another mount namespace has another working directory.
    command.args(["env", "-C"]).arg(folder).args(["setpriv", "--pdeathsig", "KILL", "--"]);
    command
}

/// `kubectl` outside of the cluster's network.
pub(crate) fn kubectl(place: &Place, arguments: &[&str]) -> Result<Command> {
    place.running()?;
    let mut command = Command::new(place.at("bin/kubectl"));
    command.args(arguments).env("KUBECONFIG", place.machine_kubeconfig());
    Ok(command)
}

/// Becomes a program inside.
pub(crate) fn exec(place: &Place, words: &[std::ffi::OsString]) -> Result<()> {
    let (program, arguments) = words.split_first().context("exec needs a command")?;
    let mut command = command(place, program)?;
    Err(command.args(arguments).exec()).with_context(|| format!("cannot start `{}`", shell::line(&command)))
}

/// Puts images on the node, without a registry. Pods name them by name and tag, with `imagePullPolicy: Never`.
pub(crate) fn load(place: &Place, images: &[PathBuf]) -> Result<()> {
    for image in images {
        let mut import = command(place, OsStr::new("ctr"))?;
        import.args(["images", "import", "--digests=false"]).arg(existing(image)?);
        shell::timed(&format!("loading {}", image.display()), || shell::quiet(&mut import))?;
    }
    Ok(())
}

/// Uploads an image to the cluster's registry; gives its name with the digest, as pods name it.
pub(crate) fn push(place: &Place, image: &Path, repository: &str) -> Result<String> {
    let mut push = command(place, OsStr::new("node"))?;
    push.arg("push").arg(existing(image)?).arg(repository);
    let reference = shell::timed(&format!("pushing {}", image.display()), || shell::output(&mut push))?;
    Ok(reference.trim().to_owned())
}

fn existing(image: &Path) -> Result<PathBuf> {
    if !image.is_file() {
        bail!("there is no image `{}`", image.display());
    }
    Ok(std::path::absolute(image)?)
}

fn path(place: &Place) -> std::ffi::OsString {
    let mut path = place.at("bin").into_os_string();
    for more in [std::env::var_os("PATH").unwrap_or_default(), "/usr/sbin:/sbin".into()] {
        path.push(":");
        path.push(more);
    }
    path
}

#[cfg(test)]
mod tests;
