//! The file tree of a step: a small tmpfs with the base system or an image, `/proc`, a few devices and the declared
//! mounts.
//!
//! All host paths are taken as detached copies first. Then the new root is entered and the old one let go, and only
//! then the copies are attached: no path inside is ever resolved on the host.

use super::image;
use crate::sys::mount::{self, Attributes};
use crate::sys::{fd, process};
use crate::{Access, Determinism, Mount, Network, SandboxError, Spec};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where the new root is mounted for a moment; any directory will do.
const STAGE: &str = "/tmp";
/// The base system. On most machines all but `/usr` are symbolic links into it.
const BASE: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What programs of the base system need from `/etc`.
const BASE_SETTINGS: [&str; 4] =
    ["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"];
/// What they need in addition to use the host's network: certificates.
const NETWORK_SETTINGS: [&str; 3] = ["/etc/ssl", "/etc/pki", "/etc/ca-certificates"];
/// Devices that are the same everywhere.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];
/// Devices that give random bytes. Their order is that of the FIFOs in [`build`]'s result.
const RANDOM_DEVICES: [&str; 2] = ["/dev/urandom", "/dev/random"];
/// Links that programs expect in `/dev`.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];
/// The largest host file that is copied, such as `resolv.conf`.
const MAX_SETTING_SIZE_BYTES: u64 = 64 << 10;

pub(super) const READ_ONLY: Attributes = Attributes { read_only: true, no_devices: true };
const READ_WRITE: Attributes = Attributes { read_only: false, no_devices: true };
const DEVICE: Attributes = Attributes { read_only: false, no_devices: false };

/// Something to place in the new root.
pub(super) enum Piece {
    /// A directory of the new root itself.
    Directory {
        target: PathBuf,
        mode: u32,
    },
    /// A copy of a host path.
    Tree {
        target: PathBuf,
        tree: OwnedFd,
        is_dir: bool,
    },
    Link {
        target: PathBuf,
        to: PathBuf,
    },
    File {
        target: PathBuf,
        content: Vec<u8>,
    },
}

/// Builds the tree and makes it this process's root. Gives the FIFOs behind the random devices; with
/// [`Determinism::Off`] the devices are real and there are none.
pub(super) fn build(spec: &Spec) -> Result<Vec<OwnedFd>, SandboxError> {
    mount::make_all_private().map_err(|error| SandboxError::setup("private mounts", error))?;
    let mut base = match &spec.root {
        None => base_pieces(spec)?,
        Some(image) => image::pieces(image, spec)?,
    };
    base.extend(device_pieces(spec)?);
    base.extend(settings(spec));
    let declared = spec.mounts.iter().map(declared_piece).collect::<Result<Vec<_>, _>>()?;

    enter_new_root()?;
    let size_bytes = spec.limits.tmp_size_bytes;
    for directory in ["/dev", "/tmp", "/dev/shm"] {
        fs::create_dir(directory).map_err(|error| SandboxError::setup(directory, error))?;
    }
    for (target, directory) in [(c"/tmp", "/tmp"), (c"/dev/shm", "/dev/shm")] {
        mount_tmpfs(target, &format!("mode=1777,size={size_bytes}"))
            .map_err(|error| SandboxError::setup(directory, error))?;
    }
    for piece in base {
        piece.place()?;
    }
    let fifos = match spec.determinism {
        Determinism::Off => Vec::new(),
        Determinism::Observe | Determinism::Strict { .. } => make_fifos()?,
    };
    for piece in declared {
        piece.place()?;
    }
    mount::restrict(c"/", READ_ONLY).map_err(|error| SandboxError::setup("read-only root", error))?;
    Ok(fifos)
}

/// Mounts the new root and a fresh `/proc`, and lets go of the host's tree.
fn enter_new_root() -> Result<(), SandboxError> {
    let setup = |what: &'static str| move |error: io::Error| SandboxError::setup(what, error);
    let stage = CString::new(STAGE).map_err(|error| SandboxError::setup("new root", error))?;
    mount_tmpfs(&stage, "mode=755,size=16m").map_err(setup("new root"))?;
    std::env::set_current_dir(STAGE).map_err(setup("new root"))?;
    fs::create_dir("proc").map_err(setup("/proc"))?;
    // Read-only as a whole: a process with user id 0 may write /proc/sys and /proc/sysrq-trigger without any
    // capability. It must be mounted while the host's own /proc is still there, or the kernel refuses.
    let flags = mount::MS_NOSUID | mount::MS_NODEV | mount::MS_NOEXEC | mount::MS_RDONLY;
    mount::mount_new(c"proc", c"proc", flags, c"").map_err(|error| SandboxError::Unsupported {
        what: "a /proc of its own for the step".to_owned(),
        reason: format!("{error} (parts of the host's /proc are hidden, as in an unprivileged container)"),
    })?;
    mount::enter_root().map_err(setup("change of root"))
}

fn mount_tmpfs(target: &std::ffi::CStr, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    mount::mount_new(c"tmpfs", target, mount::MS_NOSUID | mount::MS_NODEV, &options)
}

/// The host's base system.
fn base_pieces(spec: &Spec) -> Result<Vec<Piece>, SandboxError> {
    let mut pieces = Vec::new();
    let network: &[&str] = match spec.network {
        Network::None => &[],
        Network::Host => &NETWORK_SETTINGS,
    };
    for path in BASE.iter().chain(&BASE_SETTINGS).chain(network).map(Path::new) {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(metadata) if metadata.is_symlink() => {
                let to = fs::read_link(path).map_err(|error| mount_source(path, error))?;
                pieces.push(Piece::Link { target: path.to_owned(), to });
            }
            Ok(_) | Err(_) => pieces.push(Piece::copy(path, path, READ_ONLY)?),
        }
    }
    Ok(pieces)
}

fn device_pieces(spec: &Spec) -> Result<Vec<Piece>, SandboxError> {
    let mut pieces = Vec::new();
    let random: &[&str] = match spec.determinism {
        Determinism::Off => &RANDOM_DEVICES,
        Determinism::Observe | Determinism::Strict { .. } => &[],
    };
    for path in DEVICES.iter().chain(random).map(Path::new) {
        pieces.push(Piece::copy(path, path, DEVICE)?);
    }
    pieces
        .extend(DEVICE_LINKS.iter().map(|(target, to)| Piece::Link { target: target.into(), to: to.into() }));
    Ok(pieces)
}

/// The few files of `/etc` that name users and hosts. An image has its own users.
fn settings(spec: &Spec) -> Vec<Piece> {
    let mut files = match spec.root {
        None => users(),
        Some(_) => Vec::new(),
    };
    match spec.network {
        Network::None => {
            let content = b"127.0.0.1 localhost step\n".to_vec();
            files.push(Piece::File { target: "/etc/hosts".into(), content });
        }
        Network::Host => {
            // Copied, not mounted: often they are links to somewhere else.
            for path in ["/etc/hosts", "/etc/resolv.conf"] {
                let mut content = Vec::new();
                let copied =
                    File::open(path).and_then(|f| f.take(MAX_SETTING_SIZE_BYTES).read_to_end(&mut content));
                if copied.is_ok() {
                    files.push(Piece::File { target: path.into(), content });
                }
            }
        }
    }
    files
}

fn users() -> Vec<Piece> {
    let (uid, gid) = process::ids();
    let mut passwd = format!("step:x:{uid}:{gid}:step:/tmp:/bin/sh\n");
    let mut group = format!("step:x:{gid}:\n");
    if uid == 0 {
        passwd = "root:x:0:0:root:/tmp:/bin/sh\n".to_owned();
    }
    if gid == 0 {
        group = "root:x:0:\n".to_owned();
    }
    let file = |target: &str, content: Vec<u8>| Piece::File { target: target.into(), content };
    vec![
        file("/etc/passwd", passwd.into_bytes()),
        file("/etc/group", group.into_bytes()),
        file("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n".to_vec()),
    ]
}

fn declared_piece(mount: &Mount) -> Result<Piece, SandboxError> {
    let attributes = match mount.access {
        Access::ReadOnly => READ_ONLY,
        Access::ReadWrite => READ_WRITE,
    };
    Piece::copy(&mount.source, &mount.target, attributes)
}

/// FIFOs in the place of the random devices; the launcher feeds them and so knows how much was read.
fn make_fifos() -> Result<Vec<OwnedFd>, SandboxError> {
    let make = |path: &str| -> io::Result<OwnedFd> {
        fd::make_fifo(Path::new(path), 0o444)?;
        // Open for both, so that readers neither wait for a writer nor ever see an end.
        let both = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(both.into())
    };
    RANDOM_DEVICES.iter().map(|path| make(path).map_err(|error| SandboxError::setup(path, error))).collect()
}

impl Piece {
    pub(super) fn copy(source: &Path, target: &Path, attributes: Attributes) -> Result<Self, SandboxError> {
        let failed = |error| mount_source(source, error);
        let is_dir = fs::metadata(source).map_err(failed)?.is_dir();
        let tree = mount::copy_tree(source).map_err(failed)?;
        mount::restrict_tree(&tree, attributes).map_err(failed)?;
        Ok(Self::Tree { target: target.to_owned(), tree, is_dir })
    }

    fn target(&self) -> &Path {
        match self {
            Self::Directory { target, .. }
            | Self::Tree { target, .. }
            | Self::Link { target, .. }
            | Self::File { target, .. } => target,
        }
    }

    fn place(self) -> Result<(), SandboxError> {
        self.place_io().map_err(|error| SandboxError::MountTarget {
            target: self.target().to_owned(),
            reason: error.to_string(),
        })
    }

    fn place_io(&self) -> io::Result<()> {
        if let Some(parent) = self.target().parent() {
            fs::create_dir_all(parent)?;
        }
        match self {
            Self::Directory { target, mode } => {
                fs::create_dir(target)?;
                fs::set_permissions(target, fs::Permissions::from_mode(*mode))
            }
            Self::Link { target, to } => symlink(to, target),
            Self::File { target, content } => fs::write(target, content),
            Self::Tree { target, tree, is_dir } => {
                if fs::metadata(target).is_err() {
                    if *is_dir {
                        fs::create_dir(target)?;
                    } else {
                        File::create_new(target)?;
                    }
                }
                mount::attach_tree(tree, target)
            }
        }
    }
}

pub(super) fn mount_source(path: &Path, error: io::Error) -> SandboxError {
    SandboxError::MountSource { source_path: path.to_owned(), reason: error.to_string() }
}
