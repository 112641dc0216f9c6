//! An OCI image layout: a folder, or a tar file of one.
//!
//! Everything is named by its digest but `index.json`, and checked against it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use lineal_blob::BlobStore;
use lineal_blob::files::Context as _;
use lineal_facts::Digest;

use super::document::{DOCUMENT_LIMIT_BYTES, Descriptor, Image, Index, Kind, Manifest, architecture, short};
use super::error::ImageError;

/// Most files in a tar file of a layout.
const MEMBER_LIMIT: usize = 10_000;
/// How deep indexes may name indexes.
const INDEX_DEPTH_LIMIT: usize = 4;
/// Most images that are imported from one layout.
const IMAGE_LIMIT: usize = 16;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Where the files are.
pub(super) enum Layout {
    Folder(PathBuf),
    /// Offset and size of each file in the tar file.
    Archive {
        path: PathBuf,
        file: File,
        members: BTreeMap<String, (u64, u64)>,
    },
}

impl Layout {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |reason: &str| ImageError::Layout { path: path.to_owned(), reason: reason.to_owned() };
        let layout = if fs::metadata(path).context("open", path)?.is_dir() {
            Self::Folder(path.to_owned())
        } else {
            let mut file = File::open(path).context("open", path)?;
            let members = members(path, &mut file)?;
            Self::Archive { path: path.to_owned(), file, members }
        };
        match (layout.has("index.json"), layout.has("manifest.json")) {
            (true, _) => Ok(layout),
            (false, true) => Err(failed(
                "it has `manifest.json` and no `index.json`; `docker save` writes both since Docker 25",
            )),
            (false, false) => Err(failed("it has no `index.json`")),
        }
    }

    /// The images for this machine, with what they are called.
    pub(super) fn images(&mut self) -> Result<Vec<(Descriptor, Option<String>)>, ImageError> {
        let index = Index::read(&self.read("index.json", DOCUMENT_LIMIT_BYTES)?)?;
        let mut found = Vec::new();
        self.collect(index, None, INDEX_DEPTH_LIMIT, &mut found)?;
        if found.is_empty() {
            return Err(ImageError::Format(format!("there is none for linux/{} in it", architecture())));
        }
        Ok(found)
    }

    fn collect(
        &mut self,
        index: Index,
        name: Option<&str>,
        depth: usize,
        found: &mut Vec<(Descriptor, Option<String>)>,
    ) -> Result<(), ImageError> {
        for descriptor in index.manifests {
            let name = descriptor.name().or(name).map(short);
            match descriptor.kind() {
                Kind::Other => {}
                Kind::Index if depth == 0 => {
                    return Err(ImageError::Limit("its indexes name each other too often".to_owned()));
                }
                Kind::Index => {
                    let inner = Index::read(&self.document(&descriptor)?)?;
                    self.collect(inner, name.as_deref(), depth - 1, found)?;
                }
                Kind::Manifest if found.iter().any(|(known, _)| known.digest == descriptor.digest) => {}
                Kind::Manifest if found.len() == IMAGE_LIMIT => {
                    return Err(ImageError::Limit(format!("more than {IMAGE_LIMIT} images in one layout")));
                }
                Kind::Manifest => found.push((descriptor, name)),
            }
        }
        Ok(())
    }

    /// Copies manifest, configuration and layers into `blobs`.
    pub(super) fn store(&mut self, manifest: &Descriptor, blobs: &BlobStore) -> Result<Image, ImageError> {
        let bytes = self.document(manifest)?;
        let parsed = Manifest::read(&bytes)?;
        let configuration = self.document(&parsed.config)?;
        let image = Image::new(manifest.digest, parsed, &configuration)?;
        for layer in &image.layers {
            let (found, size_bytes) = {
                let mut reader = self.reader(&layer.blob)?;
                blobs.put_reader(&mut reader)?
            };
            check("the layer", &layer.blob, found, size_bytes)?;
        }
        blobs.put(&configuration)?;
        blobs.put(&bytes)?;
        Ok(image)
    }

    /// A document that was named by its digest.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if descriptor.size > DOCUMENT_LIMIT_BYTES {
            return Err(ImageError::Limit(format!(
                "the document {} has {} bytes; at most {DOCUMENT_LIMIT_BYTES}",
                descriptor.digest, descriptor.size
            )));
        }
        let mut bytes = Vec::new();
        let read = self.reader(descriptor)?.read_to_end(&mut bytes);
        read.map_err(|e| ImageError::io(self.path().to_owned(), &e))?;
        check("the document", descriptor, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    fn read(&mut self, name: &str, limit_bytes: u64) -> Result<Vec<u8>, ImageError> {
        let (path, mut bytes) = (self.path().to_owned(), Vec::new());
        let reader = self.open_member(name)?;
        reader.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(|e| ImageError::io(path, &e))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(ImageError::Limit(format!("`{name}` has more than {limit_bytes} bytes")));
        }
        Ok(bytes)
    }

    /// The bytes under the descriptor's digest, one more at most than it says.
    fn reader(&mut self, descriptor: &Descriptor) -> Result<io::Take<Box<dyn Read + '_>>, ImageError> {
        let name = format!("blobs/{}", descriptor.digest.to_string().replace(':', "/"));
        Ok(self.open_member(&name)?.take(descriptor.size.saturating_add(1)))
    }

    fn open_member(&mut self, name: &str) -> Result<Box<dyn Read + '_>, ImageError> {
        let absent = |path: &Path| ImageError::Layout {
            path: path.to_owned(),
            reason: format!("there is no file `{name}` in it"),
        };
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                    return Err(absent(folder));
                }
                Ok(Box::new(File::open(&path).context("open", &path)?))
            }
            Self::Archive { path, file, members } => {
                let (offset, size_bytes) = *members.get(name).ok_or_else(|| absent(path))?;
                file.seek(SeekFrom::Start(offset)).context("read", path)?;
                Ok(Box::new(file.take(size_bytes)))
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).is_file(),
            Self::Archive { members, .. } => members.contains_key(name),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Archive { path, .. } => path,
        }
    }
}

/// Where each plain file of the tar file is. Links and all else are no part of a layout.
fn members(path: &Path, file: &mut File) -> Result<BTreeMap<String, (u64, u64)>, ImageError> {
    let failed = |reason: String| ImageError::Layout { path: path.to_owned(), reason };
    let mut start = [0; 2];
    let read = file.read(&mut start).context("read", path)?;
    if start[..read] == GZIP {
        return Err(failed("it is compressed; `gzip -d` it first".to_owned()));
    }
    file.rewind().context("read", path)?;
    let mut archive = tar::Archive::new(file);
    let mut members = BTreeMap::new();
    let unreadable =
        |e: io::Error| failed(format!("it is no folder, and no tar file: {}", short(&e.to_string())));
    // As they are: an extended name could be of any length, and no name of a layout needs one.
    let entries = archive.entries_with_seek().map_err(unreadable)?.raw(true);
    for (count, entry) in entries.enumerate() {
        if count == MEMBER_LIMIT {
            return Err(failed(format!("it has more than {MEMBER_LIMIT} files")));
        }
        let entry = entry.map_err(unreadable)?;
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.header().path_bytes()).into_owned();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            members.insert(name, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(members)
}

fn check(what: &'static str, named: &Descriptor, found: Digest, size_bytes: u64) -> Result<(), ImageError> {
    if found == named.digest && size_bytes == named.size {
        return Ok(());
    }
    let found = match size_bytes.cmp(&named.size) {
        Ordering::Equal => found.to_string(),
        Ordering::Less => format!("{size_bytes} bytes, fewer than {}", named.size),
        Ordering::Greater => format!("more than {} bytes", named.size),
    };
    Err(ImageError::Damaged { what, expected: named.digest, found })
}
