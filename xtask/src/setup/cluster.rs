//! The programs of the test cluster: ours are built from `testing/cluster`, containerd and runc from Go modules where
//! Debian's are too old.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::go::{Go, go};
use super::shelf::{Shelf, read};
use crate::cluster::image::{Entry, Image};
use crate::shell;
use crate::workspace::Workspace;

/// Which containerd and runc a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Containerd {
    /// The system's packages.
    Debian,
    /// Newer ones, built from their Go modules: image volumes and user namespaces need them.
    Modules,
}

/// Folders of programs; a cluster finds all of them in one folder of links.
pub(crate) struct Programs {
    /// Where they are.
    pub(crate) folders: Vec<PathBuf>,
}

const SOURCE: &str = "testing/cluster";
/// Programs that need nothing but Go's standard library: they are built anew in a second, the others in minutes.
const SMALL: [&str; 3] = ["node", "pause", "probe"];
const HELM: &str = "helm.sh/helm/v3/cmd/helm";
const CONTAINERD: &str = "github.com/containerd/containerd/v2/cmd";
const CONTAINERD_VERSION: &str = "v2.4.2";
const CONTAINERD_PROGRAMS: [&str; 3] = ["containerd", "ctr", "containerd-shim-runc-v2"];
const RUNC: &str = "github.com/opencontainers/runc@v1.5.2";

/// Builds what is missing.
pub(super) fn ensure(workspace: &Workspace, containerd: Containerd) -> Result<Programs> {
    let shelf = Shelf::find(workspace, "go");
    let go = go(&shelf)?;
    let version = shell::output(go.command("env").arg("GOVERSION"))?;
    let (large, small) = sources(workspace)?;
    let module = fs::read_to_string(workspace.root.join(SOURCE).join("go.mod")).context("no `go.mod`")?;
    let flags = linker_flags(&module)?;
    let source = workspace.root.join(SOURCE);
    let cluster = shelf.folder("cluster", &parts(&large, &[&flags, &version]), |folder| {
        shell::timed("building Kubernetes from Go modules (once; some minutes)", || {
            fs::create_dir_all(folder)?;
            let mut build = build(&go, &source);
            shell::quiet(build.arg(format!("-ldflags={flags}")).arg("-o").arg(folder).arg("."))?;
            Ok(symlink("cluster", folder.join("kubectl"))?)
        })
    })?;
    let node = shelf.folder("cluster-node", &parts(&small, &[&version]), |folder| {
        shell::timed("building the cluster's first process and its images", || {
            fs::create_dir_all(folder)?;
            let mut build = build(&go, &source);
            shell::quiet(build.arg("-o").arg(folder).args(SMALL.map(|name| format!("./{name}"))))?;
            image(folder, "pause")?;
            image(folder, "probe")
        })
    })?;
    let helm = helm(&shelf, &go, &source, &version)?;
    let mut folders = vec![cluster, node, helm];
    if containerd == Containerd::Modules {
        folders.push(newer_containerd(&shelf, &go, &version)?);
    }
    Ok(Programs { folders })
}

/// Vets and tests the Go code that is ours and small.
pub(super) fn test(workspace: &Workspace) -> Result<()> {
    let go = go(&Shelf::find(workspace, "go"))?;
    let packages = SMALL.map(|name| format!("./{name}"));
    for task in ["vet", "test"] {
        let mut command = go.command(task);
        command.env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false").args(&packages);
        shell::quiet(command.current_dir(workspace.root.join(SOURCE)))?;
    }
    Ok(())
}

/// Helm, in the versions of the cluster's module: so most of it is built already.
fn helm(shelf: &Shelf, go: &Go, source: &Path, version: &str) -> Result<PathBuf> {
    let [module, sums] = ["go.mod", "go.sum"].map(|name| read(&source.join(name)));
    let (module, sums) = (module?, sums?);
    let flags = helm_flags(&String::from_utf8_lossy(&module))?;
    shelf.folder("cluster-helm", &[&module, &sums, flags.as_bytes(), version.as_bytes()], |folder| {
        shell::timed("building Helm", || {
            fs::create_dir_all(folder)?;
            let mut build = build(go, source);
            shell::quiet(build.arg(format!("-ldflags={flags}")).arg("-o").arg(folder).arg(HELM))
        })
    })
}

fn newer_containerd(shelf: &Shelf, go: &Go, version: &str) -> Result<PathBuf> {
    let parts = [CONTAINERD_VERSION.as_bytes(), RUNC.as_bytes(), version.as_bytes()];
    shelf.folder("cluster-containerd", &parts, |folder| {
        let install = || {
            let mut install = go.command("install");
            install
                .env("GOBIN", folder)
                .env("GOFLAGS", "-buildvcs=false")
                .args(["-trimpath", "-ldflags=-s -w"]);
            install
        };
        shell::timed("building containerd (once; about a minute)", || {
            let programs =
                CONTAINERD_PROGRAMS.map(|name| format!("{CONTAINERD}/{name}@{CONTAINERD_VERSION}"));
            shell::quiet(install().env("CGO_ENABLED", "0").args(programs))
        })?;
        shell::timed("building runc", || {
            shell::quiet(install().env("CGO_ENABLED", "1").args(["-tags=seccomp", RUNC]))
        })
    })
}

fn build(go: &Go, source: &Path) -> Command {
    let mut build = go.command("build");
    build.env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false").current_dir(source).arg("-trimpath");
    build
}

fn image(folder: &Path, name: &str) -> Result<()> {
    let program = Entry { path: format!("/{name}"), file: folder.join(name) };
    let image = Image { name: format!("cluster.test/{name}:1"), entrypoint: vec![program.path.clone()] };
    image.write(&folder.join(format!("{name}.tar")), &[program]).map(|_| ())
}

/// A file of `testing/cluster` and what it holds.
type Source = (String, Vec<u8>);

/// What the large program is made from, and what the small ones are; without tests.
fn sources(workspace: &Workspace) -> Result<(Vec<Source>, Vec<Source>)> {
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for path in workspace.files(SOURCE)? {
        let name = path.strip_prefix(SOURCE)?.to_string_lossy().into_owned();
        match role(&name) {
            Some(Role::Large) => large.push((name, read(&workspace.root.join(&path))?)),
            Some(Role::Small) => small.push((name, read(&workspace.root.join(&path))?)),
            None => {}
        }
    }
    large.sort();
    small.sort();
    Ok((large, small))
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    Large,
    Small,
}

/// Which programs a file of `testing/cluster` changes.
fn role(name: &str) -> Option<Role> {
    let is_code = name.ends_with(".go") && !name.ends_with("_test.go");
    match name.split_once('/') {
        Some((folder, _)) => (is_code && SMALL.contains(&folder)).then_some(Role::Small),
        None => (is_code || ["go.mod", "go.sum"].contains(&name)).then_some(Role::Large),
    }
}

/// What a folder's key is made from.
fn parts<'a>(sources: &'a [Source], more: &'a [&str]) -> Vec<&'a [u8]> {
    let files = sources.iter().flat_map(|(name, content)| [name.as_bytes(), content.as_slice()]);
    files.chain(more.iter().map(|text| text.as_bytes())).collect()
}

/// Without these the API server calls itself v0.0.0-master, which clients cannot parse.
fn linker_flags(module: &str) -> Result<String> {
    let version = module.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    let version = version.context("`go.mod` names no Kubernetes")?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut number = || numbers.next().with_context(|| format!("`{version}` is no version"));
    let (major, minor) = (number()?, number()?);
    let values =
        [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")];
    let packages = ["component-base/version", "client-go/pkg/version"];
    let set = packages.iter().flat_map(|package| {
        values.iter().map(move |(name, value)| format!("-X k8s.io/{package}.{name}={value}"))
    });
    Ok(["-s".to_owned(), "-w".to_owned()].into_iter().chain(set).collect::<Vec<_>>().join(" "))
}

/// Helm says which version it is, and which Kubernetes it takes for granted when it asks none.
fn helm_flags(module: &str) -> Result<String> {
    let versions = |name: &str| {
        let mut lines = module.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned))
    };
    let helm = versions("helm.sh/helm/v3 ").context("`go.mod` names no Helm")?;
    let kubernetes = versions("k8s.io/kubernetes v").context("`go.mod` names no Kubernetes")?;
    let (major, minor) = kubernetes.split_once('.').context("Kubernetes has no minor version")?;
    let minor = minor.split('.').next().unwrap_or_default();
    let set = |name: &str, value: &str| format!("-X helm.sh/helm/v3/{name}={value}");
    let flags = ["-s".to_owned(), "-w".to_owned(), set("internal/version.version", &helm)];
    let taken = ["pkg/chartutil", "pkg/lint/rules"].into_iter().flat_map(|package| {
        [set(&format!("{package}.k8sVersionMajor"), major), set(&format!("{package}.k8sVersionMinor"), minor)]
    });
    Ok(flags.into_iter().chain(taken).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests;
