//! The reference to an image: a name and the digest of one platform's manifest.
//!
//! Source of the grammar: the reference grammar of the OCI's distribution project. Domain and path are a name, a tag may
//! follow. The digest alone says which bytes are meant; name and tag say where to get them, and are for people.

use std::fmt;
use std::str::FromStr;

use lineal_facts::Digest;
use serde::{Serialize, Serializer};

/// Most bytes before the `@`; registries refuse longer names.
pub const IMAGE_NAME_LIMIT_BYTES: usize = 255;
const TAG_LIMIT_BYTES: usize = 128;

/// An image, as `NAME@sha256:HEX`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    name: String,
    digest: Digest,
}

/// Why a text is no reference to an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageReferenceError {
    /// Nothing but a name, or a name and a tag.
    #[error(
        "`{0}` has no digest, and what it names may change; write `NAME@sha256:HEX` with the digest that `lineal image \
         import FILE` prints, where FILE is an image as an OCI archive: `skopeo copy --preserve-digests \
         docker://{0} oci-archive:FILE`"
    )]
    NoDigest(String),
    /// Something else than a SHA-256 digest.
    #[error("`{0}` is not `sha256:` and 64 hex digits in lower case, as the digest of an image must be")]
    Digest(String),
    /// A name that no registry could have.
    #[error(
        "`{0}` is not the name of an image; write `NAME@sha256:HEX`, NAME as in `registry.example:5000/team/train`, at \
         most {IMAGE_NAME_LIMIT_BYTES} characters"
    )]
    Name(String),
}

impl ImageReference {
    /// What stands before the `@`: where the image can be had, with a tag if it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of the image's manifest, of one platform.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, ImageReferenceError> {
        let shown = |text: &str| text.chars().take(80).collect::<String>();
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if name.len() > IMAGE_NAME_LIMIT_BYTES || !is_name(name) {
            return Err(ImageReferenceError::Name(shown(name)));
        }
        let Some(digest) = digest else { return Err(ImageReferenceError::NoDigest(shown(name))) };
        match digest.parse() {
            Ok(digest) => Ok(Self { name: name.to_owned(), digest }),
            Err(_) => Err(ImageReferenceError::Digest(shown(digest))),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.digest)
    }
}

impl Serialize for ImageReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `[domain/]path[:tag]`.
fn is_name(text: &str) -> bool {
    let (name, tag) = match text.rsplit_once(':') {
        // A colon before the last slash is a port's.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    let is_path = |path: &str| path.split('/').all(is_component);
    let with_domain =
        || name.split_once('/').is_some_and(|(domain, path)| is_domain(domain) && is_path(path));
    tag.is_none_or(is_tag) && (is_path(name) || with_domain())
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= TAG_LIMIT_BYTES
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Lower-case letters and digits, between them `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = component.split(is_letter).filter(|between| !between.is_empty());
    component.starts_with(is_letter)
        && component.ends_with(is_letter)
        && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

/// A host's name or address, with or without a port.
fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(is_label),
    };
    is_host && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}
