//! The demo's files: made anew on every start, copied, and damaged on purpose.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::roles;
use crate::setup::Flights;
use crate::workspace::Workspace;

const FOLDER: &str = "demo";
/// Says that the folder is ours to remove.
const MARKER: &str = ".lineal-demo";
const EXAMPLE: &str = "examples/flights";

/// Makes `demo/` from the example, the environments and the months.
pub(super) fn prepare(workspace: &Workspace, flights: &Flights) -> Result<PathBuf> {
    let folder = workspace.root.join(FOLDER);
    if folder.exists() {
        remove(&folder)?;
    }
    fs::create_dir(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    fs::write(folder.join(MARKER), "`cargo xtask demo` removes this folder when it starts.\n")?;
    for file in workspace.files(EXAMPLE)? {
        let target = folder.join(file.strip_prefix(EXAMPLE).context("git listed another folder")?);
        copy(&workspace.root.join(&file), &target)?;
    }
    fs::create_dir(folder.join(".venv"))?;
    symlink(&flights.train, folder.join(".venv/train"))?;
    symlink(&flights.serve, folder.join(".venv/serve"))?;
    for entry in fs::read_dir(&flights.months)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "csv") {
            copy(&path, &folder.join("months").join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(folder)
}

fn remove(folder: &Path) -> Result<()> {
    if !folder.join(MARKER).is_file() {
        bail!(
            "`{}` has no file `{MARKER}`, so the demo did not make it and will not remove it; move it away",
            folder.display()
        );
    }
    roles::stop_leftovers(folder)?;
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))
}

/// Copies a file or folder; permissions too, links as what they lead to.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy `{}`", from.display());
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(context)? {
            let entry = entry.with_context(context)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        fs::create_dir_all(to).with_context(context)?;
        return fs::set_permissions(to, fs::metadata(from)?.permissions()).with_context(context);
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    fs::copy(from, to).with_context(context)?;
    Ok(())
}

/// Changes the lowest bit of one digit in the middle of the file, which stays well-formed. Doing it twice undoes it.
/// Yields what a person may want to know.
pub(super) fn flip(file: &Path) -> Result<String> {
    let context = || format!("cannot change `{}`", file.display());
    let mut bytes = fs::read(file).with_context(context)?;
    let middle = bytes.len() / 2;
    let digit = (middle..bytes.len()).chain(0..middle).find(|at| bytes[*at].is_ascii_digit());
    let at = digit.with_context(|| format!("`{}` holds no digit", file.display()))?;
    let before = bytes[at];
    bytes[at] ^= 1;
    let permissions = fs::metadata(file).with_context(context)?.permissions();
    fs::set_permissions(file, Permissions::from_mode(permissions.mode() | 0o200)).with_context(context)?;
    fs::write(file, &bytes).with_context(context)?;
    fs::set_permissions(file, permissions).with_context(context)?;
    Ok(format!("byte {at} of {}: `{}` is now `{}`", bytes.len(), char::from(before), char::from(bytes[at])))
}

/// The largest file below a folder.
pub(super) fn largest(folder: &Path) -> Result<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<(u64, PathBuf)>) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                collect(&path, found)?;
            } else {
                found.push((fs::metadata(&path)?.len(), path));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    collect(folder, &mut found)?;
    let largest = found.into_iter().max().map(|(_, path)| path);
    largest.with_context(|| format!("`{}` holds no file", folder.display()))
}

/// The files that a shell would put for a word: those in its folder whose names fit `*` and `[...]`, sorted.
pub(super) fn expand(folder: &Path, word: &str) -> Result<Vec<String>> {
    let Some((parent, pattern)) = word.rsplit_once('/').filter(|_| word.contains(['*', '['])) else {
        return Ok(vec![word.to_owned()]);
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join(parent)).with_context(|| format!("cannot list `{parent}`"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if fits(pattern.as_bytes(), name.as_bytes()) {
            names.push(format!("{parent}/{name}"));
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("no file fits `{word}`");
    }
    Ok(names)
}

/// Whether a name fits a pattern of plain bytes, `*` and `[abc]` or `[a-c]`.
pub(super) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| fits(rest, &name[at..])),
        ([b'[', rest @ ..], [first, behind @ ..]) => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            let inside = match &rest[..end] {
                [low, b'-', high] => (low..=high).contains(&first),
                set => set.contains(first),
            };
            inside && fits(&rest[end + 1..], behind)
        }
        ([wanted, rest @ ..], [first, behind @ ..]) => wanted == first && fits(rest, behind),
        ([], _) | (_, []) => false,
    }
}
