//! The builder key of the system: its public part is known from the ledger, the private part is opened when something
//! is signed. So a copy of a project can be read and verified without its keys.

use std::fmt;
use std::sync::{Arc, OnceLock};

use lineal_facts::predicate::KeyRole;
use lineal_proof::key::SignError;
use lineal_proof::{PublicKey, Signer};

use super::{KeyError, Keys};

/// Signs as `holder` in the role of a builder.
pub struct SystemSigner {
    keys: Keys,
    holder: &'static str,
    public: PublicKey,
    private: OnceLock<Arc<dyn Signer>>,
}

impl SystemSigner {
    /// `public` is what the ledger says; `None` for a ledger that says nothing yet: then the private key tells.
    pub fn new(keys: &Keys, holder: &'static str, public: Option<PublicKey>) -> Result<Self, KeyError> {
        let (public, private) = match public {
            Some(public) => (public, OnceLock::new()),
            None => {
                let private = keys.signer(holder, KeyRole::Builder)?;
                (private.public_key().clone(), OnceLock::from(private))
            }
        };
        Ok(Self { keys: keys.clone(), holder, public, private })
    }

    fn private(&self) -> Result<&Arc<dyn Signer>, SignError> {
        if let Some(private) = self.private.get() {
            return Ok(private);
        }
        let private =
            self.keys.signer(self.holder, KeyRole::Builder).map_err(|e| SignError(e.to_string()))?;
        if *private.public_key() != self.public {
            return Err(SignError(format!(
                "the builder key at hand is {}, the ledger's is {}; `lineal ledger rotate {} builder` introduces it",
                private.public_key().id(),
                self.public.id(),
                self.holder
            )));
        }
        Ok(self.private.get_or_init(|| private))
    }
}

impl Signer for SystemSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.private()?.sign(message)
    }

    fn waits(&self) -> bool {
        self.keys.token(self.holder, KeyRole::Builder).is_some()
    }
}

impl fmt::Debug for SystemSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemSigner")
            .field("holder", &self.holder)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
