//! Names that are different here and one name elsewhere.
//!
//! APFS, NTFS, ext4 with `casefold` and others do not tell apart names that differ in case or Unicode form only. A
//! directory with such names is another directory after it was copied there: files replace each other unseen. Such
//! names are refused, by canonical caseless matching (Unicode Standard, section 3.13, definition D145).

use std::borrow::Cow;

use icu_normalizer::DecomposingNormalizerBorrowed;
use unicase::UniCase;

/// Two of `paths`, or of the directories above them, that cannot stand beside each other: the same path twice, a file
/// that also is a directory, or two spellings of one name.
pub fn find<'a>(paths: impl Iterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut names: Vec<Name<'a>> = Vec::new();
    let mut previous = "";
    for path in paths {
        let mut directory = path;
        while let Some((above, _)) = directory.rsplit_once('/') {
            // In sorted input most files share their directory with the one before.
            if previous.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')) {
                break;
            }
            names.push(Name { folded: fold(above), spelling: above, is_file: false });
            directory = above;
        }
        names.push(Name { folded: fold(path), spelling: path, is_file: true });
        previous = path;
    }
    names.sort_by(|a, b| a.folded.cmp(&b.folded));
    let clash = |pair: &[Name<'a>]| {
        let [a, b] = pair else { return None };
        let same_directory = a.spelling == b.spelling && !a.is_file && !b.is_file;
        (a.folded == b.folded && !same_directory).then_some((a.spelling, b.spelling))
    };
    names.windows(2).find_map(clash)
}

struct Name<'a> {
    folded: Cow<'a, str>,
    spelling: &'a str,
    is_file: bool,
}

/// What is equal for names that some file system takes for one.
fn fold(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return if name.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
    }
    let decomposed = DecomposingNormalizerBorrowed::new_nfd();
    let folded = UniCase::unicode(decomposed.normalize(name)).to_folded_case();
    Cow::Owned(decomposed.normalize(&folded).into_owned())
}

#[cfg(test)]
mod tests;
