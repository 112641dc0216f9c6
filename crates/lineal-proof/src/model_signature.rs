//! OpenSSF Model Signing (OMS) 1.0: the files of a model, signed as one in-toto statement.
//!
//! Format: <https://github.com/ossf/model-signing-spec/blob/main/spec/v1.0.md>. What is written here is what the
//! specification says; what is read is also what the `model-signing` tool 1.1.1 writes, which differs: it orders by path
//! component instead of by code point, names a single file `.`, and calls the algorithm of parts
//! `sha256-sharded-SIZE`. What it accepts beyond that (duplicate resources, `./name`, MD5...) is refused.
//!
//! The root digest covers contents and their order but no names. It identifies no model.

mod resource;

use std::collections::{BTreeMap, BTreeSet};

use lineal_facts::digest::Hasher;
use lineal_facts::predicate::{ModelSignature, Serialization, SignedResource};
use lineal_facts::statement::{PAYLOAD_TYPE, Subject};
use lineal_facts::{Digest, Predicate, Statement, StatementError, collision, manifest};

use crate::bundle::VerifiedBundle;
use resource::Resource;

/// Most files or parts in one signature.
pub const RESOURCE_LIMIT: usize = 1 << 15;
/// Most paths that a signature may leave out.
pub const IGNORE_LIMIT: usize = 1024;
/// Paths at the top of a model that are never part of it (specification, section 6.2).
pub const GIT_PATHS: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];
/// The usual name of a signature beside a model's files; never part of the model.
pub const SIGNATURE_FILE: &str = "model.sig";
/// What the `model-signing` tool calls the only file of a model that is a file.
pub const SINGLE_FILE: &str = ".";
/// The only algorithm that is accepted.
const ALGORITHM: &str = "sha256";
const FILES: &str = "files";
const SHARDS: &str = "shards";

/// The files that a signature covers. Its rules were checked; whose signature it is, [`bundle::verify`] says.
///
/// [`bundle::verify`]: crate::bundle::verify
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedModel {
    /// What the signer called it. It proves nothing.
    pub name: String,
    /// Digest of all digests in list order.
    pub root: Digest,
    /// Content by path.
    pub files: BTreeMap<String, SignedContent>,
    /// Size of all parts of a file but the last, if files are signed in parts.
    pub part_bytes: Option<u64>,
    /// Whether the signer followed symbolic links.
    pub links_followed: bool,
    /// What the signer left out.
    pub ignore_paths: Vec<String>,
}

/// What is signed of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedContent {
    /// Its size, known if it is signed in parts.
    pub size_bytes: Option<u64>,
    /// Digests of its parts; one of the whole file if it is not signed in parts.
    pub parts: Vec<Digest>,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContent {
    /// Its size.
    pub size_bytes: u64,
    /// Digests of its parts, of the size that the signature asks for.
    pub parts: Vec<Digest>,
}

/// A file that is not as it was signed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Other bytes.
    Changed(String),
    /// Signed, but not there.
    Missing(String),
    /// There, but not signed.
    Extra(String),
}

/// What a verifier accepts beyond a model's own files. Never taken from the signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Files and directories that may be there unsigned, as exact paths.
    pub ignore_paths: Vec<String>,
    /// The signature's own file name.
    pub signature_name: String,
    /// Whether links that stay within the model count as the file that they lead to.
    pub follow_links: bool,
}

/// Why a statement is no acceptable model signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelSignatureError {
    /// Not an in-toto statement.
    #[error("not a statement: {0}")]
    Statement(String),
    /// A statement about something else.
    #[error("not a model signature but a statement of type `{0}`")]
    Kind(String),
    /// Not exactly one subject.
    #[error("{0} subjects; a model signature has one")]
    Subjects(usize),
    /// Nothing is signed.
    #[error("no file is signed")]
    Empty,
    /// More than [`RESOURCE_LIMIT`] resources or [`IGNORE_LIMIT`] ignored paths.
    #[error("{0} entries; at most {1} are accepted")]
    TooMany(usize, usize),
    /// An algorithm that is not SHA-256.
    #[error("algorithm `{0}` is not accepted; only SHA-256 is")]
    Algorithm(String),
    /// A digest that is not 64 lower-case hex digits.
    #[error("the digest of `{0}` is not 64 lower-case hex digits")]
    Digest(String),
    /// Another method than `files` and `shards`, or a missing or surplus shard size.
    #[error("serialization method `{0}` is unknown or its `shard_size` is not a positive number of bytes")]
    Method(String),
    /// A name that could leave the model, or has more than one reading.
    #[error(
        "name `{0}` is not accepted: it must be a relative path without `..`, `.`, `\\`, `:`, control characters or empty parts"
    )]
    Name(String),
    /// The same name twice, or a file that also is a directory.
    #[error("`{0}` is signed twice")]
    Duplicate(String),
    /// Names that some file systems do not tell apart.
    #[error("`{0}` and `{1}` are one name where case or Unicode form does not count")]
    Collision(String, String),
    /// Parts with gaps, overlaps or of other sizes.
    #[error("the parts of `{0}` do not make up one file")]
    Parts(String),
    /// Neither of the two known orders.
    #[error("the files are not sorted")]
    Order,
    /// The subject is not the digest of the list.
    #[error("the root digest is {signed}, but the list of files hashes to {found}")]
    Root {
        /// In the subject.
        signed: Digest,
        /// Of the list.
        found: Digest,
    },
    /// The signer left out more than the verifier's policy allows.
    #[error("the signer left out `{0}`, which is not among the paths that may be ignored")]
    Ignored(String),
    /// The signer followed links, the verifier's policy does not.
    #[error("the signer followed symbolic links, which is not allowed here")]
    Links,
}

/// The statement that signs `files`, given by path and digest, of the model called `name`.
pub fn statement<'a>(
    name: &str,
    files: impl Iterator<Item = (&'a str, Digest)>,
) -> Result<Statement, ModelSignatureError> {
    let mut files: Vec<_> = files.collect();
    // UTF-8 bytes sort as code points do.
    files.sort_unstable();
    let mut root = Hasher::default();
    let mut resources = Vec::with_capacity(files.len());
    for (path, digest) in files {
        root.update(digest.as_bytes());
        resources.push(SignedResource {
            name: path.to_owned(),
            algorithm: ALGORITHM.to_owned(),
            digest: digest.hex(),
        });
    }
    let predicate = ModelSignature {
        resources,
        serialization: Serialization {
            method: FILES.to_owned(),
            hash_type: ALGORITHM.to_owned(),
            shard_size: None,
            allow_symlinks: false,
            ignore_paths: GIT_PATHS.iter().chain([&SIGNATURE_FILE]).map(|path| (*path).to_owned()).collect(),
        },
    };
    let subject = vec![Subject::new(name, root.finish())];
    // Nothing is signed that would not be accepted.
    SignedModel::new(&subject, &predicate)?;
    Ok(Statement { subject, predicate: Predicate::ModelSignature(predicate) })
}

impl SignedModel {
    /// Reads what a verified bundle signs.
    pub fn open(bundle: &VerifiedBundle) -> Result<Self, ModelSignatureError> {
        if bundle.payload_type != PAYLOAD_TYPE {
            return Err(ModelSignatureError::Kind(bundle.payload_type.clone()));
        }
        Self::from_bytes(&bundle.payload)
    }

    /// Reads the bytes of a statement and checks all rules.
    pub fn from_bytes(payload: &[u8]) -> Result<Self, ModelSignatureError> {
        let statement = Statement::from_bytes(payload)?;
        match &statement.predicate {
            Predicate::ModelSignature(predicate) => Self::new(&statement.subject, predicate),
            other => Err(ModelSignatureError::Kind(resource::shorten(other.kind()))),
        }
    }

    /// Whether `policy` covers everything that the signer left out or followed.
    pub fn permitted(&self, policy: &Policy) -> Result<(), ModelSignatureError> {
        if self.links_followed && !policy.follow_links {
            return Err(ModelSignatureError::Links);
        }
        // What a signature file is called is the signer's choice; it is no content.
        let usual = |path: &str| path == SIGNATURE_FILE || path == policy.signature_name;
        match self.ignore_paths.iter().find(|path| !usual(path) && !policy.ignores(path)) {
            Some(path) => Err(ModelSignatureError::Ignored(resource::shorten(path))),
            None => Ok(()),
        }
    }

    /// Every file of `found` that is not as it was signed.
    pub fn differences(&self, found: &BTreeMap<String, FoundContent>) -> BTreeSet<Difference> {
        let mut differences = BTreeSet::new();
        for (path, signed) in &self.files {
            match found.get(path) {
                None => differences.insert(Difference::Missing(path.clone())),
                Some(there) if !signed.is(there) => differences.insert(Difference::Changed(path.clone())),
                Some(_) => false,
            };
        }
        let extra = found.keys().filter(|path| !self.files.contains_key(*path));
        differences.extend(extra.map(|path| Difference::Extra(path.clone())));
        differences
    }

    fn new(subject: &[Subject], predicate: &ModelSignature) -> Result<Self, ModelSignatureError> {
        let [subject] = subject else { return Err(ModelSignatureError::Subjects(subject.len())) };
        let Serialization { method, hash_type, shard_size, allow_symlinks, ignore_paths } =
            &predicate.serialization;
        limited(predicate.resources.len(), RESOURCE_LIMIT)?;
        limited(ignore_paths.len(), IGNORE_LIMIT)?;
        if predicate.resources.is_empty() {
            return Err(ModelSignatureError::Empty);
        }
        if hash_type != ALGORITHM {
            return Err(ModelSignatureError::Algorithm(resource::shorten(hash_type)));
        }
        let part_bytes = match (method.as_str(), shard_size) {
            (FILES, None) => None,
            (SHARDS, Some(size)) => {
                let size = resource::whole(size).filter(|size| *size > 0);
                Some(size.ok_or_else(|| ModelSignatureError::Method(resource::shorten(method)))?)
            }
            _ => return Err(ModelSignatureError::Method(resource::shorten(method))),
        };
        let resources: Vec<Resource<'_>> =
            predicate.resources.iter().map(|r| Resource::read(r, part_bytes)).collect::<Result<_, _>>()?;
        let root = resource::root(&resources);
        if root != subject.digest.sha256() {
            return Err(ModelSignatureError::Root { signed: subject.digest.sha256(), found: root });
        }
        if !resource::are_sorted(&resources) {
            return Err(ModelSignatureError::Order);
        }
        let files = resource::files(resources, part_bytes)?;
        if let Some((first, second)) = collision::find(files.keys().map(String::as_str)) {
            return Err(match first == second {
                true => ModelSignatureError::Duplicate(first.to_owned()),
                false => ModelSignatureError::Collision(first.to_owned(), second.to_owned()),
            });
        }
        Ok(Self {
            name: subject.name.clone(),
            root,
            files,
            part_bytes,
            links_followed: *allow_symlinks,
            ignore_paths: ignore_paths.clone(),
        })
    }
}

impl SignedContent {
    fn is(&self, found: &FoundContent) -> bool {
        self.parts == found.parts && self.size_bytes.is_none_or(|size| size == found.size_bytes)
    }
}

impl Difference {
    /// The file.
    pub fn path(&self) -> &str {
        match self {
            Self::Changed(path) | Self::Missing(path) | Self::Extra(path) => path,
        }
    }

    /// `changed`, `missing` or `extra`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Missing(_) => "missing",
            Self::Extra(_) => "extra",
        }
    }
}

impl Policy {
    /// Whether the file or directory `path` is no part of the model: git's at the top, or an ignored path or below.
    pub fn ignores(&self, path: &str) -> bool {
        let top = path.split('/').next().unwrap_or_default();
        let covers = |ignored: &String| {
            path.strip_prefix(ignored.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        GIT_PATHS.contains(&top) || self.ignore_paths.iter().any(covers)
    }
}

/// Checks that `name` is a path within the model with one reading on every system.
pub fn check_name(name: &str) -> Result<(), ModelSignatureError> {
    let accepted = manifest::check_path(name).is_ok() && !name.contains(':');
    if accepted { Ok(()) } else { Err(ModelSignatureError::Name(resource::shorten(name))) }
}

fn limited(count: usize, limit: usize) -> Result<(), ModelSignatureError> {
    if count <= limit { Ok(()) } else { Err(ModelSignatureError::TooMany(count, limit)) }
}

impl From<StatementError> for ModelSignatureError {
    fn from(error: StatementError) -> Self {
        Self::Statement(error.to_string())
    }
}

#[cfg(test)]
mod tests;
