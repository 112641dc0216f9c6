//! The digest of an unpacked image: whether it still is what was unpacked.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lineal_blob::blob::digest_of_file;
use lineal_blob::files::Context as _;
use lineal_blob::tree::StatCache;
use lineal_facts::Digest;
use lineal_facts::digest::Hasher;

use super::error::ImageError;

/// Deepest nesting of directories.
const DEPTH_LIMIT: usize = 512;

/// Digest over every name, mode, time, content and link below `root`. Files that did not change since are not read
/// again; the second value is how many were read.
pub(super) fn digest(root: &Path, cache: &mut StatCache, now_s: i64) -> Result<(Digest, u64), ImageError> {
    let mut reading = Reading { root, cache, now_s, hasher: Hasher::default(), misses: 0 };
    reading.directory(root, 0)?;
    Ok((reading.hasher.finish(), reading.misses))
}

struct Reading<'a> {
    root: &'a Path,
    cache: &'a mut StatCache,
    now_s: i64,
    hasher: Hasher,
    misses: u64,
}

impl Reading<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) -> Result<(), ImageError> {
        if depth == DEPTH_LIMIT {
            return Err(ImageError::Limit(format!("it is nested deeper than {DEPTH_LIMIT} directories")));
        }
        let entries = fs::read_dir(directory).context("list", directory)?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.context("list", directory)?.path());
        }
        paths.sort();
        for path in paths {
            let metadata = fs::symlink_metadata(&path).context("look at", &path)?;
            let name = path.strip_prefix(self.root).unwrap_or(&path).as_os_str().as_bytes().escape_ascii();
            let head = format!("{name} {:o}", metadata.mode());
            let line = if metadata.is_dir() {
                format!("{head}\n")
            } else if metadata.is_symlink() {
                let to = fs::read_link(&path).context("read", &path)?;
                format!("{head} -> {}\n", to.as_os_str().as_bytes().escape_ascii())
            } else if metadata.is_file() {
                format!("{head} {} {}\n", metadata.mtime(), self.file(&path, &metadata)?)
            } else {
                format!("{head} special\n")
            };
            self.hasher.update(line.as_bytes());
            if metadata.is_dir() {
                self.directory(&path, depth + 1)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, metadata: &fs::Metadata) -> Result<Digest, ImageError> {
        if let Some(digest) = self.cache.get(path, metadata) {
            return Ok(digest);
        }
        let digest = digest_of_file(path)?;
        self.cache.insert(path, metadata, digest, self.now_s);
        self.misses += 1;
        Ok(digest)
    }
}
