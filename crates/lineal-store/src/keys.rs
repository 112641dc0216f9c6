//! Signing keys as files that only their owner can read.
//!
//! `keys/<holder>.<role>.pem` holds a P-256 key (PKCS#8), `keys/ledger.seed` the Ed25519 seed that signs checkpoints,
//! `keys/ledger.vkey` its public form. Keys are never printed; errors name files, not contents.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::predicate::KeyRole;
use lineal_proof::key::SignError;
use lineal_proof::{LogSigner, PublicKey, Signer, VerifierKey};

use crate::files::{self, Context, FileError};

const PEM_HEADER: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_FOOTER: &str = "-----END PRIVATE KEY-----";
const PEM_LINE_CHARS: usize = 64;
const FILE_LIMIT_BYTES: u64 = 16 << 10;

/// The folder of keys.
#[derive(Debug, Clone)]
pub struct Keys {
    root: PathBuf,
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
    /// The crypto library failed.
    #[error("the crypto library could not make a key")]
    Generation,
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A P-256 key from a file.
#[derive(Debug)]
pub struct FileSigner {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl Keys {
    /// The keys below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where the key of `holder` in `role` is.
    pub fn path(&self, holder: &str, role: KeyRole) -> PathBuf {
        let role = match role {
            KeyRole::Builder => "builder",
            KeyRole::Approver => "approver",
            KeyRole::Router => "router",
        };
        self.root.join(format!("{holder}.{role}.pem"))
    }

    /// Makes a key for `holder` in `role`.
    pub fn create(&self, holder: &str, role: KeyRole) -> Result<FileSigner, KeyError> {
        let path = self.path(holder, role);
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Generation)?;
        self.write_secret(&path, to_pem(document.as_ref()).as_bytes())?;
        FileSigner::load(&path)
    }

    /// The key of `holder` in `role`.
    pub fn load(&self, holder: &str, role: KeyRole) -> Result<FileSigner, KeyError> {
        FileSigner::load(&self.path(holder, role))
    }

    /// Makes the key that signs checkpoints of the log called `origin`.
    pub fn create_log_key(&self, origin: &str) -> Result<LogSigner, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| KeyError::Generation)?;
        let signer = LogSigner::from_seed(origin, &seed).map_err(|_| KeyError::Generation)?;
        let text = format!("{origin}\n{}\n", hex::encode(seed));
        self.write_secret(&self.log_seed_path(), text.as_bytes())?;
        files::replace(&self.log_vkey_path(), format!("{}\n", signer.vkey()).as_bytes())?;
        Ok(signer)
    }

    /// The key that signs checkpoints.
    pub fn load_log_key(&self) -> Result<LogSigner, KeyError> {
        let path = self.log_seed_path();
        let text = read_secret(&path)?;
        let format = || KeyError::Format(path.clone());
        let (origin, seed_hex) = text.trim_end().split_once('\n').ok_or_else(format)?;
        let mut seed = [0; 32];
        hex::decode_to_slice(seed_hex, &mut seed).map_err(|_| format())?;
        LogSigner::from_seed(origin, &seed).map_err(|_| format())
    }

    /// The public key of the log.
    pub fn log_verifier(&self) -> Result<VerifierKey, KeyError> {
        let path = self.log_vkey_path();
        if !path.exists() {
            return Err(KeyError::Missing(path));
        }
        let bytes = files::read_limited(&path, FILE_LIMIT_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| KeyError::Format(path.clone()))?;
        text.trim_end().parse().map_err(|_| KeyError::Format(path))
    }

    fn log_seed_path(&self) -> PathBuf {
        self.root.join("ledger.seed")
    }

    fn log_vkey_path(&self) -> PathBuf {
        self.root.join("ledger.vkey")
    }

    fn write_secret(&self, path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
        if path.exists() {
            return Err(KeyError::Exists(path.to_owned()));
        }
        files::create_directory(&self.root)?;
        fs::set_permissions(&self.root, Permissions::from_mode(0o700)).context("protect", &self.root)?;
        // `tempfile` creates with mode 0600, so the secret is never readable by others.
        files::replace(path, bytes)?;
        Ok(())
    }
}

impl FileSigner {
    /// Reads a key file, refusing one that others can read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read_secret(path)?;
        let format = || KeyError::Format(path.to_owned());
        let body: String = text
            .trim()
            .strip_prefix(PEM_HEADER)
            .and_then(|t| t.strip_suffix(PEM_FOOTER))
            .ok_or_else(format)?
            .split_whitespace()
            .collect();
        let der = STANDARD.decode(body).map_err(|_| format())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).map_err(|_| format())?;
        let public = PublicKey::from_point(pair.public_key().as_ref()).map_err(|_| format())?;
        Ok(Self { pair, public })
    }
}

impl Signer for FileSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| SignError("signing failed".to_owned()))?;
        Ok(signature.as_ref().to_vec())
    }
}

fn read_secret(path: &Path) -> Result<String, KeyError> {
    if !path.exists() {
        return Err(KeyError::Missing(path.to_owned()));
    }
    let mode = fs::metadata(path).context("read", path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed(path.to_owned()));
    }
    let bytes = files::read_limited(path, FILE_LIMIT_BYTES)?;
    String::from_utf8(bytes).map_err(|_| KeyError::Format(path.to_owned()))
}

fn to_pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("{PEM_HEADER}\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE_CHARS));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(PEM_FOOTER);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
