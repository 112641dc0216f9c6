//! The documents of an image: index, manifest and configuration.
//!
//! Source: OCI Image Format Specification 1.1. Docker's manifests of schema 2 have the same fields and other media types.

use std::collections::BTreeMap;

use lineal_facts::{Digest, json};
use serde::Deserialize;

use super::error::ImageError;

/// Largest index, manifest or configuration.
pub(super) const DOCUMENT_LIMIT_BYTES: u64 = 4 << 20;
/// Most layers of an image.
pub(super) const LAYER_LIMIT: usize = 256;
/// Most environment variables that an image sets.
const VARIABLE_LIMIT: usize = 1000;
/// All of them together; a step's order has the same limit.
const VARIABLES_LIMIT_BYTES: usize = 256 << 10;

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const LAYERS: [(&str, Compression); 5] = [
    ("application/vnd.oci.image.layer.v1.tar", Compression::None),
    ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
    ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
    ("application/vnd.docker.image.rootfs.diff.tar", Compression::None),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
];
/// Names by which tools call an image; the first one that is there counts. The second is often a tag alone.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// What is said of a blob where it is named.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// Several images, one for each platform, or whatever a layout holds.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    pub(super) manifests: Vec<Descriptor>,
}

/// One image of one platform.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Digest of its manifest: its identity.
    pub(super) digest: Digest,
    /// Lowest first.
    pub(super) layers: Vec<Layer>,
    /// Environment variables that it sets.
    pub(super) variables: BTreeMap<String, String>,
}

/// A layer as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) blob: Descriptor,
    pub(super) compression: Compression,
    /// Digest of the layer when it is not compressed.
    pub(super) content: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What an index's entry leads to.
pub(super) enum Kind {
    Index,
    Manifest,
    /// Of another platform, or no image: it is left out.
    Other,
}

/// A manifest before its configuration is known.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u64,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Configuration {
    os: String,
    architecture: String,
    #[serde(default)]
    config: Option<Settings>,
    rootfs: Layers,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "Env", default)]
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Layers {
    diff_ids: Vec<Digest>,
}

impl Descriptor {
    pub(super) fn kind(&self) -> Kind {
        let wanted = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
        if !self.platform.as_ref().is_none_or(wanted) {
            return Kind::Other;
        }
        match self.media_type.as_str() {
            media if INDEXES.contains(&media) => Kind::Index,
            media if MANIFESTS.contains(&media) => Kind::Manifest,
            _ => Kind::Other,
        }
    }

    /// What people call it, if the layout says so.
    pub(super) fn name(&self) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        NAMES.iter().find_map(|name| annotations.get(*name)).map(String::as_str)
    }
}

impl Index {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        json::parse(bytes).map_err(|e| ImageError::document("an index", &e))
    }
}

impl Manifest {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest: Self = json::parse(bytes).map_err(|e| ImageError::document("a manifest", &e))?;
        if manifest.schema_version != 2 {
            return Err(ImageError::Format(format!(
                "its manifest is of schema {}, not 2",
                manifest.schema_version
            )));
        }
        if manifest.layers.len() > LAYER_LIMIT {
            return Err(ImageError::Format(format!(
                "it has {} layers; at most {LAYER_LIMIT}",
                manifest.layers.len()
            )));
        }
        Ok(manifest)
    }
}

impl Image {
    /// `digest` is the manifest's, `configuration` the bytes that it names.
    pub(super) fn new(digest: Digest, manifest: Manifest, configuration: &[u8]) -> Result<Self, ImageError> {
        let configuration: Configuration =
            json::parse(configuration).map_err(|e| ImageError::document("a configuration", &e))?;
        let platform = format!("{}/{}", configuration.os, configuration.architecture);
        if platform != format!("linux/{}", architecture()) {
            return Err(ImageError::Platform { found: platform, needed: architecture() });
        }
        let contents = configuration.rootfs.diff_ids;
        if contents.len() != manifest.layers.len() {
            let (named, described) = (manifest.layers.len(), contents.len());
            return Err(ImageError::Format(format!("it has {named} layers and digests of {described}")));
        }
        let layers = manifest.layers.into_iter().zip(contents).map(|(blob, content)| {
            let known = LAYERS.iter().find(|(media, _)| *media == blob.media_type);
            match known {
                Some((_, compression)) => Ok(Layer { blob, compression: *compression, content }),
                None => Err(ImageError::Format(format!(
                    "a layer is of the unknown type `{}`",
                    short(&blob.media_type)
                ))),
            }
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let env = configuration.config.and_then(|c| c.env).unwrap_or_default();
        Ok(Self { digest, layers, variables: variables(&env)? })
    }

    /// Of its layers as they are stored.
    pub(super) fn size_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.blob.size).fold(0, u64::saturating_add)
    }
}

/// The architecture of this machine, in the words of images.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(super) fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

/// What is not `NAME=VALUE` is left out, as container runtimes do.
fn variables(env: &[String]) -> Result<BTreeMap<String, String>, ImageError> {
    if env.len() > VARIABLE_LIMIT || env.iter().map(String::len).sum::<usize>() > VARIABLES_LIMIT_BYTES {
        return Err(ImageError::Format(format!(
            "it sets too many environment variables; at most {VARIABLE_LIMIT} of {VARIABLES_LIMIT_BYTES} bytes"
        )));
    }
    let pairs = env.iter().filter_map(|text| text.split_once('='));
    let good =
        pairs.filter(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0'));
    Ok(good.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
