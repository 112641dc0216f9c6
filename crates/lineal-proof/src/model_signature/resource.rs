//! One entry of the list: a file, or a part of a file.

use std::collections::BTreeMap;

use lineal_facts::Digest;
use lineal_facts::digest::Hasher;
use lineal_facts::predicate::SignedResource;
use serde_json::Number;

use super::{ALGORITHM, ModelSignatureError, SINGLE_FILE, SignedContent, check_name};

/// Longest name in a message.
const MESSAGE_CHARS: usize = 80;
/// Beyond this, a number that was written as a float may have been another one.
const EXACT_LIMIT: f64 = 9_007_199_254_740_992.0;

/// An entry whose own fields were checked.
pub(super) struct Resource<'a> {
    name: &'a str,
    path: &'a str,
    start: u64,
    end: u64,
    digest: Digest,
}

impl<'a> Resource<'a> {
    /// Reads an entry; names have `:START:END` if and only if files are signed in parts.
    pub(super) fn read(
        resource: &'a SignedResource,
        part_bytes: Option<u64>,
    ) -> Result<Self, ModelSignatureError> {
        let SignedResource { name, algorithm, digest } = resource;
        // The tool that most people use writes the part's size into the name of the algorithm.
        let sharded = part_bytes.map(|size| format!("{ALGORITHM}-sharded-{size}"));
        if algorithm != ALGORITHM && Some(algorithm) != sharded.as_ref() {
            return Err(ModelSignatureError::Algorithm(shorten(algorithm)));
        }
        let refused = || ModelSignatureError::Name(shorten(name));
        let (path, start, end) = match part_bytes {
            None => (name.as_str(), 0, 0),
            Some(_) => {
                let (rest, end) = name.rsplit_once(':').ok_or_else(refused)?;
                let (path, start) = rest.rsplit_once(':').ok_or_else(refused)?;
                (path, offset(start).ok_or_else(refused)?, offset(end).ok_or_else(refused)?)
            }
        };
        if path != SINGLE_FILE {
            check_name(path).map_err(|_| refused())?;
        }
        let digest = Digest::from_hex(digest).map_err(|_| ModelSignatureError::Digest(shorten(name)))?;
        Ok(Self { name, path, start, end, digest })
    }
}

/// The digest of all digests in list order.
pub(super) fn root(resources: &[Resource<'_>]) -> Digest {
    let mut hasher = Hasher::default();
    resources.iter().for_each(|resource| hasher.update(resource.digest.as_bytes()));
    hasher.finish()
}

/// Whether the list is in the order of the specification (code points of the name) or of the `model-signing` tool
/// (path components, then offset).
pub(super) fn are_sorted(resources: &[Resource<'_>]) -> bool {
    resources.is_sorted_by_key(|r| r.name)
        || resources
            .is_sorted_by(|a, b| a.path.split('/').cmp(b.path.split('/')).then(a.start.cmp(&b.start)).is_le())
}

/// The files that the entries make up.
pub(super) fn files(
    resources: Vec<Resource<'_>>,
    part_bytes: Option<u64>,
) -> Result<BTreeMap<String, SignedContent>, ModelSignatureError> {
    let is_single = resources.iter().any(|r| r.path == SINGLE_FILE);
    let mut by_path: BTreeMap<&str, Vec<Resource<'_>>> = BTreeMap::new();
    for resource in resources {
        by_path.entry(resource.path).or_default().push(resource);
    }
    if is_single && by_path.len() > 1 {
        return Err(ModelSignatureError::Name(SINGLE_FILE.to_owned()));
    }
    by_path
        .into_iter()
        .map(|(path, parts)| Ok((path.to_owned(), content(path, parts, part_bytes)?)))
        .collect()
}

fn content(
    path: &str,
    mut parts: Vec<Resource<'_>>,
    part_bytes: Option<u64>,
) -> Result<SignedContent, ModelSignatureError> {
    parts.sort_unstable_by_key(|part| part.start);
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(ModelSignatureError::Duplicate(pair[0].name.to_owned()));
    }
    let size_bytes = match part_bytes {
        None => None,
        Some(size) => Some(joined(&parts, size).ok_or_else(|| ModelSignatureError::Parts(shorten(path)))?),
    };
    Ok(SignedContent { size_bytes, parts: parts.into_iter().map(|part| part.digest).collect() })
}

/// The size of the file that `parts`, in order, make up without gaps and overlaps.
fn joined(parts: &[Resource<'_>], part_bytes: u64) -> Option<u64> {
    let mut expected = 0;
    for (position, part) in parts.iter().enumerate() {
        let size = part.end.checked_sub(part.start)?;
        let is_last = position + 1 == parts.len();
        let fits = if is_last { (1..=part_bytes).contains(&size) } else { size == part_bytes };
        if part.start != expected || !fits {
            return None;
        }
        expected = part.end;
    }
    Some(expected)
}

/// A whole number, also if it was written as `10.0`.
pub(super) fn whole(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let float = number.as_f64().filter(|f| f.fract() == 0.0 && (0.0..EXACT_LIMIT).contains(f))?;
        // In range and whole: the digits are exact.
        format!("{float:.0}").parse().ok()
    })
}

/// Keeps a message short when the input was not.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS).collect()
}

/// A decimal number without sign and leading zeros.
fn offset(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}
