//! From layers to a directory.
//!
//! A layer is written by nobody that is trusted. Names have no `..` and are never absolute; what leads through links is
//! resolved by the kernel with the new directory as its root (`openat2` with `RESOLVE_IN_ROOT`), as it is where the step
//! runs. Devices and pipes are refused, owners and extended attributes are left out.
//!
//! Source: OCI Image Format Specification 1.1, "Image Layer Filesystem Changeset".

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use lineal_blob::BlobStore;
use lineal_blob::files::Context as _;
use lineal_facts::Digest;
use lineal_facts::digest::Hasher;
use rustix::fs::{Mode, OFlags};
use tar::EntryType;

use super::directory::{Place, Target};
use super::document::{Compression, Image, Layer};
use super::error::ImageError;

/// Most bytes of an image that is unpacked, with the forms of its tar files.
const UNPACKED_LIMIT_BYTES: u64 = 64 << 30;
/// Most files, directories and links in all layers together.
const ENTRY_LIMIT: u64 = 4_000_000;
/// Longest name, or target of a link.
const PATH_LIMIT_BYTES: usize = 4096;
/// Largest extension of an entry: names that are too long for it.
const EXTENSION_LIMIT_BYTES: u64 = 64 << 10;
/// Largest window that a zstd frame may ask for, as a power of two; what its command line tool takes.
const ZSTD_WINDOW_LIMIT_LOG: u32 = 27;
/// Marks a name as removed from the layers below; the second one, everything in its directory.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What an earlier union file system kept for itself.
const FOREIGN: &[u8] = b".wh..wh.";

/// How much may be unpacked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) size_bytes: u64,
    pub(super) entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size_bytes: UNPACKED_LIMIT_BYTES, entries: ENTRY_LIMIT }
    }
}

/// Unpacks the layers of `image` into `root`, which must be empty.
pub(super) fn unpack(
    blobs: &BlobStore,
    image: &Image,
    root: &Path,
    limits: Limits,
) -> Result<(), ImageError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle: OwnedFd =
        rustix::fs::open(root, flags, Mode::empty()).map_err(io::Error::from).context("open", root)?;
    let mut rest = limits;
    for layer in &image.layers {
        unpack_layer(blobs, layer, &handle, &mut rest)?;
    }
    Ok(())
}

fn unpack_layer(
    blobs: &BlobStore,
    layer: &Layer,
    root: &OwnedFd,
    rest: &mut Limits,
) -> Result<(), ImageError> {
    let path = blobs.fetch(&layer.blob.digest)?;
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(lineal_blob::BlobError::Missing(layer.blob.digest).into());
        }
        other => other.context("read", &path)?,
    };
    let mut stored = Measured::new(file, layer.blob.size);
    let mut content =
        Measured::new(decoder(&mut stored, layer.compression).map_err(broken(layer))?, rest.size_bytes);
    let outcome = Unpacking { layer: layer.content, place: Place::new(root), rest: &mut rest.entries }
        .all(&mut content);
    // Bytes after the last entry count too, so that the digests cover what was stored and nothing else. A layer that is
    // refused anyway is not worth the time.
    let drained = if outcome.is_ok() { io::copy(&mut content, &mut io::sink()) } else { Ok(0) };
    let too_large = content.is_over();
    let (found, size_bytes) = content.finish();
    let _ = io::copy(&mut stored, &mut io::sink());
    let longer = stored.is_over();
    let (stored_digest, _) = stored.finish();
    // Whatever else went wrong follows from damage, if there is any.
    if !too_large && (longer || stored_digest != layer.blob.digest) {
        blobs.verify_file(&layer.blob.digest)?;
        return Err(ImageError::Format(format!(
            "the layer {} is not of the size that its manifest says",
            layer.blob.digest
        )));
    }
    if too_large {
        return Err(ImageError::Limit(format!(
            "its layers are larger than {} bytes unpacked",
            Limits::default().size_bytes
        )));
    }
    outcome?;
    drained.map_err(broken(layer))?;
    if found != layer.content {
        return Err(ImageError::Damaged {
            what: "the content of a layer",
            expected: layer.content,
            found: found.to_string(),
        });
    }
    rest.size_bytes -= size_bytes;
    Ok(())
}

fn broken(layer: &Layer) -> impl Fn(io::Error) -> ImageError {
    let digest = layer.blob.digest;
    move |e| ImageError::Format(format!("the layer {digest} cannot be read: {e}"))
}

fn decoder<'a>(reader: impl Read + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LIMIT_LOG)?;
            Box::new(decoder)
        }
    })
}

/// One layer.
struct Unpacking<'a> {
    layer: Digest,
    place: Place<'a>,
    rest: &'a mut u64,
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Unpacking<'_> {
    fn all(&mut self, content: &mut impl Read) -> Result<(), ImageError> {
        let mut archive = tar::Archive::new(content);
        let failed = |e: io::Error| ImageError::Format(format!("a layer cannot be read: {e}"));
        let mut extension = Extension::default();
        // As they are: the library would read an extension of any length into memory.
        for entry in archive.entries().map_err(failed)?.raw(true) {
            let mut entry = entry.map_err(failed)?;
            *self.rest = self.rest.checked_sub(1).ok_or_else(|| {
                ImageError::Limit(format!("its layers have more than {ENTRY_LIMIT} files and links"))
            })?;
            match entry.header().entry_type() {
                EntryType::GNULongName => extension.path = Some(text(&mut entry).map_err(failed)?),
                EntryType::GNULongLink => extension.link = Some(text(&mut entry).map_err(failed)?),
                EntryType::XHeader => self.read_pax(&mut entry, &mut extension)?,
                EntryType::XGlobalHeader => {}
                _ => self.entry(&mut entry, std::mem::take(&mut extension))?,
            }
        }
        Ok(())
    }

    /// The names of an extended header. Sizes and sparse files are not followed: no image needs files above 8 GiB.
    fn read_pax<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        extension: &mut Extension,
    ) -> Result<(), ImageError> {
        let refused = |reason: &str| ImageError::entry(self.layer, b"an extended header", reason);
        let bytes = text(entry).map_err(|e| refused(&e.to_string()))?;
        for pair in tar::PaxExtensions::new(&bytes) {
            let pair = pair.map_err(|e| refused(&e.to_string()))?;
            match pair.key_bytes() {
                b"path" => extension.path = Some(pair.value_bytes().to_vec()),
                b"linkpath" => extension.link = Some(pair.value_bytes().to_vec()),
                b"size" => return Err(refused("is about a file above 8 GiB, or says its size twice")),
                key if key.starts_with(b"GNU.sparse") => return Err(refused("is about a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }

    fn entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        extension: Extension,
    ) -> Result<(), ImageError> {
        let header = entry.header().clone();
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let refused = |reason: &dyn ToString| ImageError::entry(self.layer, &path, reason.to_string());
        let Some(target) = Target::parse(&path, PATH_LIMIT_BYTES).map_err(|e| refused(&e))? else {
            return Ok(());
        };
        let mode = header.mode().map_err(|e| refused(&e))? & 0o777;
        let written = match (target.name(), header.entry_type()) {
            (name, _) if name == OPAQUE => self.place.hide_all(&target),
            (name, _) if name.starts_with(FOREIGN) => Ok(()),
            (name, _) if name.starts_with(WHITEOUT) => {
                match Target::parse(&name[WHITEOUT.len()..], PATH_LIMIT_BYTES) {
                    Ok(Some(hidden)) => self.place.hide(&target, hidden.name()),
                    Ok(None) | Err(_) => return Err(refused(&"removes nothing that has a name")),
                }
            }
            (_, EntryType::Directory) => self.place.directory(&target, mode),
            (_, EntryType::Regular | EntryType::Continuous) => {
                let modified_s = header.mtime().map_err(|e| refused(&e))?;
                self.place.file(&target, entry, mode, modified_s)
            }
            (_, kind @ (EntryType::Symlink | EntryType::Link)) => {
                let link = extension.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
                let link = link
                    .filter(|link| !link.is_empty() && link.len() <= PATH_LIMIT_BYTES && !link.contains(&0));
                let Some(link) = link else { return Err(refused(&"is a link to nothing that can be named")) };
                if kind == EntryType::Symlink {
                    self.place.symbolic_link(&target, &link)
                } else {
                    match Target::parse(&link, PATH_LIMIT_BYTES).map_err(|e| refused(&e))? {
                        Some(to) => self.place.hard_link(&target, &to),
                        None => return Err(refused(&"is a hard link to the root")),
                    }
                }
            }
            (_, EntryType::Fifo | EntryType::Char | EntryType::Block) => {
                return Err(refused(&"is a device or a pipe, and steps get these from nobody"));
            }
            _ => return Err(refused(&"is neither a file nor a directory nor a link")),
        };
        written.map_err(|e| refused(&e))
    }
}

/// The content of an extension, without the NUL at its end.
fn text<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(EXTENSION_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > EXTENSION_LIMIT_BYTES {
        return Err(io::Error::other(format!(
            "an extended name has more than {EXTENSION_LIMIT_BYTES} bytes"
        )));
    }
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

/// Hashes what goes through, and ends with an error after a limit.
struct Measured<R> {
    reader: R,
    hasher: Hasher,
    size_bytes: u64,
    limit_bytes: u64,
    over: bool,
}

impl<R> Measured<R> {
    fn new(reader: R, limit_bytes: u64) -> Self {
        Self { reader, hasher: Hasher::default(), size_bytes: 0, limit_bytes, over: false }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.size_bytes)
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over {
            return Err(io::Error::other("it is larger than it may be"));
        }
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size_bytes += count as u64;
        self.over = self.size_bytes > self.limit_bytes;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
