//! The files below a directory, while someone else may change it.
//!
//! Everything is opened from a handle of the directory, never by a path from the root of the file system, and the
//! kernel keeps every step within it (`openat2` with `RESOLVE_BENEATH`). So a directory or link that is exchanged
//! between looking and reading leads nowhere else.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineal_facts::Digest;
use lineal_facts::digest::Hasher;
use lineal_facts::manifest::{FILE_LIMIT, ManifestError};
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::files::{Context, FileError};
use crate::tree::{DEPTH_LIMIT, Stat, TreeError};

/// How often the kernel may say that a directory moved while it looked.
const RETRY_LIMIT: usize = 64;
const BUFFER_BYTES: usize = 1 << 20;
/// To look at something: opens nothing, follows nothing.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// To read a file. What was exchanged for a pipe must not block.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a symbolic link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// An error.
    Refused,
    /// The file that it leads to, if it is relative and stays within the directory. Links to directories are errors.
    Within,
}

/// One file found below a directory.
#[derive(Debug, Clone)]
pub struct Found {
    /// Relative path with `/`.
    pub path: String,
    /// Where it is, for messages and caches.
    pub location: PathBuf,
    /// Its metadata, links followed.
    pub metadata: Metadata,
    root: Arc<Root>,
    inside: PathBuf,
}

/// An open directory that nothing leads out of.
#[derive(Debug)]
struct Root {
    handle: OwnedFd,
    links: Links,
}

struct Walk<'a> {
    root: Arc<Root>,
    base: &'a Path,
    skip: &'a dyn Fn(&str) -> bool,
    found: Vec<Found>,
}

/// All files below `root` in path order, without those that `skip` names. A `root` that is a file yields that file
/// under its own name. `root` itself may be a link: it was named by whoever asks.
pub fn walk(root: &Path, links: Links, skip: &dyn Fn(&str) -> bool) -> Result<Vec<Found>, TreeError> {
    let base = fs::canonicalize(root).context("read", root)?;
    if !fs::metadata(&base).context("read", root)?.is_dir() {
        return Ok(vec![only(root, &base, links)?]);
    }
    let handle =
        rustix::fs::open(&base, LIST, Mode::empty()).map_err(io::Error::from).context("open", root)?;
    let listed = handle.try_clone().context("open", root)?;
    let mut walk = Walk { root: Arc::new(Root { handle, links }), base: &base, skip, found: Vec::new() };
    walk.directory(listed, "", 0)?;
    let mut found = walk.found;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The file `root`, whose place is `base`.
fn only(root: &Path, base: &Path, links: Links) -> Result<Found, TreeError> {
    let unnamed = || TreeError::Name(root.to_owned());
    let path = root.file_name().and_then(OsStr::to_str).ok_or_else(unnamed)?.to_owned();
    let (parent, name) = base.parent().zip(base.file_name()).ok_or_else(unnamed)?;
    let handle =
        rustix::fs::open(parent, LIST, Mode::empty()).map_err(io::Error::from).context("open", root)?;
    let root_handle = Root { handle, links };
    let metadata = root_handle.look(Path::new(name), base)?;
    if !metadata.is_file() {
        return Err(TreeError::Special(root.to_owned()));
    }
    let (root, inside) = (Arc::new(root_handle), PathBuf::from(name));
    Ok(Found { path, location: base.to_owned(), metadata, root, inside })
}

impl Walk<'_> {
    fn directory(&mut self, handle: OwnedFd, prefix: &str, depth: usize) -> Result<(), TreeError> {
        let place = self.base.join(prefix);
        if depth > DEPTH_LIMIT {
            return Err(TreeError::Depth(place));
        }
        let fails = |error: Errno| FileError { operation: "list", path: place.clone(), source: error.into() };
        for entry in Dir::read_from(&handle).map_err(fails)? {
            let entry = entry.map_err(fails)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let location = place.join(OsStr::from_bytes(name));
            let name = std::str::from_utf8(name).map_err(|_| TreeError::Name(location.clone()))?;
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            if !(self.skip)(&path) {
                self.entry(&handle, name, (path, location), depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &str,
        (path, location): (String, PathBuf),
        depth: usize,
    ) -> Result<(), TreeError> {
        let open = |flags| {
            let opened = rustix::fs::openat(directory, name, flags, Mode::empty());
            opened.map_err(io::Error::from).context("read", &location)
        };
        let mut metadata = File::from(open(LOOK)?).metadata().context("read", &location)?;
        if metadata.is_symlink() {
            metadata = match self.root.links {
                Links::Refused => return Err(TreeError::Link(location)),
                Links::Within => self.root.look(Path::new(&path), &location)?,
            };
            // A linked directory could contain itself; only linked files are followed.
            if metadata.is_dir() {
                return Err(TreeError::Link(location));
            }
        }
        if metadata.is_dir() {
            let below = open(LIST.union(OFlags::NOFOLLOW))?;
            return self.directory(below, &path, depth + 1);
        }
        if !metadata.is_file() {
            return Err(TreeError::Special(location));
        }
        if self.found.len() >= FILE_LIMIT {
            return Err(ManifestError::TooMany(self.found.len() + 1).into());
        }
        let (root, inside) = (self.root.clone(), PathBuf::from(&path));
        self.found.push(Found { path, location, metadata, root, inside });
        Ok(())
    }
}

impl Root {
    /// What `path` is, links followed as far as they may be.
    fn look(&self, path: &Path, location: &Path) -> Result<Metadata, TreeError> {
        let opened = self.open(path, OFlags::PATH.union(OFlags::CLOEXEC));
        let file = opened.map_err(|error| match error {
            Errno::XDEV | Errno::LOOP | Errno::NOENT | Errno::NOTDIR => TreeError::Link(location.to_owned()),
            other => FileError { operation: "read", path: location.to_owned(), source: other.into() }.into(),
        })?;
        Ok(file.metadata().context("read", location)?)
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<File, Errno> {
        let links = match self.links {
            Links::Refused => ResolveFlags::NO_SYMLINKS,
            Links::Within => ResolveFlags::NO_MAGICLINKS,
        };
        let resolve = ResolveFlags::BENEATH.union(links);
        for _ in 0..RETRY_LIMIT {
            // Somewhere on the machine something was renamed, so that the kernel cannot be sure about a `..`.
            match rustix::fs::openat2(&self.handle, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened.map(File::from),
            }
        }
        Err(Errno::AGAIN)
    }
}

/// Whether the kernel confines what is opened below `folder`; without that, no directory can be read safely. Kernels
/// before 5.6 and some container runtimes do not.
pub fn is_confined(folder: &Path) -> Result<(), FileError> {
    let handle = File::open(folder).context("open", folder)?;
    let opened = rustix::fs::openat2(&handle, ".", LOOK, Mode::empty(), ResolveFlags::BENEATH);
    opened.map(drop).map_err(io::Error::from).context("confine what is opened in", folder)
}

impl Found {
    /// Opens the file that was found; another one in its place, or a changed one, is refused.
    pub fn open(&self) -> Result<File, TreeError> {
        let file = self.root.open(&self.inside, READ).map_err(|error| match error {
            Errno::XDEV | Errno::LOOP | Errno::NOENT | Errno::NOTDIR | Errno::NXIO => {
                TreeError::Changed(self.location.clone())
            }
            other => {
                FileError { operation: "read", path: self.location.clone(), source: other.into() }.into()
            }
        })?;
        self.still(&file)?;
        Ok(file)
    }

    /// Checks that `file` is the one that was found and was not written to since.
    pub fn still(&self, file: &File) -> Result<(), TreeError> {
        let now = file.metadata().context("read", &self.location)?;
        if Stat::from(&now) == Stat::from(&self.metadata) {
            Ok(())
        } else {
            Err(TreeError::Changed(self.location.clone()))
        }
    }

    /// Digests of the file's parts of `part_bytes` each, the last one shorter; of the whole file if there is no size.
    /// An empty file has one part as a whole and none of a size.
    pub fn digests(&self, part_bytes: Option<u64>) -> Result<Vec<Digest>, TreeError> {
        let mut file = self.open()?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut digests = Vec::new();
        loop {
            let mut part = io::Read::by_ref(&mut file).take(part_bytes.unwrap_or(u64::MAX));
            let (mut hasher, mut size_bytes) = (Hasher::default(), 0);
            loop {
                let count = part.read(&mut buffer).context("read", &self.location)?;
                if count == 0 {
                    break;
                }
                hasher.update(&buffer[..count]);
                size_bytes += count;
            }
            if size_bytes > 0 || part_bytes.is_none() {
                digests.push(hasher.finish());
            }
            if size_bytes == 0 || part_bytes.is_none() {
                break;
            }
        }
        self.still(&file)?;
        Ok(digests)
    }
}

#[cfg(test)]
mod tests;
