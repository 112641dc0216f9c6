//! Container images without an image engine: an OCI layout in one tar file.
//!
//! Everything that could differ between two builds is fixed: the order of names, times, owners, the form of the tar,
//! the text of the JSON. Layers are not compressed, so that a digest does not depend on a version of zlib.

pub(crate) mod python;

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

/// Every time in an image: the first second of 2025.
const EPOCH_SECONDS: u64 = 1_735_689_600;
const EPOCH: &str = "2025-01-01T00:00:00Z";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A file of this machine that gets a path in an image: `/path=file`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// In the image, from `/`.
    pub(crate) path: String,
    /// On this machine. Executable here means executable there.
    pub(crate) file: PathBuf,
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, file) = text.split_once('=').ok_or("expected /path=file")?;
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        match path.strip_prefix('/') {
            Some(rest) if rest.split('/').all(plain) && !file.is_empty() => {
                Ok(Self { path: path.to_owned(), file: PathBuf::from(file) })
            }
            _ => Err(format!("`{path}` is no plain path from `/`, or no file is named")),
        }
    }
}

/// What an image says about itself.
pub(crate) struct Image {
    /// Name and tag by which a node finds it once it is loaded.
    pub(crate) name: String,
    /// What it runs.
    pub(crate) entrypoint: Vec<String>,
}

/// How a container of an image begins, unless its pod says otherwise.
#[derive(Default)]
pub(crate) struct Process<'a> {
    /// Numbers of a user and a group; root otherwise.
    pub(crate) user: Option<&'a str>,
    /// `NAME=value`.
    pub(crate) environment: &'a [&'a str],
}

impl Image {
    /// Writes an image of single files; gives its digest.
    pub(crate) fn write(&self, out: &Path, entries: &[Entry]) -> Result<String> {
        self.write_with(out, entries, &Process::default())
    }

    /// [`Image::write`] for a program that runs as somebody.
    pub(crate) fn write_with(&self, out: &Path, entries: &[Entry], process: &Process<'_>) -> Result<String> {
        let mut entries = entries.to_vec();
        entries.sort();
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
            bail!("`{}` is named twice", pair[0].path);
        }
        let layer = Layer::new(folder_of(out), |tar| {
            entries.iter().try_for_each(|entry| {
                append_file(tar, &entry.path[1..], &entry.file)
                    .with_context(|| format!("cannot add `{}`", entry.file.display()))
            })
        })?;
        self.assemble(out, &mut [layer], process)
    }

    /// Writes the layout of these layers; gives the manifest's digest.
    fn assemble(&self, out: &Path, layers: &mut [Layer], process: &Process<'_>) -> Result<String> {
        let digests: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let mut config = json!({"Entrypoint": self.entrypoint, "Env": process.environment});
        if let Some(user) = process.user {
            config["User"] = json!(user);
        }
        let configuration = document(&json!({
            "architecture": "amd64",
            "config": config,
            "created": EPOCH,
            "os": "linux",
            "rootfs": {"diff_ids": digests, "type": "layers"},
        }));
        let manifest = document(&json!({
            "config": descriptor(CONFIGURATION, &configuration),
            "layers": layers
                .iter()
                .map(|layer| json!({"digest": layer.digest, "mediaType": LAYER, "size": layer.size}))
                .collect::<Vec<_>>(),
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        }));
        let digest = digest(&manifest);
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name});
        let index = document(&json!({"manifests": [entry], "schemaVersion": 2}));
        let fresh = NamedTempFile::new_in(folder_of(out)).context("cannot write beside the image")?;
        let mut tar = Builder::new(io::BufWriter::new(fresh.as_file()));
        append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", 0o644, &index)?;
        append(&mut tar, &blob(&digest), 0o644, &manifest)?;
        append(&mut tar, &blob(&self::digest(&configuration)), 0o644, &configuration)?;
        for layer in layers {
            layer.file.rewind()?;
            let mut header = header(0o644, layer.size);
            tar.append_data(&mut header, blob(&layer.digest), &mut layer.file)?;
        }
        tar.into_inner()?.flush()?;
        fs::set_permissions(fresh.path(), fs::Permissions::from_mode(0o644))?;
        fresh.persist(out).with_context(|| format!("cannot write `{}`", out.display()))?;
        Ok(digest)
    }
}

/// A layer in a file that nobody else sees.
struct Layer {
    file: File,
    digest: String,
    size: u64,
}

impl Layer {
    /// Makes a layer of what `fill` appends; the folder is on the disk that has room for it.
    fn new(folder: &Path, fill: impl FnOnce(&mut Builder<Measured>) -> Result<()>) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).context("cannot write beside the image")?;
        let mut tar = Builder::new(Measured { file: io::BufWriter::new(file), hash: Sha256::new(), size: 0 });
        fill(&mut tar)?;
        let Measured { file, hash, size } = tar.into_inner()?;
        let file = file.into_inner().context("cannot write a layer")?;
        Ok(Self { file, digest: format!("sha256:{}", hex::encode(hash.finalize())), size })
    }
}

/// A file that knows the digest and the length of what was written.
struct Measured {
    file: io::BufWriter<File>,
    hash: Sha256,
    size: u64,
}

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn folder_of(out: &Path) -> &Path {
    out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(EPOCH_SECONDS);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<W: Write>(tar: &mut Builder<W>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    Ok(tar.append_data(&mut header(mode, content.len() as u64), path, content)?)
}

fn append_file<W: Write>(tar: &mut Builder<W>, path: &str, file: &Path) -> Result<()> {
    let source = File::open(file)?;
    let metadata = source.metadata()?;
    if !metadata.is_file() {
        bail!("it is no file");
    }
    let executable = metadata.permissions().mode() & 0o111 != 0;
    let mut header = header(if executable { 0o755 } else { 0o644 }, metadata.len());
    Ok(tar.append_data(&mut header, path, source.take(metadata.len()))?)
}

/// The keys of our own values are written in the order of their letters already.
fn document(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({"digest": digest(content), "mediaType": kind, "size": content.len()})
}

/// As OCI writes it.
pub(crate) fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

#[cfg(test)]
mod tests;
