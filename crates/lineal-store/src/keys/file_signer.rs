//! A P-256 key from a file.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_proof::key::SignError;
use lineal_proof::{PublicKey, Signer};
use zeroize::Zeroizing;

use super::{KeyError, read_secret};

const PEM_HEADER: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_FOOTER: &str = "-----END PRIVATE KEY-----";
const PEM_LINE_CHARS: usize = 64;

/// A P-256 key from a file. The crypto library wipes it from memory in the end.
#[derive(Debug)]
pub struct FileSigner {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl FileSigner {
    /// Reads a key file that is not encrypted, refusing one that others can read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_secret(path)?, path)
    }

    /// Reads the PEM text (PKCS #8) of the file `path`.
    pub(super) fn from_pem(text: &str, path: &Path) -> Result<Self, KeyError> {
        let format = || KeyError::Format(path.to_owned());
        let body: Zeroizing<String> = Zeroizing::new(
            text.trim()
                .strip_prefix(PEM_HEADER)
                .and_then(|t| t.strip_suffix(PEM_FOOTER))
                .ok_or_else(format)?
                .split_whitespace()
                .collect(),
        );
        let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| format())?);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).map_err(|_| format())?;
        let public = PublicKey::from_point(pair.public_key().as_ref()).map_err(|_| format())?;
        Ok(Self { pair, public })
    }

    /// The PEM text of a new key.
    pub(super) fn generate() -> Result<Zeroizing<String>, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Generation)?;
        let body = Zeroizing::new(STANDARD.encode(document.as_ref()));
        // Room for everything, so that no growing string leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + 128));
        text.push_str(PEM_HEADER);
        text.push('\n');
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(PEM_LINE_CHARS));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str(PEM_FOOTER);
        text.push('\n');
        Ok(text)
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
