//! Writing below a directory whose links point anywhere.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{self as fd, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// Deepest directory that is looked into.
const DEPTH_LIMIT: usize = 256;
/// How often the kernel may say that something else was renamed meanwhile.
const AGAIN_LIMIT: usize = 64;
/// What must stay allowed to us, so that we can go on and remove everything again.
const OWNER_OF_DIRECTORY: u32 = 0o700;
const OWNER_OF_FILE: u32 = 0o400;
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Enough to list a directory.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A path below the root: what is named, and the directories above it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    parts: Vec<Vec<u8>>,
    name: Vec<u8>,
}

/// Why a path is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("has an absolute path")]
    Absolute,
    #[error("leads out of the image: `..`")]
    Parent,
    #[error("has a path that is too long or too deep, or a NUL in it")]
    Limit,
}

/// One layer's entries on their way into the directory.
pub(super) struct Place<'a> {
    root: &'a OwnedFd,
    /// What this layer wrote, by the inode of the directory and the name: whiteouts are about the layers below.
    own: HashSet<(u64, Vec<u8>)>,
}

impl Target {
    /// `None` is the root itself.
    pub(super) fn parse(path: &[u8], limit_bytes: usize) -> Result<Option<Self>, PathError> {
        if path.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        let plain = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let mut parts: Vec<Vec<u8>> = plain.map(<[u8]>::to_vec).collect();
        if parts.iter().any(|part| part == b"..") {
            return Err(PathError::Parent);
        }
        if path.len() > limit_bytes || parts.len() > DEPTH_LIMIT || path.contains(&0) {
            return Err(PathError::Limit);
        }
        Ok(parts.pop().map(|name| Self { parts, name }))
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
}

impl<'a> Place<'a> {
    pub(super) fn new(root: &'a OwnedFd) -> Self {
        Self { root, own: HashSet::new() }
    }

    pub(super) fn directory(&mut self, target: &Target, mode: u32) -> io::Result<()> {
        let parent = self.parent(target)?;
        let name = OsStr::from_bytes(&target.name);
        if kind(&parent, name)? != Some(FileType::Directory) {
            remove(&parent, name, 0)?;
            fd::mkdirat(&parent, name, Mode::RWXU)?;
        }
        // Not a link: it was just looked at, and nobody else writes here.
        fd::chmodat(&parent, name, Mode::from_raw_mode(mode | OWNER_OF_DIRECTORY), AtFlags::empty())?;
        self.remember(&parent, target)
    }

    pub(super) fn file(
        &mut self,
        target: &Target,
        content: &mut impl Read,
        mode: u32,
        modified_s: u64,
    ) -> io::Result<()> {
        let parent = self.parent(target)?;
        let name = OsStr::from_bytes(&target.name);
        remove(&parent, name, 0)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(fd::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(content, &mut file)?;
        fd::fchmod(&file, Mode::from_raw_mode(mode | OWNER_OF_FILE))?;
        // Python's byte code is good only beside a source of the time that it names.
        let time = Timespec { tv_sec: i64::try_from(modified_s).unwrap_or(0), tv_nsec: 0 };
        fd::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        self.remember(&parent, target)
    }

    /// The text of a link is only ever resolved inside: by the kernel with this root, and where the step runs.
    pub(super) fn symbolic_link(&mut self, target: &Target, to: &[u8]) -> io::Result<()> {
        let parent = self.parent(target)?;
        let name = OsStr::from_bytes(&target.name);
        remove(&parent, name, 0)?;
        fd::symlinkat(OsStr::from_bytes(to), &parent, name)?;
        self.remember(&parent, target)
    }

    pub(super) fn hard_link(&mut self, target: &Target, to: &Target) -> io::Result<()> {
        let other = self.resolve(&to.parts)?;
        let parent = self.parent(target)?;
        let name = OsStr::from_bytes(&target.name);
        let other_name = OsStr::from_bytes(&to.name);
        let found = |at: &OwnedFd, name: &OsStr| fd::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
        let source = found(&other, other_name)?;
        // To remove the name that a link is made to would lose the file.
        if found(&parent, name).is_ok_and(|same| (same.st_dev, same.st_ino) == (source.st_dev, source.st_ino))
        {
            return self.remember(&parent, target);
        }
        remove(&parent, name, 0)?;
        fd::linkat(&other, other_name, &parent, name, AtFlags::empty())?;
        self.remember(&parent, target)
    }

    /// Removes `name`, beside `target`, as far as it is of the layers below.
    pub(super) fn hide(&mut self, target: &Target, name: &[u8]) -> io::Result<()> {
        let parent = self.parent(target)?;
        self.hide_in(&parent, name, 0).map(|_| ())
    }

    /// Removes everything beside `target` that is of the layers below.
    pub(super) fn hide_all(&mut self, target: &Target) -> io::Result<()> {
        let parent = self.parent(target)?;
        for name in names(&parent)? {
            self.hide_in(&parent, &name, 0)?;
        }
        Ok(())
    }

    /// Whether it is gone.
    fn hide_in(&self, parent: &OwnedFd, name: &[u8], depth: usize) -> io::Result<bool> {
        let own = self.own.contains(&(inode(parent)?, name.to_vec()));
        let text = OsStr::from_bytes(name);
        match kind(parent, text)? {
            None => Ok(true),
            Some(FileType::Directory) if depth == DEPTH_LIMIT => Err(too_deep()),
            Some(FileType::Directory) => {
                let inner = fd::openat(parent, text, LIST, Mode::empty())?;
                let mut empty = true;
                for name in names(&inner)? {
                    empty &= self.hide_in(&inner, &name, depth + 1)?;
                }
                if empty && !own {
                    fd::unlinkat(parent, text, AtFlags::REMOVEDIR)?;
                }
                Ok(empty && !own)
            }
            Some(_) if own => Ok(false),
            Some(_) => {
                fd::unlinkat(parent, text, AtFlags::empty())?;
                Ok(true)
            }
        }
    }

    /// The directory that `target` is in, made if it is not there.
    fn parent(&self, target: &Target) -> io::Result<OwnedFd> {
        match self.resolve(&target.parts) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        for depth in 1..=target.parts.len() {
            let (above, name) = (&target.parts[..depth - 1], &target.parts[depth - 1]);
            match self.resolve(&target.parts[..depth]) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let above = self.resolve(above)?;
                    // A link to nothing is in the way and stays: what it stands for is not there.
                    let mode = Mode::from_raw_mode(0o755);
                    fd::mkdirat(&above, OsStr::from_bytes(name), mode)?;
                    fd::chmodat(&above, OsStr::from_bytes(name), mode, AtFlags::empty())?;
                }
                other => drop(other?),
            }
        }
        self.resolve(&target.parts)
    }

    /// A directory, links followed as if the image were all there is.
    fn resolve(&self, parts: &[Vec<u8>]) -> io::Result<OwnedFd> {
        let path = if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        for _ in 0..AGAIN_LIMIT {
            match fd::openat2(self.root, OsStr::from_bytes(&path), FOLDER, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn remember(&mut self, parent: &OwnedFd, target: &Target) -> io::Result<()> {
        self.own.insert((inode(parent)?, target.name.clone()));
        Ok(())
    }
}

fn inode(directory: &OwnedFd) -> io::Result<u64> {
    Ok(fd::fstat(directory)?.st_ino)
}

fn kind(parent: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match fd::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let listed = fd::openat(directory, ".", LIST, Mode::empty())?;
    let mut names = Vec::new();
    for entry in fd::Dir::read_from(&listed)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes whatever has that name.
fn remove(parent: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
    match kind(parent, name)? {
        None => Ok(()),
        Some(FileType::Directory) if depth == DEPTH_LIMIT => Err(too_deep()),
        Some(FileType::Directory) => {
            let inner = fd::openat(parent, name, LIST, Mode::empty())?;
            for name in names(&inner)? {
                remove(&inner, OsStr::from_bytes(&name), depth + 1)?;
            }
            Ok(fd::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
        Some(_) => Ok(fd::unlinkat(parent, name, AtFlags::empty())?),
    }
}

fn too_deep() -> io::Error {
    io::Error::other(format!("nested deeper than {DEPTH_LIMIT} directories"))
}
