//! The key of a witness: an Ed25519 seed with the witness's name, kept as the log's is.

use lineal_proof::WitnessSigner;

use super::{KeyError, Keys};

const SEED: &str = "witness.seed";

impl Keys {
    /// The witness's key, if it was made.
    pub fn witness_key(&self) -> Result<Option<WitnessSigner>, KeyError> {
        let path = self.secret_path(SEED);
        if !path.exists() {
            return Ok(None);
        }
        let (name, seed) = self.stored_seed(SEED)?;
        WitnessSigner::from_seed(&name, &seed).map(Some).map_err(|_| KeyError::Format(path))
    }

    /// Makes the key of the witness called `name`.
    pub fn create_witness_key(&self, name: &str) -> Result<WitnessSigner, KeyError> {
        let seed = self.new_seed(SEED, name)?;
        WitnessSigner::from_seed(name, &seed).map_err(|_| KeyError::Generation)
    }
}
