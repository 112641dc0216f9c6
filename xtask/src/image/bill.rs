//! The bill of materials, as CycloneDX 1.6: crates that are linked, and Debian's packages. It names no time, so that it
//! is the same twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, PackageId};
use serde_json::{Value, json};

use crate::shell;
use crate::workspace::Workspace;

/// Programs of the image, as packages.
const PROGRAMS: [&str; 2] = ["lineal", "lineal-step"];

/// A package of Debian.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
}

impl Package {
    /// As package URLs are written.
    pub(super) fn url(&self) -> String {
        // A version may have a `+` and a `~`, and in front of a colon an epoch.
        let version = self.version.replace(':', "%3A").replace('+', "%2B");
        format!("pkg:deb/debian/{}@{version}?arch={}", self.name, self.architecture)
    }
}

/// Which packages these files are of. One that a package made when it was installed counts as its own.
pub(super) fn packages(files: &[PathBuf]) -> Result<BTreeSet<Package>> {
    let mut found = BTreeSet::new();
    for file in files {
        let name = owner(file)?;
        let format = "-f=${Package}\t${Version}\t${Architecture}";
        let shown = shell::output(Command::new("dpkg-query").args(["--show", format]).arg(&name))?;
        let fields: Vec<&str> = shown.trim().split('\t').collect();
        let [name, version, architecture] = fields[..] else { anyhow::bail!("dpkg-query says `{shown}`") };
        let [name, version, architecture] = [name, version, architecture].map(str::to_owned);
        found.insert(Package { name, version, architecture });
    }
    Ok(found)
}

fn owner(file: &Path) -> Result<String> {
    if file.starts_with("/etc/ssl/certs") {
        return Ok("ca-certificates".to_owned());
    }
    // Where `/lib` is a link to `/usr/lib`, packages know the file by either name.
    let real = fs::canonicalize(file).with_context(|| format!("no `{}`", file.display()))?;
    let short = Path::new("/").join(real.strip_prefix("/usr").unwrap_or(&real));
    let ask = |path: &Path| shell::output(Command::new("dpkg-query").arg("--search").arg(path));
    let said = [file, &real, &short].into_iter().find_map(|path| ask(path).ok());
    let said = said.with_context(|| format!("no package of Debian has `{}`", file.display()))?;
    let names = said.split_once(": ").map(|(names, _)| names).context("dpkg-query names no package")?;
    Ok(names.split(',').next().unwrap_or_default().trim().to_owned())
}

/// The document.
pub(super) fn of(
    workspace: &Workspace,
    version: &str,
    image: &str,
    packages: &BTreeSet<Package>,
) -> Result<Value> {
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock")).context("no `Cargo.lock`")?;
    let mut components = crates(&workspace.metadata()?, &checksums(&lock))?;
    components.extend(packages.iter().map(|package| {
        let Package { name, version, .. } = package;
        json!({"type": "library", "name": name, "version": version, "purl": package.url(), "bom-ref": package.url()})
    }));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "container",
            "name": "lineal",
            "version": version,
            "bom-ref": "image",
            "hashes": [{"alg": "SHA-256", "content": image.trim_start_matches("sha256:")}],
        }},
        "components": components,
    }))
}

/// What the programs are linked from: neither tests nor what only builds.
fn crates(metadata: &Metadata, checksums: &BTreeMap<(String, String), String>) -> Result<Vec<Value>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let is_program = |name: &str| PROGRAMS.contains(&name);
    let mut open: Vec<&PackageId> =
        metadata.workspace_packages().into_iter().filter(|p| is_program(&p.name)).map(|p| &p.id).collect();
    let mut linked: BTreeSet<&PackageId> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        let node = nodes.get(id).context("a package has no node")?;
        let normal =
            |d: &&cargo_metadata::NodeDep| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
        open.extend(node.deps.iter().filter(normal).map(|d| &d.pkg).filter(|id| linked.insert(id)));
    }
    let mut found = Vec::new();
    for package in metadata.packages.iter().filter(|package| linked.contains(&package.id)) {
        let (name, version) = (package.name.to_string(), package.version.to_string());
        let url = format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"));
        let mut component =
            json!({"type": "library", "name": name, "version": version, "purl": url, "bom-ref": url});
        if let Some(licence) = &package.license {
            component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
        }
        if let Some(checksum) = checksums.get(&(name.clone(), version.clone())) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        found.push((name, version, component));
    }
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    Ok(found.into_iter().map(|(_, _, component)| component).collect())
}

/// Of the archives that cargo fetched, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let start = format!("{key} = \"");
        let line = block.lines().find_map(|line| line.strip_prefix(start.as_str()));
        line.and_then(|line| line.strip_suffix('"')).map(str::to_owned)
    };
    let block =
        |block: &str| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    lock.split("[[package]]").filter_map(block).collect()
}

#[cfg(test)]
mod tests;
