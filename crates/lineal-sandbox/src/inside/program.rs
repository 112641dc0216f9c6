//! Which file `argv[0]` means, and why it cannot be run.

use crate::SandboxError;
use crate::sys::process;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where programs are looked up when the step's environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Finds the program the way a shell does. Runs inside the sandbox, with the step's rights.
pub(super) fn find(name: &str, search_path: Option<&str>) -> Result<PathBuf, SandboxError> {
    let not_found = |searched: &str| SandboxError::ProgramNotFound {
        program: name.to_owned(),
        searched: searched.to_owned(),
    };
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match check(&path) {
            None => Err(not_found("its own path")),
            Some(Ok(())) => Ok(path),
            Some(Err(reason)) => Err(not_executable(&path, reason)),
        };
    }
    let search_path = search_path.unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for directory in search_path.split(':') {
        // POSIX: an empty part of PATH is the working directory.
        let path = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check(&path) {
            None => {}
            Some(Ok(())) => return Ok(path),
            Some(Err(reason)) => refused = refused.or(Some((path, reason))),
        }
    }
    match refused {
        Some((path, reason)) => Err(not_executable(&path, reason)),
        None => Err(not_found(search_path)),
    }
}

/// `None` when there is no such file, else whether it may be executed.
fn check(path: &Path) -> Option<Result<(), String>> {
    match fs::metadata(path) {
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => None,
            _ => Some(Err(error.to_string())),
        },
        Ok(metadata) if !metadata.is_file() => Some(Err("it is no regular file".to_owned())),
        Ok(_) => Some(process::may_execute(path).map_err(|error| error.to_string())),
    }
}

/// Explains why execve(2) refused a file that is there.
pub(super) fn explain(path: &Path, error: &io::Error) -> SandboxError {
    let reason = match error.raw_os_error() {
        Some(libc::ENOENT) => "its interpreter or dynamic loader is not inside the sandbox".to_owned(),
        Some(libc::ENOEXEC) => "it is neither a binary for this machine nor a script with `#!`".to_owned(),
        Some(libc::E2BIG) => "arguments and environment are too long".to_owned(),
        _ => error.to_string(),
    };
    not_executable(path, reason)
}

fn not_executable(path: &Path, reason: String) -> SandboxError {
    SandboxError::ProgramNotExecutable { program: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests;
