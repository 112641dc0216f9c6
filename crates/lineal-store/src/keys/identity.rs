//! The secret that key files are encrypted with at rest: an age X25519 identity in a file outside the project.
//!
//! Key files are age v1 files (<https://age-encryption.org/v1>), so the `age` program opens them with the identity file.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use age::x25519;
use zeroize::Zeroizing;

use super::{KeyError, read_secret};
use lineal_blob::files::{self, Context, FileError};

/// What a key file is encrypted to and opened with.
#[derive(Clone)]
pub struct Identity {
    path: PathBuf,
    secret: x25519::Identity,
}

impl Identity {
    /// Reads the identity file, refusing one that others can read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        if !path.exists() {
            return Err(KeyError::IdentityMissing(path.to_owned()));
        }
        let text = read_secret(path)?;
        let format = || KeyError::IdentityFormat(path.to_owned());
        // Comments are lines that begin with `#`, as age-keygen writes them.
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else { return Err(format()) };
        let secret = x25519::Identity::from_str(line).map_err(|_| format())?;
        Ok(Self { path: path.to_owned(), secret })
    }

    /// Reads the identity file, or makes it and its folder.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        if path.exists() {
            return Self::load(path);
        }
        let folder = files::parent(path);
        if !folder.exists() {
            files::create_directory(folder)?;
            fs::set_permissions(folder, Permissions::from_mode(0o700)).context("protect", folder)?;
        }
        let secret = x25519::Identity::generate();
        let text = Zeroizing::new(format!(
            "# Opens the key files of Lineal projects. Keep a copy apart from them.\n{}\n",
            secret.to_string().expose_secret()
        ));
        // `tempfile` creates with mode 0600. Two processes may be here at once: the first one to finish wins.
        let mut file = tempfile::NamedTempFile::new_in(folder).context("create a file in", folder)?;
        file.write_all(text.as_bytes()).context("write", path)?;
        file.as_file().sync_all().context("sync", path)?;
        match file.persist_noclobber(path) {
            Ok(_) => files::sync_directory(folder)?,
            Err(_) if path.exists() => {}
            Err(error) => {
                let source = error.error;
                return Err(FileError { operation: "write", path: path.to_owned(), source }.into());
            }
        }
        Self::load(path)
    }

    /// Encrypts the content of a key file.
    pub fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        age::encrypt(&self.secret.to_public(), plain).map_err(|_| KeyError::Generation)
    }

    /// Opens the content of the key file `path`.
    pub fn decrypt(&self, cipher: &[u8], path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        age::decrypt(&self.secret, cipher)
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Locked { path: path.to_owned(), identity: self.path.clone() })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
