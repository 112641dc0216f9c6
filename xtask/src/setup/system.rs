//! Programs and libraries of the system.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{postgres, shell};

/// The lock files were made for the first of these; later ones are tried where it is missing.
const INTERPRETERS: [&str; 4] = ["python3.11", "python3", "python3.12", "python3.13"];
const OLDEST_MINOR: u32 = 11;

/// A Python that can make environments.
pub(crate) struct Python {
    /// What to start.
    pub(crate) program: PathBuf,
    /// `3.11.7` and the folder it is installed in: an environment works only with the interpreter it was made by.
    pub(crate) identity: String,
}

/// Something that must be there, and the Debian packages that bring it.
struct Need {
    what: &'static str,
    present: fn() -> bool,
    packages: &'static [&'static str],
}

/// pingora's compression is built by CMake and make, the fuzzer in C++; LightGBM wants libgomp; tests keep keys in
/// SoftHSM and the index in PostgreSQL, and set the clock of single programs.
const NEEDS: [Need; 9] = [
    Need { what: "a C compiler (`cc`)", present: || runs("cc"), packages: &["gcc", "libc6-dev"] },
    Need { what: "make", present: || runs("make"), packages: &["make"] },
    Need { what: "CMake", present: || runs("cmake"), packages: &["cmake"] },
    Need {
        what: "Python 3.11 or newer with `venv`",
        present: || python().is_some(),
        packages: &["python3", "python3-venv"],
    },
    Need { what: "libgomp.so.1", present: has_libgomp, packages: &["libgomp1"] },
    Need { what: "SoftHSM2", present: || runs("softhsm2-util"), packages: &["softhsm2"] },
    Need { what: "a C++ compiler (`c++`)", present: || runs("c++"), packages: &["g++"] },
    Need { what: "libfaketime", present: has_libfaketime, packages: &["libfaketime"] },
    Need { what: "PostgreSQL", present: || postgres::programs().is_some(), packages: &["postgresql"] },
];

/// Tests check files with programs that are written in Go.
const GO: [Need; 1] = [Need { what: "Go", present: has_go, packages: &["golang-go"] }];

/// What runs the test cluster beside our own programs.
const CLUSTER: [Need; 8] = [
    Need { what: "containerd", present: || found("containerd") && found("ctr"), packages: &["containerd"] },
    Need { what: "runc", present: || found("runc"), packages: &["runc"] },
    Need { what: "CNI plugins", present: has_network_plugins, packages: &["containernetworking-plugins"] },
    Need { what: "iptables", present: || found("iptables"), packages: &["iptables"] },
    Need { what: "ipset", present: || found("ipset"), packages: &["ipset"] },
    Need { what: "iproute2", present: || found("ip"), packages: &["iproute2"] },
    Need {
        what: "unshare, nsenter, setsid, setpriv and mount",
        present: || ["unshare", "nsenter", "setsid", "setpriv", "mount"].into_iter().all(found),
        packages: &["util-linux", "mount"],
    },
    Need { what: "an image registry", present: || found("docker-registry"), packages: &["docker-registry"] },
];

/// A newer runc filters system calls with this library.
const SECCOMP: [Need; 1] = [Need {
    what: "libseccomp",
    present: || shell::succeeds(Command::new("pkg-config").args(["--exists", "libseccomp"])),
    packages: &["libseccomp-dev", "pkg-config"],
}];

/// The image of Lineal has parts of this machine's Debian.
const IMAGE: [Need; 3] = [
    Need { what: "objcopy", present: || found("objcopy"), packages: &["binutils"] },
    Need {
        what: "certificates of authorities",
        present: || Path::new("/etc/ssl/certs/ca-certificates.crt").is_file(),
        packages: &["ca-certificates"],
    },
    Need {
        what: "ldd and dpkg-query",
        present: || found("ldd") && found("dpkg-query"),
        packages: &["libc-bin"],
    },
];

/// Unpacks Debian into a folder.
const DEBIAN: [Need; 1] =
    [Need { what: "mmdebstrap", present: || found("mmdebstrap"), packages: &["mmdebstrap"] }];

/// Where Debian keeps programs; the last two are not on everybody's `PATH`.
const PROGRAM_FOLDERS: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// Installs what is missing through rustup and apt-get, or says what to install.
pub(crate) fn ensure() -> Result<Python> {
    for (component, command) in [("clippy", "clippy"), ("rustfmt", "fmt")] {
        if !shell::succeeds(Command::new("cargo").args([command, "--version"])) {
            let what = format!("installing the Rust component {component}");
            shell::timed(&what, || {
                shell::quiet(Command::new("rustup").args(["component", "add", component]))
            })?;
        }
    }
    provide(&NEEDS)?;
    python().context("no Python")
}

/// Installs Go if there is none.
pub(crate) fn ensure_go() -> Result<()> {
    provide(&GO)
}

/// Installs what the test cluster needs.
pub(crate) fn ensure_cluster() -> Result<()> {
    provide(&CLUSTER)
}

/// Installs what runc is built with.
pub(crate) fn ensure_seccomp() -> Result<()> {
    provide(&SECCOMP)
}

/// Installs what the image of Lineal is made with.
pub(crate) fn ensure_image() -> Result<()> {
    provide(&IMAGE)
}

/// Installs what a Debian image is made with.
pub(crate) fn ensure_debian() -> Result<()> {
    provide(&DEBIAN)
}

fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    if let Some(need) = missing.iter().find(|need| !(need.present)()) {
        bail!("{} is still missing after installing {}", need.what, need.packages.join(" "));
    }
    Ok(())
}

fn install(missing: &[&Need]) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|need| need.what).collect();
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let (names, list) = (names.join(", "), packages.join(" "));
    if !rustix::process::geteuid().is_root() || !runs("apt-get") {
        bail!("this machine lacks {names}; on Debian or Ubuntu: `apt-get install {list}` as root");
    }
    eprintln!("this machine lacks {names}");
    let apt = |arguments: &[&str]| {
        shell::quiet(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    shell::timed(&format!("installing {list} with apt-get"), || {
        apt(&["update"])?;
        apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())
    })
}

fn runs(program: &str) -> bool {
    shell::succeeds(Command::new(program).arg("--version"))
}

/// For programs that do not all know `--version`.
fn found(program: &str) -> bool {
    PROGRAM_FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}

fn has_network_plugins() -> bool {
    ["/usr/lib/cni/ptp", "/opt/cni/bin/ptp"].iter().any(|plugin| Path::new(plugin).exists())
}

fn python() -> Option<Python> {
    INTERPRETERS.iter().find_map(|program| {
        let script = "import ensurepip, sys, venv; print('%d.%d.%d' % sys.version_info[:3], sys.base_prefix)";
        let identity = shell::output(Command::new(program).args(["-c", script])).ok()?.trim().to_owned();
        let minor: u32 = identity.split('.').nth(1)?.parse().ok()?;
        (identity.starts_with("3.") && minor >= OLDEST_MINOR)
            .then(|| Python { program: PathBuf::from(program), identity })
    })
}

fn has_go() -> bool {
    shell::succeeds(Command::new("go").arg("version"))
}

/// Where Debian has it, which is where tests look.
fn has_libfaketime() -> bool {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).any(|file| file.exists())
}

fn has_libgomp() -> bool {
    let script = "import ctypes; ctypes.CDLL('libgomp.so.1')";
    let load = |program: &&str| shell::succeeds(Command::new(program).args(["-c", script]));
    ["python3.11", "python3"].iter().any(load)
}
