//! Bytes by digest, in a folder.
//!
//! * **Guarantee**: a blob that was committed (see [`BlobStore::sync`]) survives a crash; what [`BlobStore::read`]
//!   returns has the digest that was asked for.
//! * With a [`Remote`], the record is there and the folder is a cache: [`BlobStore::sync`] uploads what was put or found in
//!   the folder since the last one, and what is read and not in the folder is downloaded, hashed on the way.
//! * A blob appears under its name only when complete. One that a crash tore is found by its digest and replaced by
//!   the next `put` of the same bytes.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use lineal_facts::Digest;
use lineal_facts::digest::Hasher;

use crate::files::{self, Context, FileError};
use crate::remote::Remote;

/// Largest blob that is read into memory.
pub const READ_LIMIT_BYTES: u64 = 1 << 30;
/// Blobs that are uploaded at a time.
const UPLOADS_LIMIT: usize = 8;
/// Blobs that are downloaded at a time.
const DOWNLOADS_LIMIT: usize = 4;
const COPY_BUFFER_BYTES: usize = 1 << 18;

/// A folder of blobs.
#[derive(Debug)]
pub struct BlobStore {
    root: PathBuf,
    remote: Option<Box<dyn Remote>>,
    /// Written by this process, not yet synced; with a far side also what was only found, because nobody knows whether it
    /// is there. Shared between tasks that put and the one that commits.
    unsynced: Mutex<BTreeSet<Digest>>,
    /// Found on the far side, or uploaded, by this process. Shared like the one above.
    uploaded: Mutex<BTreeSet<Digest>>,
}

/// Why bytes could not be stored or had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Nobody stored them, or they were erased.
    #[error("blob {0} is missing from the blob store")]
    Missing(Digest),
    /// The file under that name holds other bytes: someone or something changed it.
    #[error("blob {expected} is damaged: `{}` hashes to {found}", path.display())]
    Damaged {
        /// The name.
        expected: Digest,
        /// What is there.
        found: Digest,
        /// Where.
        path: PathBuf,
    },
    /// Bytes that arrived are not those that were announced.
    #[error("expected bytes of {expected}, got {found}")]
    Mismatch {
        /// What was announced.
        expected: Digest,
        /// What arrived.
        found: Digest,
    },
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl BlobStore {
    /// The store below `root`, which is created if needed.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        Self::cached(root, None)
    }

    /// The blobs in `remote` with a cache in `root`, or those in `root`, whether that is there or not.
    pub fn at(root: &Path, remote: Option<Box<dyn Remote>>) -> Self {
        let (unsynced, uploaded) = (Mutex::default(), Mutex::default());
        Self { root: root.to_owned(), remote, unsynced, uploaded }
    }

    /// The store in `remote`, with a cache below `root`; without one, the store below `root`.
    pub fn cached(root: &Path, remote: Option<Box<dyn Remote>>) -> Result<Self, BlobError> {
        files::create_directory(&root.join("sha256"))?;
        files::create_directory(&root.join("incoming"))?;
        Ok(Self::at(root, remote))
    }

    /// Where the blob of `digest` is, or would be. With a far side it is there only if something brought it: see
    /// [`BlobStore::fetch`].
    pub fn path(&self, digest: &Digest) -> PathBuf {
        below(&self.root, digest)
    }

    /// Whether a file of that name is there. It says nothing about its bytes.
    pub fn contains(&self, digest: &Digest) -> bool {
        let found = self.path(digest).is_file();
        if found && self.remote.is_some() {
            lock(&self.unsynced).insert(*digest);
        }
        found
    }

    /// Where the blob is, for readers that want a file; downloaded if it is not. Its bytes were checked when they came
    /// and not since.
    pub fn fetch(&self, digest: &Digest) -> Result<PathBuf, BlobError> {
        let path = self.path(digest);
        match &self.remote {
            Some(remote) if !path.is_file() => {
                self.download(remote.as_ref(), digest)?;
                Ok(path)
            }
            Some(_) | None => Ok(path),
        }
    }

    /// Stores `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        if !self.holds(&digest)? {
            let mut file = self.incoming()?;
            file.write_all(bytes).context("write", file.path())?;
            self.admit(file, digest)?;
        }
        Ok(digest)
    }

    /// Stores everything that `reader` yields; returns digest and size.
    pub fn put_reader(&self, reader: &mut dyn Read) -> Result<(Digest, u64), BlobError> {
        let mut file = self.incoming()?;
        let path = file.path().to_owned();
        let (digest, size_bytes) =
            copy_hashing(reader, &mut |piece| file.write_all(piece)).context("write", &path)?;
        if !self.holds(&digest)? {
            self.admit(file, digest)?;
        }
        Ok((digest, size_bytes))
    }

    /// Stores the file at `path`; returns digest and size.
    pub fn put_file(&self, path: &Path) -> Result<(Digest, u64), BlobError> {
        let mut file = File::open(path).context("read", path)?;
        self.put_reader(&mut file)
    }

    /// The verified bytes of `digest`.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let path = self.fetch(digest)?;
        if !path.is_file() {
            return Err(BlobError::Missing(*digest));
        }
        let bytes = files::read_limited(&path, READ_LIMIT_BYTES)?;
        let found = Digest::of(&bytes);
        match &self.remote {
            _ if found == *digest => Ok(bytes),
            // A damaged cache is no damage of the record.
            Some(remote) => {
                self.download(remote.as_ref(), digest)?;
                Ok(files::read_limited(&path, READ_LIMIT_BYTES)?)
            }
            None => Err(BlobError::Damaged { expected: *digest, found, path }),
        }
    }

    /// Re-hashes the blob without holding it in memory; with a far side, the one there and not the one in the folder.
    pub fn verify(&self, digest: &Digest) -> Result<(), BlobError> {
        let Some(remote) = &self.remote else { return self.verify_file(digest) };
        receive(remote.as_ref(), digest, &mut |_| Ok(()))
    }

    /// Re-hashes the file in the folder, also if the record is elsewhere: for what was just put, or is used from here.
    pub fn verify_file(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        let found = match digest_of_file(&path) {
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => return Err(BlobError::Missing(*digest)),
            other => other?,
        };
        if found == *digest { Ok(()) } else { Err(BlobError::Damaged { expected: *digest, found, path }) }
    }

    /// Copies the blob to `target`, hashing on the way: the bytes that end up there are the ones that were verified.
    pub fn copy_to(&self, digest: &Digest, target: &Path, executable: bool) -> Result<(), BlobError> {
        let path = self.fetch(digest)?;
        let mut source = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(BlobError::Missing(*digest)),
            other => other.context("read", &path)?,
        };
        let mut out = File::create_new(target).context("create", target)?;
        let (found, _) =
            copy_hashing(&mut source, &mut |piece| out.write_all(piece)).context("write", target)?;
        if found != *digest {
            return Err(BlobError::Damaged { expected: *digest, found, path });
        }
        let mode = if executable { 0o555 } else { 0o444 };
        Ok(out.set_permissions(Permissions::from_mode(mode)).context("set the mode of", target)?)
    }

    /// Makes everything durable that this process has put so far.
    pub fn sync(&self) -> Result<(), BlobError> {
        let pending = std::mem::take(&mut *lock(&self.unsynced));
        self.sync_these(&pending).inspect_err(|_| lock(&self.unsynced).extend(pending))
    }

    fn sync_these(&self, pending: &BTreeSet<Digest>) -> Result<(), BlobError> {
        let paths: Vec<PathBuf> = pending.iter().map(|d| self.path(d)).collect();
        files::sync_all(&paths)?;
        self.upload_these(pending)
    }

    /// Uploads what [`BlobStore::sync`] would, and makes nothing in the folder durable: for a folder that does not
    /// outlive its process.
    pub fn upload_all(&self) -> Result<(), BlobError> {
        let pending = std::mem::take(&mut *lock(&self.unsynced));
        self.upload_these(&pending).inspect_err(|_| lock(&self.unsynced).extend(pending))
    }

    fn upload_these(&self, pending: &BTreeSet<Digest>) -> Result<(), BlobError> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let missing: Vec<Digest> = {
            let uploaded = lock(&self.uploaded);
            pending.iter().filter(|digest| !uploaded.contains(digest)).copied().collect()
        };
        self.each(&missing, UPLOADS_LIMIT, &|digest| self.upload(remote.as_ref(), digest))
    }

    /// Brings these blobs into the folder, some at a time; those that are there with good bytes stay.
    pub fn fetch_all(&self, digests: &[Digest]) -> Result<(), BlobError> {
        let Some(remote) = &self.remote else { return Ok(()) };
        self.each(digests, DOWNLOADS_LIMIT, &|digest| match self.verify_file(digest) {
            Ok(()) => Ok(()),
            // A damaged cache is no damage of the record.
            Err(BlobError::Missing(_) | BlobError::Damaged { .. }) => self.download(remote.as_ref(), digest),
            Err(error) => Err(error),
        })
    }

    /// Does `work` for every digest, in several threads.
    fn each(
        &self,
        digests: &[Digest],
        threads: usize,
        work: &(dyn Fn(&Digest) -> Result<(), BlobError> + Sync),
    ) -> Result<(), BlobError> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), BlobError> {
            while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(digest)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.min(digests.len())).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(abandoned(&self.root))))
        })
    }

    /// Makes sure that the blob is on the far side.
    fn upload(&self, remote: &dyn Remote, digest: &Digest) -> Result<(), BlobError> {
        let source = self.path(digest);
        let size_bytes = fs::metadata(&source).context("read", &source)?.len();
        if !remote.have(digest, size_bytes)? {
            let found = remote.put(digest, &source)?;
            if found != *digest {
                return Err(BlobError::Damaged { expected: *digest, found, path: source });
            }
        }
        lock(&self.uploaded).insert(*digest);
        Ok(())
    }

    /// Brings a blob from the far side into the folder.
    fn download(&self, remote: &dyn Remote, digest: &Digest) -> Result<(), BlobError> {
        let mut file = self.incoming()?;
        let local = file.path().to_owned();
        receive(remote, digest, &mut |piece| file.write_all(piece).context("write", &local))?;
        self.place(file, digest)?;
        lock(&self.uploaded).insert(*digest);
        Ok(())
    }

    /// Removes what writers left behind that were interrupted before `cutoff`; younger files may still be in use.
    pub fn remove_abandoned(&self, cutoff: SystemTime) -> Result<(), BlobError> {
        let incoming = self.root.join("incoming");
        for entry in fs::read_dir(&incoming).context("list", &incoming)? {
            let path = entry.context("list", &incoming)?.path();
            let modified = fs::metadata(&path).and_then(|m| m.modified());
            if modified.is_ok_and(|modified| modified < cutoff) {
                fs::remove_file(&path).context("remove", &path)?;
            }
        }
        Ok(())
    }

    fn incoming(&self) -> Result<tempfile::NamedTempFile, BlobError> {
        let directory = self.root.join("incoming");
        Ok(tempfile::NamedTempFile::new_in(&directory).context("create a file in", &directory)?)
    }

    /// Whether a good blob is in the folder already; a damaged one is left to be replaced.
    fn holds(&self, digest: &Digest) -> Result<bool, BlobError> {
        match self.verify_file(digest) {
            Ok(()) => {
                if self.remote.is_some() {
                    lock(&self.unsynced).insert(*digest);
                }
                Ok(true)
            }
            Err(BlobError::Missing(_) | BlobError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn admit(&self, file: tempfile::NamedTempFile, digest: Digest) -> Result<(), BlobError> {
        self.place(file, &digest)?;
        lock(&self.unsynced).insert(digest);
        Ok(())
    }

    fn place(&self, file: tempfile::NamedTempFile, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        file.as_file().set_permissions(Permissions::from_mode(0o444)).context("set the mode of", &path)?;
        files::create_directory(files::parent(&path))?;
        file.persist(&path).map_err(|e| e.error).context("rename to", &path)?;
        Ok(())
    }
}

fn lock(digests: &Mutex<BTreeSet<Digest>>) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
    digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Takes a blob from the far side and makes sure that it is the one that was asked for.
fn receive(
    remote: &dyn Remote,
    digest: &Digest,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<(), BlobError> {
    let mut hasher = Hasher::default();
    let there = remote.get(digest, &mut |piece| {
        hasher.update(piece);
        sink(piece)
    })?;
    match hasher.finish() {
        _ if !there => Err(BlobError::Missing(*digest)),
        found if found == *digest => Ok(()),
        found => Err(BlobError::Damaged { expected: *digest, found, path: remote.name(digest) }),
    }
}

/// Where a blob is below a folder of blobs, or below a place elsewhere.
pub fn below(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    root.join("sha256").join(&hex[..2]).join(&hex[2..])
}

fn abandoned(root: &Path) -> BlobError {
    let source = io::Error::other("a transfer was abandoned");
    FileError { operation: "transfer blobs of", path: root.to_owned(), source }.into()
}

/// The digest of the file at `path`, whatever its size.
pub fn digest_of_file(path: &Path) -> Result<Digest, FileError> {
    let mut file = File::open(path).context("read", path)?;
    Ok(copy_hashing(&mut file, &mut |_| Ok(())).context("read", path)?.0)
}

fn copy_hashing(
    reader: &mut dyn Read,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut size_bytes = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size_bytes)),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(&buffer[..count]);
        sink(&buffer[..count])?;
        size_bytes += count as u64;
    }
}

#[cfg(test)]
mod tests;
