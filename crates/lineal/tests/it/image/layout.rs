//! Images made of files of this machine, good ones and others.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// How a layer is stored.
#[derive(Clone, Copy)]
pub(super) enum Stored {
    Plain,
    Gzip,
    Zstd,
}

/// One entry of a layer, with a name that is written as it is.
#[derive(Clone)]
pub(super) struct Entry {
    kind: EntryType,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
}

/// The files of a layout by name, and the digest of the image in it.
pub(super) struct Layout {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) digest: String,
}

pub(super) fn file(name: &str, content: impl AsRef<[u8]>) -> Entry {
    entry(EntryType::Regular, name, "", content.as_ref())
}

pub(super) fn directory(name: &str) -> Entry {
    Entry { mode: 0o755, ..entry(EntryType::Directory, name, "", b"") }
}

pub(super) fn link(name: &str, to: &str) -> Entry {
    entry(EntryType::Symlink, name, to, b"")
}

pub(super) fn hard_link(name: &str, to: &str) -> Entry {
    entry(EntryType::Link, name, to, b"")
}

pub(super) fn entry(kind: EntryType, name: &str, link: &str, content: &[u8]) -> Entry {
    Entry { kind, name: name.into(), link: link.into(), mode: 0o644, content: content.to_vec() }
}

/// This machine's shell with its libraries: a base that runs.
pub(super) fn shell() -> Vec<Entry> {
    let program = std::fs::canonicalize("/bin/sh").unwrap();
    let listed = Command::new("ldd").arg(&program).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    let mut entries = vec![executable("bin/sh", &program)];
    entries.extend(libraries.map(|path| executable(path.trim_start_matches('/'), Path::new(path))));
    assert!(entries.len() > 2, "the shell has libraries: {text}");
    entries
}

fn executable(name: &str, path: &Path) -> Entry {
    Entry { mode: 0o755, ..file(name, std::fs::read(path).unwrap()) }
}

/// The bytes of a tar file.
pub(super) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..entry.name.len()].copy_from_slice(&entry.name);
        fields.linkname[..entry.link.len()].copy_from_slice(&entry.link);
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.content.len() as u64);
        header.set_mtime(1_735_689_600);
        header.set_cksum();
        builder.append(&header, entry.content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(super) fn compress(bytes: &[u8], stored: Stored) -> Vec<u8> {
    match stored {
        Stored::Plain => bytes.to_vec(),
        Stored::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Stored::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// An image of these layers, called `name`.
pub(super) fn image(name: &str, layers: &[(Vec<u8>, Stored)]) -> Layout {
    let mut files =
        BTreeMap::from([("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())]);
    let content: Vec<String> = layers.iter().map(|(bytes, _)| digest(bytes)).collect();
    let described: Vec<Value> = layers
        .iter()
        .map(|(bytes, stored)| {
            let suffix = match stored {
                Stored::Plain => "",
                Stored::Gzip => "+gzip",
                Stored::Zstd => "+zstd",
            };
            let media = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
            add(&mut files, &media, compress(bytes, *stored))
        })
        .collect();
    let config = add(
        &mut files,
        "application/vnd.oci.image.config.v1+json",
        json!({
            "architecture": architecture(), "os": "linux",
            "config": {"Env": ["GREETING=hello", "PATH=/bin", "TERM=xterm", "LINEAL_OUT=/wrong", "TZ=Mars", "broken"]},
            "rootfs": {"type": "layers", "diff_ids": content},
        })
        .to_string()
        .into_bytes(),
    );
    let media = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": described});
    let mut named = add(&mut files, media, manifest.to_string().into_bytes());
    let digest = named["digest"].as_str().unwrap().to_owned();
    named["annotations"] =
        json!({"org.opencontainers.image.ref.name": "1", "io.containerd.image.name": name});
    let mut layout = Layout { files, digest };
    layout.index(&[named]);
    layout
}

pub(super) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Adds a blob; gives what is said of it where it is named.
pub(super) fn add(files: &mut BTreeMap<String, Vec<u8>>, media: &str, bytes: Vec<u8>) -> Value {
    let named = json!({"mediaType": media, "digest": digest(&bytes), "size": bytes.len()});
    files.insert(blob(&digest(&bytes)), bytes);
    named
}

pub(super) fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Layout {
    pub(super) fn index(&mut self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        self.files.insert("index.json".to_owned(), index.to_string().into_bytes());
    }

    /// The first entry of the index.
    pub(super) fn named(&self) -> Value {
        serde_json::from_slice::<Value>(&self.files["index.json"]).unwrap()["manifests"][0].clone()
    }

    /// The name of the file of the layer at `position`.
    pub(super) fn layer(&self, position: usize) -> String {
        let manifest: Value = serde_json::from_slice(&self.files[&blob(&self.digest)]).unwrap();
        blob(manifest["layers"][position]["digest"].as_str().unwrap())
    }

    pub(super) fn write_tar(&self, path: &Path) {
        // The index last, as nothing says where it is.
        let entries: Vec<Entry> = self.files.iter().rev().map(|(name, bytes)| file(name, bytes)).collect();
        std::fs::write(path, tar(&entries)).unwrap();
    }

    pub(super) fn write_folder(&self, path: &Path) {
        for (name, bytes) in &self.files {
            let path = path.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}
