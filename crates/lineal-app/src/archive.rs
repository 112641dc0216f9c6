//! Files out of a tar archive that somebody sends.

use std::io::Read;

use lineal_blob::BlobStore;
use lineal_facts::manifest::{FILE_LIMIT, FileEntry, check_path};

use crate::failure::{Code, Failure};

/// Stores the files of the archive that `keep` says yes to, by their paths.
pub(crate) fn freeze(
    blobs: &BlobStore,
    archive: &mut dyn Read,
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<FileEntry>, Failure> {
    let mut entries = Vec::new();
    read(archive, &mut |path, executable, content| {
        if keep(path) {
            let (digest, size_bytes) = blobs.put_reader(content)?;
            entries.push(FileEntry { path: path.to_owned(), digest, size_bytes, executable });
        }
        Ok(())
    })?;
    Ok(entries)
}

/// What is called with a file's path, whether it is executable, and its content.
type OnFile<'a> = dyn FnMut(&str, bool, &mut dyn Read) -> Result<(), Failure> + 'a;

/// Calls `on_file(path, executable, content)` for every regular file, in the archive's order. Folders need no entry of
/// their own. A link or a device is refused, and so is a path that leaves the archive's root.
fn read(archive: &mut dyn Read, on_file: &mut OnFile<'_>) -> Result<(), Failure> {
    let unreadable =
        |e: std::io::Error| Failure::new(Code::Data, format!("the tar archive cannot be read: {e}"));
    let mut archive = tar::Archive::new(archive);
    for (number, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        let mut entry = entry.map_err(unreadable)?;
        let bytes = entry.path_bytes().into_owned();
        let path = String::from_utf8_lossy(&bytes).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        let refused =
            |why: &str| Failure::new(Code::Data, format!("`{path}` in the tar archive is refused: {why}"));
        if number >= FILE_LIMIT {
            return Err(refused("too many files"));
        }
        match entry.header().entry_type() {
            tar::EntryType::Directory | tar::EntryType::XGlobalHeader => continue,
            tar::EntryType::Regular => {}
            _ => return Err(refused("it is neither a file nor a folder; archive with `tar --dereference`")),
        }
        check_path(path).map_err(|e| refused(&e.to_string()))?;
        let executable = entry.header().mode().map_err(unreadable)? & 0o100 != 0;
        on_file(path, executable, &mut entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
