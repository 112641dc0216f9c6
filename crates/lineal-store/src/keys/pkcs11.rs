//! Keys in a token (a hardware security module, a smart card) through PKCS #11. The private key never leaves it.
//!
//! A key is named by a `pkcs11:` URI (RFC 7512); [`Pkcs11Uri`] says which attributes are understood. The token has a
//! P-256 private key and its public key under one name.

mod uri;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use lineal_facts::Digest;
use lineal_proof::key::{SignError, signature_to_der};
use lineal_proof::{PublicKey, Signer};

use super::{KeyError, read_secret};

pub use uri::Pkcs11Uri;

/// DER of an octet string of 65 bytes: how PKCS #11 wraps the point of a P-256 key.
const POINT_PREFIX: [u8; 2] = [0x04, 65];

/// Why a key in a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs11Error {
    /// Not a URI that names a key.
    #[error("`{uri}` does not name a key in a token: {reason}")]
    Uri {
        /// What was written.
        uri: String,
        /// What is wrong.
        reason: String,
    },
    /// The module cannot be loaded.
    #[error("the PKCS #11 module `{}` cannot be loaded: {reason}", path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No token, or more than one, has the name.
    #[error("the PKCS #11 module `{}` has {found} tokens that fit `{token}`; expected one", module.display())]
    Token {
        /// The library.
        module: PathBuf,
        /// What was looked for.
        token: String,
        /// How many there are.
        found: usize,
    },
    /// The file with the PIN cannot be used.
    #[error("the PIN of token `{token}`: {reason}")]
    PinFile {
        /// The token.
        token: String,
        /// Why; never the PIN.
        reason: String,
    },
    /// The token refused the PIN.
    #[error("token `{token}` refuses the PIN in `{}`; wrong ones may lock the token", path.display())]
    Pin {
        /// The token.
        token: String,
        /// Where the PIN is from.
        path: PathBuf,
    },
    /// No such key, or more than one.
    #[error("token `{token}` has {found} {what}s that fit `{key}`; expected one")]
    Key {
        /// The token.
        token: String,
        /// The kind of key.
        what: &'static str,
        /// What was looked for.
        key: String,
        /// How many there are.
        found: usize,
    },
    /// Not a P-256 key.
    #[error("key `{key}` of token `{token}` is not a P-256 key")]
    Kind {
        /// The token.
        token: String,
        /// The key.
        key: String,
    },
    /// The token failed.
    #[error("token `{token}`: {reason}")]
    Device {
        /// The token.
        token: String,
        /// What it said.
        reason: String,
    },
}

/// A P-256 key in a token.
pub struct Pkcs11Signer {
    uri: Pkcs11Uri,
    public: PublicKey,
    /// A session does one thing at a time. `None` after a failure: the next signature connects again.
    session: Mutex<Option<Connected>>,
}

struct Connected {
    session: Session,
    private: ObjectHandle,
}

impl Pkcs11Signer {
    /// Finds the key and logs in.
    pub fn connect(uri: &Pkcs11Uri) -> Result<Self, KeyError> {
        let (connected, public) = open(uri)?;
        Ok(Self { uri: uri.clone(), public, session: Mutex::new(Some(connected)) })
    }

    fn sign_in(&self, connected: &Connected, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let digest = Digest::of(message);
        let raw = connected.session.sign(&Mechanism::Ecdsa, connected.private, digest.as_bytes());
        let raw = raw.map_err(|e| SignError(device(&self.uri, &e).to_string()))?;
        let refuse = || SignError(format!("token `{}` made a signature that does not fit", self.uri.token));
        let signature = signature_to_der(&raw).ok_or_else(refuse)?;
        // A broken token, or one whose two keys do not belong together, must not put a bad signature into the ledger.
        self.public.verify(message, &signature).map_err(|_| refuse())?;
        Ok(signature)
    }
}

impl Signer for Pkcs11Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connected) = session.as_ref()
            && let Ok(signature) = self.sign_in(connected, message)
        {
            return Ok(signature);
        }
        // The session may be gone, with a token that was pulled out or a server that started again: once more, anew.
        *session = None;
        let (connected, public) = open(&self.uri).map_err(|e| SignError(e.to_string()))?;
        if public != self.public {
            return Err(SignError(format!("token `{}` has another key than before", self.uri.token)));
        }
        let signature = self.sign_in(&connected, message)?;
        *session = Some(connected);
        Ok(signature)
    }

    fn waits(&self) -> bool {
        true
    }
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Signer")
            .field("uri", &self.uri)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

fn open(uri: &Pkcs11Uri) -> Result<(Connected, PublicKey), KeyError> {
    let context = module(&uri.module)?;
    let failed = |e: Error| device(uri, &e);
    let mut slots = Vec::new();
    for slot in context.get_slots_with_token().map_err(failed)? {
        let info = context.get_token_info(slot).map_err(failed)?;
        let serial_fits = uri.serial.as_ref().is_none_or(|serial| info.serial_number().trim_end() == serial);
        if info.label().trim_end() == uri.token && serial_fits {
            slots.push(slot);
        }
    }
    let [slot] = slots[..] else {
        let (module, token) = (uri.module.clone(), uri.token.clone());
        return Err(Pkcs11Error::Token { module, token, found: slots.len() }.into());
    };
    let session = context.open_ro_session(slot).map_err(failed)?;
    log_in(&session, uri)?;
    let public = find(&session, uri, ObjectClass::PUBLIC_KEY, "public key")?;
    let private = find(&session, uri, ObjectClass::PRIVATE_KEY, "private key")?;
    let kind = || Pkcs11Error::Kind { token: uri.token.clone(), key: uri.key() };
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(failed)?;
    let Some(Attribute::EcPoint(point)) = attributes.into_iter().next() else { return Err(kind().into()) };
    // Some modules leave the octet string out.
    let point = point.strip_prefix(&POINT_PREFIX).unwrap_or(&point);
    let key = PublicKey::from_point(point).map_err(|_| kind())?;
    Ok((Connected { session, private }, key))
}

fn log_in(session: &Session, uri: &Pkcs11Uri) -> Result<(), KeyError> {
    let token = uri.token.clone();
    let text = read_secret(&uri.pin_file)
        .map_err(|e| Pkcs11Error::PinFile { token: token.clone(), reason: e.to_string() })?;
    let pin = AuthPin::new(text.trim_end_matches('\n').into());
    match session.login(UserType::User, Some(&pin)) {
        // Sessions of one process share their login.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked,
            _,
        )) => Err(Pkcs11Error::Pin { token, path: uri.pin_file.clone() }.into()),
        Err(error) => Err(device(uri, &error).into()),
    }
}

fn find(
    session: &Session,
    uri: &Pkcs11Uri,
    class: ObjectClass,
    what: &'static str,
) -> Result<ObjectHandle, Pkcs11Error> {
    let mut template = vec![Attribute::Class(class), Attribute::KeyType(KeyType::EC)];
    template.extend(uri.object.iter().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.iter().map(|id| Attribute::Id(id.clone())));
    let found = session.find_objects(&template).map_err(|e| device(uri, &e))?;
    let [key] = found[..] else {
        let token = uri.token.clone();
        return Err(Pkcs11Error::Key { token, what, key: uri.key(), found: found.len() });
    };
    Ok(key)
}

/// The module at `path`. A process may initialise each only once, so they are kept for its whole life.
fn module(path: &Path) -> Result<Pkcs11, Pkcs11Error> {
    static MODULES: OnceLock<Mutex<HashMap<PathBuf, Pkcs11>>> = OnceLock::new();
    let mut modules = MODULES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let failed = |e: Error| Pkcs11Error::Module { path: path.to_owned(), reason: e.to_string() };
    let module = Pkcs11::new(path).map_err(failed)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed(error)),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

fn device(uri: &Pkcs11Uri, error: &Error) -> Pkcs11Error {
    Pkcs11Error::Device { token: uri.token.clone(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
