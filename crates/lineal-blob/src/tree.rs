//! Directories as manifests and blobs, and back.
//!
//! Freezing reads every file once and refuses what has no certain identity: names that are not UTF-8, symbolic links
//! that leave the tree, devices, and files that change while they are read.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::Seek;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lineal_facts::manifest::{FileEntry, ManifestError};
use lineal_facts::predicate::{Artifact, ArtifactKind};
use lineal_facts::{Digest, Manifest};
use serde::{Deserialize, Serialize};

use crate::blob::{BlobError, BlobStore};
use crate::files::{self, Context, FileError};
pub use crate::walk::Found;
use crate::walk::{self, Links};

/// Deepest directory nesting.
pub(crate) const DEPTH_LIMIT: usize = 64;
/// Seconds during which a file's times say too little about its content.
const YOUNG_S: i64 = 2;

/// Why a directory has no certain identity, or could not be laid out again.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The name cannot be written in a manifest.
    #[error("`{}` has a name that is not UTF-8; rename it", .0.display())]
    Name(PathBuf),
    /// A link that leads outside, to nowhere or to a directory, or any link where none is allowed.
    #[error("`{}` is a symbolic link that leads out of the tree, to nothing or to a directory, or is not allowed at all; copy the file in or remove the link", .0.display())]
    Link(PathBuf),
    /// A socket, pipe or device.
    #[error("`{}` is neither a file nor a directory", .0.display())]
    Special(PathBuf),
    /// Someone wrote to it in the meantime.
    #[error("`{}` changed while it was read; try again when nothing writes to it", .0.display())]
    Changed(PathBuf),
    /// Nested too deeply.
    #[error("`{}` is nested deeper than {DEPTH_LIMIT} directories", .0.display())]
    Depth(PathBuf),
    /// The files do not make a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The blob store said no.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Digests of files by what `stat` says of them, so that unchanged files need not be read again.
///
/// An entry counts only if size, modification time, change time, inode and device are all equal and the change time was not
/// within two seconds of the moment of reading (coarse clocks could hide a write), as git's index does.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StatCache {
    entries: BTreeMap<PathBuf, (Stat, Digest)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
    device: u64,
}

impl From<&Metadata> for Stat {
    fn from(meta: &Metadata) -> Self {
        Self {
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            device: meta.dev(),
        }
    }
}

impl StatCache {
    /// Reads a cache file; a missing or unreadable one is an empty cache.
    pub fn load(path: &Path) -> Self {
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Writes the cache file.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::create_directory(files::parent(path))?;
        files::replace(path, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// The digest of the file at `path` (whose metadata is `meta`), if it certainly is unchanged.
    pub fn get(&self, path: &Path, meta: &Metadata) -> Option<Digest> {
        let (stat, digest) = self.entries.get(path)?;
        (*stat == Stat::from(meta)).then_some(*digest)
    }

    /// Remembers `digest`, unless the file is so young that a later write could go unnoticed.
    pub fn insert(&mut self, path: &Path, meta: &Metadata, digest: Digest, now_s: i64) {
        if meta.ctime() + YOUNG_S <= now_s {
            self.entries.insert(path.to_owned(), (Stat::from(meta), digest));
        }
    }
}

/// All files below `root` in path order. A `root` that is a file yields that file under its own name. Links to files
/// within the directory count as these files.
pub fn walk(root: &Path, skip: &dyn Fn(&str) -> bool) -> Result<Vec<Found>, TreeError> {
    walk::walk(root, Links::Within, skip)
}

/// Freezes the files of `found` into `blobs`; `on_file` hears of each file's size when it is done.
pub fn freeze(
    blobs: &BlobStore,
    found: &[Found],
    cache: &mut StatCache,
    now_s: i64,
    on_file: &mut dyn FnMut(u64),
) -> Result<Manifest, TreeError> {
    let mut entries = Vec::with_capacity(found.len());
    for file in found {
        let known = cache.get(&file.location, &file.metadata).filter(|d| blobs.contains(d));
        let digest = match known {
            Some(digest) => digest,
            None => {
                let digest = freeze_file(blobs, file, now_s)?;
                cache.insert(&file.location, &file.metadata, digest, now_s);
                digest
            }
        };
        on_file(file.metadata.len());
        entries.push(FileEntry {
            path: file.path.clone(),
            digest,
            size_bytes: file.metadata.len(),
            executable: file.metadata.permissions().mode() & 0o100 != 0,
        });
    }
    let manifest = Manifest::new(entries)?;
    blobs.put(&manifest.to_bytes())?;
    Ok(manifest)
}

/// Reads the file into the blob store and makes sure that it stood still meanwhile. A write that began before may go
/// on without touching the file's times again, so that a young file must give the same bytes twice.
fn freeze_file(blobs: &BlobStore, file: &Found, now_s: i64) -> Result<Digest, TreeError> {
    let changed = || TreeError::Changed(file.location.clone());
    let mut handle = file.open()?;
    let (digest, size_bytes) = blobs.put_reader(&mut handle)?;
    if (now_s - YOUNG_S..=now_s + YOUNG_S).contains(&file.metadata.ctime()) {
        handle.rewind().context("read", &file.location)?;
        if blobs.put_reader(&mut handle)?.0 != digest {
            return Err(changed());
        }
    }
    file.still(&handle)?;
    if size_bytes == file.metadata.len() { Ok(digest) } else { Err(changed()) }
}

/// Freezes a file or a directory as an artefact.
pub fn freeze_artifact(blobs: &BlobStore, path: &Path) -> Result<Artifact, TreeError> {
    let metadata = fs::symlink_metadata(path).context("read", path)?;
    if metadata.is_symlink() {
        return Err(TreeError::Link(path.to_owned()));
    }
    if metadata.is_dir() {
        let found = walk(path, &|_| false)?;
        let manifest = freeze(blobs, &found, &mut StatCache::default(), 0, &mut |_| {})?;
        let size_bytes = manifest.size_bytes().to_string();
        return Ok(Artifact { kind: ArtifactKind::Directory, digest: manifest.digest(), size_bytes });
    }
    if !metadata.is_file() {
        return Err(TreeError::Special(path.to_owned()));
    }
    let (digest, size_bytes) = blobs.put_file(path)?;
    Ok(Artifact { kind: ArtifactKind::File, digest, size_bytes: size_bytes.to_string() })
}

/// The verified manifest of a directory artefact.
pub fn manifest(blobs: &BlobStore, digest: &Digest) -> Result<Manifest, TreeError> {
    Ok(Manifest::from_bytes(&blobs.read(digest)?)?)
}

/// Lays the artefact out at `target` (which must not exist) from verified bytes, read-only.
pub fn lay_out(
    blobs: &BlobStore,
    kind: ArtifactKind,
    digest: &Digest,
    target: &Path,
) -> Result<(), TreeError> {
    match kind {
        ArtifactKind::File => {
            files::create_directory(files::parent(target))?;
            blobs.copy_to(digest, target, false)?;
        }
        ArtifactKind::Directory => {
            files::create_directory(target)?;
            for file in manifest(blobs, digest)?.files() {
                let path = target.join(&file.path);
                files::create_directory(files::parent(&path))?;
                blobs.copy_to(&file.digest, &path, file.executable)?;
            }
        }
    }
    Ok(())
}

/// All blobs that make up the artefact: its own and, for a directory, every file's.
pub fn blobs_of(blobs: &BlobStore, kind: ArtifactKind, digest: &Digest) -> Result<Vec<Digest>, TreeError> {
    let mut all = vec![*digest];
    match kind {
        ArtifactKind::File => {}
        ArtifactKind::Directory => all.extend(manifest(blobs, digest)?.files().iter().map(|f| f.digest)),
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
