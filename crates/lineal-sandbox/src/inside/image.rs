//! The file tree of an image as the base of a step, instead of the host's base system.
//!
//! The image's folder is never written to. Its top-level entries are bound into the new root, read-only. Where a
//! mount point is missing inside, the directory above is made anew in the root, with its entries bound one by one.

use super::root::{Piece, READ_ONLY, mount_source};
use crate::{Network, SandboxError, Spec};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What every step gets new. `/sys` would be the host's, so there is none.
const OWN: [&str; 4] = ["/dev", "/proc", "/sys", "/tmp"];
/// Name resolution, as the container runtimes replace it.
const HOSTS: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// The most entries of all directories that are made anew; each is a mount.
const MAX_ENTRIES: usize = 8192;

/// The pieces of an unpacked image.
pub(super) fn pieces(image: &Path, spec: &Spec) -> Result<Vec<Piece>, SandboxError> {
    let hosts: &[&str] = match spec.network {
        Network::None => &HOSTS[..1],
        Network::Host => &HOSTS,
    };
    let mut layout = Layout {
        image,
        own: OWN.iter().chain(hosts).map(PathBuf::from).collect(),
        anew: BTreeSet::from(["/etc".into()]),
        pieces: Vec::new(),
    };
    for mount in &spec.mounts {
        layout.make_room(&mount.target);
    }
    layout.directory(Path::new("/"))?;
    Ok(layout.pieces)
}

struct Layout<'a> {
    image: &'a Path,
    /// Left out: something else is placed there.
    own: BTreeSet<PathBuf>,
    /// Directories that are made anew, so that mount points can be made in them.
    anew: BTreeSet<PathBuf>,
    pieces: Vec<Piece>,
}

impl Layout<'_> {
    /// Where a path inside is on the host.
    fn on_host(&self, inside: &Path) -> PathBuf {
        self.image.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Makes sure that `target` can be mounted on: marks the directories above it unless the image has it.
    fn make_room(&mut self, target: &Path) {
        if fs::symlink_metadata(self.on_host(target)).is_ok() {
            return;
        }
        for above in target.ancestors().skip(1) {
            // Links are left as they are: what is behind them is decided inside.
            if fs::symlink_metadata(self.on_host(above)).is_ok_and(|found| found.is_dir()) {
                self.anew.extend(above.ancestors().map(Path::to_owned));
                return;
            }
        }
    }

    /// Adds the entries of a directory that is made anew.
    fn directory(&mut self, inside: &Path) -> Result<(), SandboxError> {
        let host = self.on_host(inside);
        let failed = |error| mount_source(&host, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&host).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
            if self.pieces.len() + names.len() > MAX_ENTRIES {
                let reason = format!("more than {MAX_ENTRIES} entries beside the mount points of the step");
                return Err(SandboxError::MountTarget { target: inside.to_owned(), reason });
            }
        }
        names.sort();
        for path in names.into_iter().map(|name| inside.join(name)) {
            if !self.own.contains(&path) {
                self.entry(path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, inside: PathBuf) -> Result<(), SandboxError> {
        let host = self.on_host(&inside);
        let failed = |error| mount_source(&host, error);
        let found = fs::symlink_metadata(&host).map_err(failed)?;
        if found.is_symlink() {
            let to = fs::read_link(&host).map_err(failed)?;
            self.pieces.push(Piece::Link { target: inside, to });
        } else if found.is_dir() && self.anew.contains(&inside) {
            let mode = found.permissions().mode() & 0o7777;
            self.pieces.push(Piece::Directory { target: inside.clone(), mode });
            self.directory(&inside)?;
        } else {
            self.pieces.push(Piece::copy(&host, &inside, READ_ONLY)?);
        }
        Ok(())
    }
}
