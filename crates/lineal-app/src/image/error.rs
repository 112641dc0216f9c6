//! Why an image cannot be imported or unpacked.

use std::io;
use std::path::PathBuf;

use lineal_blob::BlobError;
use lineal_blob::files::FileError;
use lineal_facts::Digest;
use lineal_facts::json::JsonError;

use super::document::short;

/// Why an image cannot be imported or unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    /// Not a layout at all.
    #[error("`{}` is no OCI image layout: {reason}", path.display())]
    Layout { path: PathBuf, reason: String },
    /// A document or a layer breaks the rules.
    #[error("the image cannot be used: {0}")]
    Format(String),
    /// For another machine.
    #[error("the image is for {found}; this machine needs linux/{needed}")]
    Platform { found: String, needed: &'static str },
    /// Other bytes than those that were named.
    #[error("{what} {expected} is damaged: found {found}; get the image again")]
    Damaged { what: &'static str, expected: Digest, found: String },
    /// An entry of a layer that must not be followed.
    #[error("the image cannot be used: `{path}` in the layer {layer} {reason}")]
    Entry { layer: Digest, path: String, reason: String },
    /// Too much.
    #[error("the image cannot be used: {0}")]
    Limit(String),
    /// What is unpacked is not what was unpacked.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ImageError {
    pub(super) fn document(what: &str, error: &JsonError) -> Self {
        Self::Format(format!("{what} cannot be read: {}", short(&error.to_string())))
    }

    pub(super) fn entry(layer: Digest, path: &[u8], reason: impl ToString) -> Self {
        let path = short(&path.escape_ascii().to_string());
        Self::Entry { layer, path, reason: reason.to_string() }
    }

    pub(super) fn io(path: PathBuf, error: &io::Error) -> Self {
        Self::Layout { path, reason: error.to_string() }
    }
}
