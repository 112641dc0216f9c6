//! Go programs by others that check what Lineal writes, for the tests of the binary: cosign, and our small program
//! around the checksum database's code. An S3 server for tests. And a log by others that the bench compares ours with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::shelf::{Shelf, link, read};
use crate::shell;
use crate::workspace::Workspace;

const COSIGN: &str = "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3";
/// An S3 server over a folder, for tests: the one whose conditional writes hold when many writers race.
const VERSITYGW: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
/// What these programs need. Debian's may be older; then it fetches this one, as a module.
const NEWEST_NEEDED: (u32, u32) = (1, 26);
const TOOLCHAIN: &str = "golang.org/toolchain@v0.0.1-go1.26.8";
const CHECK: &str = "docs/verify/go";
const TESSERA: &str = "tools/peers/tessera";

/// Builds what is missing, and the links by which tests find it.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let shelf = Shelf::find(workspace, "go");
    let go = go(&shelf)?;
    let version = shell::output(&mut go.command("version"))?;
    let source = workspace.root.join(CHECK);
    let files = ["main.go", "go.mod", "go.sum"].map(|name| read(&source.join(name)));
    let [main, module, sums] = files;
    let (main, module, sums) = (main?, module?, sums?);
    let check = shelf.folder("log-check", &[&main, &module, &sums, version.as_bytes()], |folder| {
        shell::timed("building the log check", || {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
            shell::quiet(go.command("vet").arg("./...").current_dir(&source))?;
            let mut build = go.command("build");
            shell::quiet(build.args(["-trimpath", "-o"]).arg(folder).arg(".").current_dir(&source))?;
            // Tests compare it with the source, so that an old program is found out.
            fs::write(folder.join("main.go"), &main).context("cannot write beside the log check")
        })
    })?;
    link(workspace, "log-check", &check)?;
    let cosign = shelf.folder("cosign", &[COSIGN.as_bytes(), version.as_bytes()], |folder| {
        shell::timed("building cosign (some minutes)", || {
            let mut install = go.command("install");
            shell::quiet(install.env("GOBIN", folder).args(["-trimpath", COSIGN]))
        })
    })?;
    link(workspace, "cosign", &cosign)?;
    let server = shelf.folder("versitygw", &[VERSITYGW.as_bytes(), version.as_bytes()], |folder| {
        shell::timed("building an S3 server (some minutes)", || {
            let mut install = go.command("install");
            shell::quiet(install.env("GOBIN", folder).args(["-trimpath", VERSITYGW]))
        })
    })?;
    link(workspace, "versitygw", &server)
}

/// Our small program around Tessera's POSIX driver, which the bench compares with.
pub(crate) fn tessera(workspace: &Workspace) -> Result<PathBuf> {
    let shelf = Shelf::find(workspace, "go");
    let go = go(&shelf)?;
    let version = shell::output(&mut go.command("version"))?;
    let source = workspace.root.join(TESSERA);
    let [main, module, sums] = ["main.go", "go.mod", "go.sum"].map(|name| read(&source.join(name)));
    let folder = shelf.folder("tessera", &[&main?, &module?, &sums?, version.as_bytes()], |folder| {
        shell::timed("building the program around Tessera", || {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
            shell::quiet(go.command("vet").arg("./...").current_dir(&source))?;
            let mut build = go.command("build");
            build.args(["-trimpath", "-o"]).arg(folder.join("tessera-bench")).arg(".");
            shell::quiet(build.current_dir(&source))
        })
    })?;
    Ok(folder.join("tessera-bench"))
}

pub(super) struct Go {
    program: PathBuf,
}

impl Go {
    pub(super) fn command(&self, task: &str) -> Command {
        let mut command = Command::new(&self.program);
        // One compiler at a time: linking cosign needs much memory. Nothing else of the user's settings counts.
        command
            .arg(task)
            .env("GOFLAGS", "-buildvcs=false -p=1")
            .env("GOTOOLCHAIN", "local")
            .env_remove("GOROOT");
        command
    }
}

/// A Go that is new enough.
pub(super) fn go(shelf: &Shelf) -> Result<Go> {
    let own = Go { program: PathBuf::from("go") };
    if version(&own)? >= NEWEST_NEEDED {
        return Ok(own);
    }
    let platform = shell::output(own.command("env").args(["GOOS", "GOARCH"]))?;
    let module = format!("{TOOLCHAIN}.{}", platform.split_whitespace().collect::<Vec<_>>().join("-"));
    let folder = shelf.folder("toolchain", &[module.as_bytes()], |folder| {
        shell::timed("fetching a newer Go", || toolchain(&own, &module, folder))
    })?;
    let newer = Go { program: folder.join(&module).join("bin/go") };
    if version(&newer)? < NEWEST_NEEDED {
        bail!("`{}` is not the Go that was fetched", newer.program.display());
    }
    Ok(newer)
}

fn version(go: &Go) -> Result<(u32, u32)> {
    let text = shell::output(go.command("env").arg("GOVERSION"))?;
    let number = text.trim().strip_prefix("go").and_then(|version| {
        let mut parts = version.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    });
    number.with_context(|| format!("`go env GOVERSION` says `{}`", text.trim()))
}

/// Fetches the toolchain's module into `folder`. Modules have no executable files, so that these are marked here.
fn toolchain(go: &Go, module: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let mut download = go.command("mod");
    download.args(["download", "-modcacherw", module]).env("GOMODCACHE", folder).current_dir(folder);
    shell::quiet(&mut download)?;
    let root = folder.join(module);
    let tools = fs::read_dir(root.join("pkg/tool")).context("the toolchain has no tools")?;
    let tools = tools.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    for directory in tools.into_iter().chain([root.join("bin")]) {
        for entry in fs::read_dir(&directory).with_context(|| format!("no `{}`", directory.display()))? {
            let path = entry?.path();
            fs::set_permissions(&path, Permissions::from_mode(0o755))
                .with_context(|| format!("cannot mark `{}`", path.display()))?;
        }
    }
    Ok(())
}
