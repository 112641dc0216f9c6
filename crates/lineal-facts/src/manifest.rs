//! A directory as one canonical document. Its digest is the identity of a snapshot, a code tree or a model.
//!
//! Format, version 1: RFC 8785 JSON of `{"files":[{"mode","path","sha256","size"}...],"version":"1"}`, files in
//! byte order of their paths, `mode` either `100644` or `100755`, `size` a decimal string, `sha256` bare hex.
//! Modification times are not part of it: the same content is the same identity.

use serde::{Deserialize, Serialize};

use crate::collision;
use crate::digest::{Digest, shorten};
use crate::json;

/// Most files in one manifest.
pub const FILE_LIMIT: usize = 1_000_000;
/// Longest path in bytes.
pub const PATH_LIMIT_BYTES: usize = 1024;

/// The files of a directory, sorted, with safe relative paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    files: Vec<FileEntry>,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative path with `/` between components.
    pub path: String,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Size of the content.
    pub size_bytes: u64,
    /// Whether the owner may execute it.
    pub executable: bool,
}

/// Why some files are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The path could leave the directory or has no portable spelling.
    #[error(
        "path `{0}` is not allowed in a manifest: it must be relative, without `..`, `\\`, control characters or empty parts"
    )]
    Path(String),
    /// Two entries with the same path, or one path is a directory of another.
    #[error("path `{0}` occurs twice in the manifest")]
    Duplicate(String),
    /// Some file systems do not tell these names apart, so that a copy could lose a file.
    #[error("`{0}` and `{1}` are one name where case or Unicode form does not count; rename one of them")]
    Collision(String, String),
    /// More than [`FILE_LIMIT`] files.
    #[error("{0} files; a manifest holds at most {FILE_LIMIT}")]
    TooMany(usize),
    /// The document does not have the format of version 1.
    #[error("not a version 1 manifest: {0}")]
    Format(String),
}

impl Manifest {
    /// Sorts and checks `files`.
    pub fn new(mut files: Vec<FileEntry>) -> Result<Self, ManifestError> {
        if files.len() > FILE_LIMIT {
            return Err(ManifestError::TooMany(files.len()));
        }
        for file in &files {
            check_path(&file.path)?;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some((first, second)) = collision::find(files.iter().map(|f| f.path.as_str())) {
            return Err(if first == second {
                ManifestError::Duplicate(first.to_owned())
            } else {
                ManifestError::Collision(shorten(first), shorten(second))
            });
        }
        Ok(Self { files })
    }

    /// The files in path order.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The entry of `path`.
    pub fn get(&self, path: &str) -> Option<&FileEntry> {
        let position = self.files.binary_search_by(|f| f.path.as_str().cmp(path)).ok()?;
        self.files.get(position)
    }

    /// Total size of all files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size_bytes).sum()
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let document =
            Document { version: "1".to_owned(), files: self.files.iter().map(DocumentFile::from).collect() };
        // Strings only: canonicalisation cannot refuse it.
        json::canonical(&document).unwrap_or_default()
    }

    /// The identity: digest of [`Manifest::to_bytes`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Reads the canonical bytes back; any other spelling of the same document is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let document: Document = json::parse(bytes).map_err(|e| ManifestError::Format(e.to_string()))?;
        if document.version != "1" {
            return Err(ManifestError::Format(format!("version `{}`", shorten(&document.version))));
        }
        let files = document.files.into_iter().map(FileEntry::try_from).collect::<Result<_, _>>()?;
        let manifest = Self::new(files)?;
        if manifest.to_bytes() != bytes {
            return Err(ManifestError::Format("not in canonical form".to_owned()));
        }
        Ok(manifest)
    }
}

/// Checks that `path` stays inside its directory on every system.
pub fn check_path(path: &str) -> Result<(), ManifestError> {
    let safe = !path.is_empty()
        && path.len() <= PATH_LIMIT_BYTES
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if safe { Ok(()) } else { Err(ManifestError::Path(shorten(path))) }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: String,
    files: Vec<DocumentFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentFile {
    path: String,
    mode: String,
    size: String,
    sha256: String,
}

impl From<&FileEntry> for DocumentFile {
    fn from(file: &FileEntry) -> Self {
        Self {
            path: file.path.clone(),
            mode: if file.executable { "100755" } else { "100644" }.to_owned(),
            size: file.size_bytes.to_string(),
            sha256: file.digest.hex(),
        }
    }
}

impl TryFrom<DocumentFile> for FileEntry {
    type Error = ManifestError;

    fn try_from(file: DocumentFile) -> Result<Self, ManifestError> {
        let executable = match file.mode.as_str() {
            "100644" => false,
            "100755" => true,
            other => return Err(ManifestError::Format(format!("mode `{}`", shorten(other)))),
        };
        let size_bytes = file
            .size
            .parse()
            .map_err(|_| ManifestError::Format(format!("size `{}`", shorten(&file.size))))?;
        let digest = Digest::from_hex(&file.sha256).map_err(|e| ManifestError::Format(e.to_string()))?;
        Ok(Self { path: file.path, digest, size_bytes, executable })
    }
}

#[cfg(test)]
mod tests;
