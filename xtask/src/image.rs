//! The image of Lineal, made without an image engine: one for the operator and for the program in pods of steps.
//!
//! It has the binary, exactly the libraries that it is linked with, as this machine's Debian has them, and nothing that
//! starts a shell. Beside it are a bill of materials and a statement of what it was made from.

mod bill;
mod origin;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::cluster::image::{Entry, Image, Process};
use crate::workspace::Workspace;
use crate::{setup, shell};

/// `cargo xtask image`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// The folder to write to; `image` below the target folder otherwise.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// With the binary of a release instead of the one that tests use.
    #[arg(long)]
    pub(crate) release: bool,
    /// A binary that is built already.
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    pub(crate) lineal: Option<PathBuf>,
    /// A static program for pods of steps that is built already.
    #[arg(long, value_name = "FILE")]
    pub(crate) step: Option<PathBuf>,
}

/// What was written.
pub(crate) struct Made {
    /// The image.
    pub(crate) file: PathBuf,
    /// Of its manifest.
    pub(crate) digest: String,
}

const NAME: &str = "lineal.dev/lineal";
/// A user without a name elsewhere, as images without root use it; the chart and pods of steps name it too.
const USER: &str = "65532:65532";
const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\nlineal:x:65532:65532:lineal:/tmp:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nlineal:x:65532:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";
/// Authorities, for servers that are not in the cluster.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const VARIABLES: [&str; 2] = ["PATH=/bin", "HOME=/tmp"];

/// What goes into the image.
struct Programs {
    lineal: PathBuf,
    step: PathBuf,
}

/// Writes `lineal.tar`, `lineal.cdx.json` and `lineal.provenance.json`, and prints the digest.
pub(crate) fn image(workspace: &Workspace, options: &Options) -> Result<Made> {
    setup::image()?;
    let step = match &options.step {
        Some(file) => file.clone(),
        None => crate::step::build(workspace)?,
    };
    let lineal = match &options.lineal {
        Some(file) => file.clone(),
        None => workspace.build_lineal(options.release)?,
    };
    let folder = options.out.clone().unwrap_or_else(|| workspace.target.join("image"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let version = env!("CARGO_PKG_VERSION");
    let file = folder.join("lineal.tar");
    let written = write(&file, &format!("{NAME}:{version}"), &Programs { lineal, step })?;
    let packages = bill::packages(&written.libraries)?;
    let bill = bill::of(workspace, version, &written.digest, &packages)?;
    put(&folder.join("lineal.cdx.json"), &bill)?;
    let binary = match (&options.lineal, options.release) {
        (Some(_), _) => "given",
        (None, true) => "release",
        (None, false) => "development",
    };
    let origin = origin::of(workspace, binary, &written, &packages)?;
    put(&folder.join("lineal.provenance.json"), &origin)?;
    Ok(Made { file, digest: written.digest })
}

/// An image and what is in it.
struct Written {
    name: String,
    digest: String,
    /// Files of this machine that are in it.
    libraries: Vec<PathBuf>,
    /// Path in the image and digest of each program as it is there.
    programs: Vec<(String, String)>,
}

fn write(out: &Path, name: &str, programs: &Programs) -> Result<Written> {
    let folder = out.parent().context("an image has a folder")?;
    let work = tempfile::Builder::new().prefix("image").tempdir_in(folder)?;
    let mut entries = Vec::new();
    let mut digests = Vec::new();
    for (path, program) in [("/bin/lineal", &programs.lineal), ("/lineal-step", &programs.step)] {
        let file = work.path().join(path.trim_start_matches('/').replace('/', "-"));
        let mut strip = Command::new("objcopy");
        shell::quiet(
            strip.args(["--strip-debug", "--enable-deterministic-archives"]).arg(program).arg(&file),
        )?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        digests.push((path.to_owned(), crate::cluster::image::digest(&fs::read(&file)?)));
        entries.push(Entry { path: path.to_owned(), file });
    }
    let texts = [("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/nsswitch.conf", NSSWITCH)];
    for (path, text) in texts {
        let file = work.path().join(path.replace('/', "-"));
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        entries.push(Entry { path: format!("/{path}"), file });
    }
    if !loaded(&programs.step)?.is_empty() {
        bail!("`{}` needs libraries; in an image that has none it would not start", programs.step.display());
    }
    let mut libraries = loaded(&programs.lineal)?;
    libraries.push(PathBuf::from(AUTHORITIES));
    for library in &libraries {
        let path = library.to_str().context("a library's name is no text")?.to_owned();
        entries.push(Entry { path, file: library.clone() });
    }
    let image = Image { name: name.to_owned(), entrypoint: vec!["/bin/lineal".to_owned()] };
    let process = Process { user: Some(USER), environment: &VARIABLES };
    let digest = image.write_with(out, &entries, &process)?;
    Ok(Written { name: name.to_owned(), digest, libraries, programs: digests })
}

/// The libraries of a program and what loads them, where the program looks for them; none of a static one.
fn loaded(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start `ldd`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let refused = String::from_utf8_lossy(&output.stderr);
    if said.contains("statically linked") || refused.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!("`ldd {}` ended with {}: {}", program.display(), output.status, refused.trim());
    }
    libraries(&said)
}

/// `libm.so.6 => /lib/libm.so.6 (0x0...)`, or `/lib64/ld-linux.so.2 (0x0...)`; the kernel's own has no file.
fn libraries(said: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let file = line.split_once("=> ").map_or(line, |(_, file)| file);
        let file = file.split(" (0x").next().unwrap_or_default();
        if file.starts_with('/') {
            found.push(PathBuf::from(file));
        } else if !file.starts_with("linux-vdso") {
            bail!("`ldd` says `{line}`");
        }
    }
    found.sort();
    Ok(found)
}

fn put(path: &Path, document: &Value) -> Result<()> {
    fs::write(path, format!("{document:#}\n")).with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests;
