//! Signing keys: files that only their owner can read, encrypted at rest, or keys in a token that never leave it.
//!
//! `keys/<holder>.<role>.pem.age` holds a P-256 key (PKCS #8), `keys/ledger.seed.age` the Ed25519 seed that signs
//! checkpoints, `keys/ledger.vkey` its public form. Without `.age` a file is not encrypted; both kinds are read. Keys
//! are never printed; errors name files, not contents.

mod exchange_certificate;
mod file_signer;
mod identity;
mod log_key;
pub mod pkcs11;
mod system_signer;
mod witness_key;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lineal_facts::predicate::KeyRole;
use lineal_proof::Signer;
use zeroize::Zeroizing;

use lineal_blob::files::{self, Context, FileError};

pub use exchange_certificate::ExchangeCertificate;
pub use file_signer::FileSigner;
pub use identity::Identity;
pub use log_key::KnownLogKeys;
pub use pkcs11::{Pkcs11Error, Pkcs11Signer, Pkcs11Uri};
pub use system_signer::SystemSigner;

const FILE_LIMIT_BYTES: u64 = 16 << 10;
/// The extension of encrypted key files.
const ENCRYPTED: &str = "age";

/// The folder of keys. Clones share what was opened.
#[derive(Debug, Clone)]
pub struct Keys {
    root: PathBuf,
    identity_path: Option<PathBuf>,
    tokens: Arc<BTreeMap<(String, KeyRole), Pkcs11Uri>>,
    identity: Arc<OnceLock<Identity>>,
    log_seed: Arc<log_key::LogSeed>,
}

/// Why a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No such file.
    #[error("there is no key file `{}`", .0.display())]
    Missing(PathBuf),
    /// A key is there already and is not overwritten.
    #[error("key file `{}` exists already", .0.display())]
    Exists(PathBuf),
    /// Others can read the file.
    #[error("key file `{}` can be read by others; run `chmod 600` on it", .0.display())]
    Exposed(PathBuf),
    /// Not a P-256 key in PKCS#8 PEM, or not an Ed25519 seed.
    #[error("`{}` does not hold a key of the expected form", .0.display())]
    Format(PathBuf),
    /// An encrypted key file, and no identity was named.
    #[error("key file `{}` is encrypted and no identity file was named", .0.display())]
    NoIdentity(PathBuf),
    /// The identity file is not there.
    #[error("there is no identity file `{}`, which opens the project's key files; put the copy back, or name another with LINEAL_IDENTITY", .0.display())]
    IdentityMissing(PathBuf),
    /// Not an age identity.
    #[error("`{}` does not hold one age X25519 identity", .0.display())]
    IdentityFormat(PathBuf),
    /// Encrypted for another identity, or damaged.
    #[error("the identity file `{}` does not open the key file `{}`", identity.display(), path.display())]
    Locked {
        /// The key file.
        path: PathBuf,
        /// The identity that was tried.
        identity: PathBuf,
    },
    /// A key in a token.
    #[error(transparent)]
    Token(#[from] Pkcs11Error),
    /// The crypto library failed.
    #[error("the crypto library could not make a key")]
    Generation,
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Keys {
    /// The keys below `root`. New files are not encrypted.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            identity_path: None,
            tokens: Arc::default(),
            identity: Arc::default(),
            log_seed: Arc::default(),
        }
    }

    /// New files are encrypted for the identity in the file `path`, which is made when it is first needed.
    #[must_use]
    pub fn with_identity(self, path: PathBuf) -> Self {
        Self { identity_path: Some(path), ..self }
    }

    /// The keys of these holders and roles are in tokens.
    #[must_use]
    pub fn with_tokens(self, tokens: BTreeMap<(String, KeyRole), Pkcs11Uri>) -> Self {
        Self { tokens: Arc::new(tokens), ..self }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// The file with the identity that key files are encrypted for, if there is one.
    pub fn identity_path(&self) -> Option<&Path> {
        self.identity_path.as_deref()
    }

    /// Where the key of `holder` in `role` is, or would be made.
    pub fn path(&self, holder: &str, role: KeyRole) -> PathBuf {
        self.secret_path(&name(holder, role))
    }

    /// Makes a key file for `holder` in `role`.
    pub fn create(&self, holder: &str, role: KeyRole) -> Result<FileSigner, KeyError> {
        self.create_named(&name(holder, role))
    }

    /// The key file of `holder` in `role`.
    pub fn load(&self, holder: &str, role: KeyRole) -> Result<FileSigner, KeyError> {
        self.load_file(&self.path(holder, role))
    }

    /// A key file anywhere, encrypted or not.
    pub fn load_file(&self, path: &Path) -> Result<FileSigner, KeyError> {
        FileSigner::from_pem(&self.open_secret(path)?, path)
    }

    /// What signs for `holder` in `role`: the key in the token that the settings name, else the key file.
    pub fn signer(&self, holder: &str, role: KeyRole) -> Result<Arc<dyn Signer>, KeyError> {
        match self.token(holder, role) {
            Some(uri) => Ok(Arc::new(Pkcs11Signer::connect(uri)?)),
            None => Ok(Arc::new(self.load(holder, role)?)),
        }
    }

    /// The token that has the key of `holder` in `role`, if the settings name one.
    pub fn token(&self, holder: &str, role: KeyRole) -> Option<&Pkcs11Uri> {
        self.tokens.get(&(holder.to_owned(), role))
    }

    /// Makes a key file that waits to take over from the present one.
    pub fn create_next(&self, holder: &str, role: KeyRole) -> Result<FileSigner, KeyError> {
        self.create_named(&next_name(holder, role))
    }

    /// The key file that waits, if there is one.
    pub fn next(&self, holder: &str, role: KeyRole) -> Result<Option<FileSigner>, KeyError> {
        let path = self.secret_path(&next_name(holder, role));
        if path.exists() { self.load_file(&path).map(Some) } else { Ok(None) }
    }

    /// The waiting key file replaces the present one, whose key is gone with this.
    pub fn adopt_next(&self, holder: &str, role: KeyRole) -> Result<(), KeyError> {
        self.rename_secret(&next_name(holder, role), &name(holder, role))
    }

    /// Forgets the waiting key file.
    pub fn discard_next(&self, holder: &str, role: KeyRole) -> Result<(), KeyError> {
        self.remove_secret(&next_name(holder, role))
    }

    /// Removes the key file of `holder` in `role`.
    pub fn remove(&self, holder: &str, role: KeyRole) -> Result<(), KeyError> {
        self.remove_secret(&name(holder, role))
    }

    /// Encrypts every key file that is not; yields their former names.
    pub fn encrypt_all(&self) -> Result<Vec<PathBuf>, KeyError> {
        let mut done = Vec::new();
        let entries = fs::read_dir(&self.root).context("read", &self.root)?;
        let mut paths = entries
            .map(|entry| Ok(entry.context("read", &self.root)?.path()))
            .collect::<Result<Vec<_>, FileError>>()?;
        paths.sort();
        for path in paths {
            if !path.extension().is_some_and(|e| e == "pem" || e == "seed") {
                continue;
            }
            let text = read_secret(&path)?;
            let encrypted = encrypted(&path);
            files::replace(&encrypted, &self.identity(true)?.encrypt(text.as_bytes())?)?;
            // What was written must open before the only other copy goes.
            if *self.open_secret(&encrypted)? != *text {
                return Err(KeyError::Format(encrypted));
            }
            fs::remove_file(&path).context("remove", &path)?;
            done.push(path);
        }
        files::sync_directory(&self.root)?;
        Ok(done)
    }

    fn create_named(&self, name: &str) -> Result<FileSigner, KeyError> {
        self.write_secret(name, &FileSigner::generate()?)?;
        self.load_file(&self.secret_path(name))
    }

    /// The file of that name: the encrypted one if it is there, else the plain one, else where it would be made.
    fn secret_path(&self, name: &str) -> PathBuf {
        let plain = self.root.join(name);
        let encrypted = encrypted(&plain);
        let prefers_plain = plain.exists() || self.identity_path.is_none();
        if prefers_plain && !encrypted.exists() { plain } else { encrypted }
    }

    fn open_secret(&self, path: &Path) -> Result<Zeroizing<String>, KeyError> {
        if path.extension().is_none_or(|e| e != ENCRYPTED) {
            return read_secret(path);
        }
        let cipher = read_owned(path)?;
        if self.identity_path.is_none() {
            return Err(KeyError::NoIdentity(path.to_owned()));
        }
        let plain = self.identity(false)?.decrypt(&cipher, path)?;
        let text = std::str::from_utf8(&plain).map_err(|_| KeyError::Format(path.to_owned()))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn write_secret(&self, name: &str, text: &str) -> Result<(), KeyError> {
        let path = self.secret_path(name);
        if path.exists() {
            return Err(KeyError::Exists(path));
        }
        files::create_directory(&self.root)?;
        fs::set_permissions(&self.root, Permissions::from_mode(0o700)).context("protect", &self.root)?;
        // `tempfile` creates with mode 0600, so the secret is never readable by others.
        if self.identity_path.is_some() {
            files::replace(&path, &self.identity(true)?.encrypt(text.as_bytes())?)?;
        } else {
            files::replace(&path, text.as_bytes())?;
        }
        Ok(())
    }

    fn rename_secret(&self, from: &str, to: &str) -> Result<(), KeyError> {
        let (source, old) = (self.secret_path(from), self.secret_path(to));
        let plain = self.root.join(to);
        let target =
            if source.extension().is_some_and(|e| e == ENCRYPTED) { encrypted(&plain) } else { plain };
        // A plain file under an encrypted one, or the other way round: the old one must not be found again.
        if old != target && old.exists() {
            fs::remove_file(&old).context("remove", &old)?;
        }
        fs::rename(&source, &target).context("rename to", &target)?;
        files::sync_directory(&self.root)?;
        Ok(())
    }

    fn remove_secret(&self, name: &str) -> Result<(), KeyError> {
        let path = self.secret_path(name);
        if path.exists() {
            fs::remove_file(&path).context("remove", &path)?;
            files::sync_directory(&self.root)?;
        }
        Ok(())
    }

    /// The identity, read once in a process.
    fn identity(&self, create: bool) -> Result<&Identity, KeyError> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let path = self.identity_path.as_ref().ok_or_else(|| KeyError::NoIdentity(self.root.clone()))?;
        let identity = if create { Identity::load_or_create(path)? } else { Identity::load(path)? };
        Ok(self.identity.get_or_init(|| identity))
    }
}

fn name(holder: &str, role: KeyRole) -> String {
    format!("{holder}.{role}.pem")
}

fn next_name(holder: &str, role: KeyRole) -> String {
    format!("{holder}.{role}.next.pem")
}

fn encrypted(plain: &Path) -> PathBuf {
    let mut path = plain.as_os_str().to_owned();
    path.push(".");
    path.push(ENCRYPTED);
    path.into()
}

/// The bytes of a file that only its owner can read.
fn read_owned(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if !path.exists() {
        return Err(KeyError::Missing(path.to_owned()));
    }
    let mode = fs::metadata(path).context("read", path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed(path.to_owned()));
    }
    Ok(Zeroizing::new(files::read_limited(path, FILE_LIMIT_BYTES)?))
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let bytes = read_owned(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::Format(path.to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests;
