//! Software environments that are images: imported from an OCI layout, unpacked, given to steps.
//!
//! Manifest, configuration and layers are blobs. What is unpacked is a cache: its digest is recorded beside it and
//! checked before it is used; what is missing or damaged is unpacked again from the blobs, whose digests are checked.

mod directory;
mod document;
mod error;
mod layout;
mod tree;
mod unpack;

use std::fs;
use std::path::{Path, PathBuf};

use lineal_blob::BlobError;
use lineal_blob::files::{self, Context as _};
use lineal_blob::tree::StatCache;
use lineal_engine::pipeline::ImageReference;
use lineal_facts::{Digest, Timestamp};
use lineal_step::variables;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::failure::{Code, Failure, chain};
use crate::progress::{Event, Observer};
use crate::project::{Project, now};
use crate::step::Software;
use crate::workspace::Workspace;
use document::{Image, Manifest};
use error::ImageError;
use layout::Layout;

const RECORD_LIMIT_BYTES: u64 = 64 << 10;

/// An image that is here now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportedImage {
    /// What a pipeline calls it: `NAME@sha256:HEX`.
    pub reference: String,
    /// What the layout called it, if it did.
    pub name: Option<String>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Layers.
    pub layers: usize,
    /// Size of the layers as they are stored.
    pub size_bytes: u64,
}

/// The stored note that an image was imported, version 1: for lists, and nothing else depends on it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportRecord {
    version: String,
    name: Option<String>,
    digest: Digest,
    layers: usize,
    size_bytes: u64,
    imported_at: Timestamp,
}

/// What was unpacked, version 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnpackedRecord {
    version: String,
    tree: Digest,
}

/// Imports every image for this machine from the OCI layout at `path`, a folder or a tar file, and unpacks it.
pub fn import(project: &Project, path: &Path, observer: Observer<'_>) -> Result<Vec<ImportedImage>, Failure> {
    let mut layout = Layout::open(path)?;
    let mut imported = Vec::new();
    for (descriptor, name) in layout.images()? {
        observer(Event::Began { what: format!("importing {}", descriptor.digest.short()), total: 0 });
        let outcome = import_one(project, &mut layout, &descriptor, name);
        observer(Event::Ended);
        imported.push(outcome?);
    }
    Ok(imported)
}

/// The images that were imported, by digest.
pub fn list(project: &Project) -> Result<Vec<ImportedImage>, Failure> {
    let folder = records(project);
    let mut images = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry.context("list", &folder)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let bytes = files::read_limited(&path, RECORD_LIMIT_BYTES)?;
            let record: ImportRecord = lineal_facts::json::parse(&bytes).map_err(|e| {
                Failure::new(Code::File, format!("`{}` cannot be read: {}", path.display(), chain(&e)))
            })?;
            images.push(ImportedImage::new(record));
        }
    }
    images.sort_by_key(|image| image.digest);
    Ok(images)
}

/// What a step in `reference` runs in; unpacked if it is not, or not as it should be.
pub fn software(project: &Project, reference: &ImageReference) -> Result<Software, Failure> {
    let image = stored(project, reference.digest()).map_err(|e| absent_or(reference, e))?;
    let root = unpacked(project, &image).map_err(|failure| match failure {
        Refusal::Image(e) => absent_or(reference, e),
        Refusal::Other(failure) => failure,
    })?;
    Ok(Software { root: Some(root), mounts: Vec::new(), variables: variables::of_image(image.variables) })
}

impl ImportedImage {
    fn new(record: ImportRecord) -> Self {
        let ImportRecord { version: _, name, digest, layers, size_bytes, imported_at: _ } = record;
        // What a layout calls an image is often a tag alone, or no name at all.
        let named = name.as_deref().unwrap_or_default();
        let reference = format!("{named}@{digest}");
        let good = reference.parse::<ImageReference>().is_ok();
        let reference = if good { reference } else { format!("image@{digest}") };
        Self { reference, name, digest, layers, size_bytes }
    }
}

/// Why an image is not unpacked.
enum Refusal {
    Image(ImageError),
    Other(Failure),
}

impl<E: Into<ImageError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Image(error.into())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Image(error) => error.into(),
            Refusal::Other(failure) => failure,
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Blob(error) => error.into(),
            ImageError::File(error) => error.into(),
            ImageError::Layout { .. }
            | ImageError::Format(_)
            | ImageError::Platform { .. }
            | ImageError::Damaged { .. }
            | ImageError::Entry { .. }
            | ImageError::Limit(_) => Self::caused(Code::Image, &error),
        }
    }
}

fn import_one(
    project: &Project,
    layout: &mut Layout,
    descriptor: &document::Descriptor,
    name: Option<String>,
) -> Result<ImportedImage, Failure> {
    let image = layout.store(descriptor, project.store.blobs())?;
    unpacked(project, &image)?;
    // The layers may be gone from where they came from as soon as this says that they are here.
    project.store.blobs().sync()?;
    let record = ImportRecord {
        version: "1".to_owned(),
        name,
        digest: image.digest,
        layers: image.layers.len(),
        size_bytes: image.size_bytes(),
        imported_at: now(),
    };
    let folder = records(project);
    files::create_directory(&folder)?;
    let bytes = lineal_facts::json::canonical(&record).map_err(|e| Failure::caused(Code::Internal, &e))?;
    files::replace(&folder.join(format!("{}.json", hex(image.digest))), &bytes)?;
    Ok(ImportedImage::new(record))
}

fn records(project: &Project) -> PathBuf {
    project.folder().join("images")
}

fn hex(digest: Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

/// The image with this manifest, read from blobs.
fn stored(project: &Project, digest: Digest) -> Result<Image, ImageError> {
    let blobs = project.store.blobs();
    let manifest = Manifest::read(&blobs.read(&digest)?)?;
    let configuration = blobs.read(&manifest.config.digest)?;
    Image::new(digest, manifest, &configuration)
}

fn absent_or(reference: &ImageReference, error: ImageError) -> Failure {
    match error {
        ImageError::Blob(BlobError::Missing(_)) => Failure::new(
            Code::Environment,
            format!(
                "the image `{reference}` is not here; `lineal image import FILE` brings it, where FILE is the image as an \
                 OCI archive or layout"
            ),
        ),
        other => other.into(),
    }
}

/// Where the image is unpacked: the directory that is a step's root.
fn unpacked(project: &Project, image: &Image) -> Result<PathBuf, Refusal> {
    let parent = project.scratch("images").map_err(Refusal::Other)?;
    let place = parent.join(hex(image.digest));
    if is_whole(project, &place)? {
        return Ok(place.join("root"));
    }
    let workspace = Workspace::create(project, "image").map_err(Refusal::Other)?;
    let fresh = workspace.path().join("image");
    let root = fresh.join("root");
    files::create_directory(&root)?;
    unpack::unpack(project.store.blobs(), image, &root, unpack::Limits::default())?;
    let (tree, _) = tree::digest(&root, &mut StatCache::default(), 0)?;
    let record = UnpackedRecord { version: "1".to_owned(), tree };
    let bytes = lineal_facts::json::canonical(&record)
        .map_err(|e| Refusal::Other(Failure::caused(Code::Internal, &e)))?;
    files::replace(&fresh.join("unpacked.json"), &bytes)?;
    let handle = fs::File::open(&fresh).context("open", &fresh)?;
    rustix::fs::syncfs(&handle).map_err(std::io::Error::from).context("sync", &fresh)?;
    put_in_place(project, &fresh, &place)?;
    files::sync_directory(&parent)?;
    Ok(place.join("root"))
}

/// Gives `fresh` the name `place`, which is there at any time if it was there before.
fn put_in_place(project: &Project, fresh: &Path, place: &Path) -> Result<(), Refusal> {
    let rename = |flags| renameat_with(CWD, fresh, CWD, place, flags);
    let renamed = match rename(RenameFlags::NOREPLACE) {
        // Somebody else was faster, and may already use theirs.
        Err(Errno::EXIST) if is_whole(project, place)? => return Ok(()),
        // What is damaged goes where `fresh` was, and with it.
        Err(Errno::EXIST) => rename(RenameFlags::EXCHANGE),
        other => other,
    };
    Ok(renamed.map_err(std::io::Error::from).context("rename", fresh)?)
}

/// Whether `place` holds what was unpacked into it.
fn is_whole(project: &Project, place: &Path) -> Result<bool, Refusal> {
    let Ok(bytes) = files::read_limited(&place.join("unpacked.json"), RECORD_LIMIT_BYTES) else {
        return Ok(false);
    };
    let Ok(record) = lineal_facts::json::parse::<UnpackedRecord>(&bytes) else { return Ok(false) };
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let cache_path = project.scratch("environments").map_err(Refusal::Other)?.join(format!("{name}.json"));
    let mut cache = StatCache::load(&cache_path);
    // What cannot be read is not whole either.
    let Ok((found, misses)) = tree::digest(&place.join("root"), &mut cache, now().unix_ms() / 1000) else {
        return Ok(false);
    };
    if misses > 0 && found == record.tree {
        cache.save(&cache_path)?;
    }
    Ok(found == record.tree)
}
