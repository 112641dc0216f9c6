//! The keys that sign checkpoints: the history in `ledger.vkey`, the secret seed of the present one beside it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lineal_proof::checkpoint::CheckpointError;
use lineal_proof::{Checkpoint, LogKeys, LogSigner, Verified, VerifierKey};
use zeroize::Zeroizing;

use super::{KeyError, Keys};
use lineal_blob::files;

/// A line is shorter than 400 bytes, and there are [`lineal_proof::checkpoint::LOG_KEYS_LIMIT`] of them at most.
const HISTORY_LIMIT_BYTES: u64 = 64 << 10;
const SEED: &str = "ledger.seed";
/// A new seed waits here until the ledger has its record.
const NEXT_SEED: &str = "ledger.next.seed";

/// What Ed25519 keys are made from (RFC 8032).
pub(super) type Seed = Zeroizing<[u8; 32]>;

/// What checkpoints are checked with. Clones share what they know.
#[derive(Debug, Clone)]
pub struct KnownLogKeys {
    /// `None`: fixed.
    path: Option<PathBuf>,
    /// Another process may rotate the key, so readers replace what they know: locked for a moment only.
    keys: Arc<RwLock<Arc<LogKeys>>>,
}

impl From<VerifierKey> for KnownLogKeys {
    fn from(key: VerifierKey) -> Self {
        Self { path: None, keys: Arc::new(RwLock::new(Arc::new(LogKeys::new(key)))) }
    }
}

impl KnownLogKeys {
    /// The keys in the file `path`.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let keys = Arc::new(RwLock::new(Arc::new(read(path)?)));
        Ok(Self { path: Some(path.to_owned()), keys })
    }

    /// The keys, as last read.
    pub fn get(&self) -> Arc<LogKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again.
    pub fn reload(&self) -> Result<Arc<LogKeys>, KeyError> {
        if let Some(path) = &self.path {
            let keys = Arc::new(read(path)?);
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
        Ok(self.get())
    }

    /// Checks a checkpoint. One that the known keys do not admit may be by a key that is newer than what is known.
    pub fn open(&self, note: &[u8]) -> Result<Verified<Checkpoint>, CheckpointError> {
        let known = self.get();
        let opened = known.open(note);
        match &opened {
            Err(CheckpointError::Unsigned(_) | CheckpointError::Retired { .. }) => match self.reload() {
                Ok(newer) if newer != known => newer.open(note),
                Ok(_) | Err(_) => opened,
            },
            Ok(_) | Err(_) => opened,
        }
    }
}

/// The seed of the present log key, read once.
#[derive(Debug, Default)]
pub(super) struct LogSeed {
    /// Locked while it is read.
    signer: Mutex<Option<Arc<LogSigner>>>,
}

impl Keys {
    /// Makes the key that signs checkpoints of the log called `origin`.
    pub fn create_log_key(&self, origin: &str) -> Result<LogSigner, KeyError> {
        let signer = self.create_seed(SEED, origin)?;
        let keys = LogKeys::new(signer.verifier_key().clone());
        files::replace(&self.log_vkey_path(), keys.to_string().as_bytes())?;
        Ok(signer)
    }

    /// The key that signs the next checkpoint. Call it while holding the store's lock.
    pub fn load_log_key(&self) -> Result<Arc<LogSigner>, KeyError> {
        let history = read(&self.log_vkey_path())?;
        let mut cached = self.log_seed.signer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = cached.as_ref().filter(|signer| signer.verifier_key() == history.current()) {
            return Ok(signer.clone());
        }
        let signer = Arc::new(self.read_seed(SEED)?);
        if signer.verifier_key() != history.current() {
            return Err(KeyError::Format(self.secret_path(SEED)));
        }
        *cached = Some(signer.clone());
        Ok(signer)
    }

    /// What checkpoints are checked with.
    pub fn log_keys(&self) -> Result<KnownLogKeys, KeyError> {
        KnownLogKeys::load(&self.log_vkey_path())
    }

    /// Makes a log key that waits for its record.
    pub fn create_next_log_key(&self, origin: &str) -> Result<LogSigner, KeyError> {
        self.create_seed(NEXT_SEED, origin)
    }

    /// The log key that waits for its record, if there is one.
    pub fn next_log_key(&self) -> Result<Option<LogSigner>, KeyError> {
        if self.secret_path(NEXT_SEED).exists() { self.read_seed(NEXT_SEED).map(Some) } else { Ok(None) }
    }

    /// The waiting log key takes over: it signs checkpoints of `from` entries and more. The old seed is gone.
    pub fn adopt_next_log_key(&self, from: u64) -> Result<(), KeyError> {
        let next = self.read_seed(NEXT_SEED)?;
        let path = self.log_vkey_path();
        let mut history = read(&path)?;
        // An earlier attempt may have come as far as this.
        if history.current() != next.verifier_key() {
            history
                .push(from, next.verifier_key().clone())
                .map_err(|_| KeyError::Format(self.secret_path(NEXT_SEED)))?;
            files::replace(&path, history.to_string().as_bytes())?;
        }
        self.rename_secret(NEXT_SEED, SEED)
    }

    /// Forgets the waiting log key, of which there is no record.
    pub fn discard_next_log_key(&self) -> Result<(), KeyError> {
        self.remove_secret(NEXT_SEED)
    }

    fn create_seed(&self, name: &str, origin: &str) -> Result<LogSigner, KeyError> {
        let seed = self.new_seed(name, origin)?;
        LogSigner::from_seed(origin, &seed).map_err(|_| KeyError::Generation)
    }

    fn read_seed(&self, name: &str) -> Result<LogSigner, KeyError> {
        let (origin, seed) = self.stored_seed(name)?;
        LogSigner::from_seed(&origin, &seed).map_err(|_| KeyError::Format(self.secret_path(name)))
    }

    /// Makes a seed and writes it into the file `name`, with the key name that it signs under.
    pub(super) fn new_seed(&self, name: &str, key_name: &str) -> Result<Seed, KeyError> {
        let mut seed = Seed::new([0; 32]);
        getrandom::fill(&mut seed[..]).map_err(|_| KeyError::Generation)?;
        // A name that no key may have must not reach the file.
        LogSigner::from_seed(key_name, &seed).map_err(|_| KeyError::Generation)?;
        let hex = Zeroizing::new(hex::encode(&seed[..]));
        let text = Zeroizing::new(format!("{key_name}\n{}\n", hex.as_str()));
        self.write_secret(name, &text)?;
        Ok(seed)
    }

    /// The key name and the seed in the file `name`.
    pub(super) fn stored_seed(&self, name: &str) -> Result<(String, Seed), KeyError> {
        let path = self.secret_path(name);
        let text = self.open_secret(&path)?;
        let format = || KeyError::Format(path.clone());
        let (key_name, seed_hex) = text.trim_end().split_once('\n').ok_or_else(format)?;
        let mut seed = Seed::new([0; 32]);
        hex::decode_to_slice(seed_hex, &mut seed[..]).map_err(|_| format())?;
        Ok((key_name.to_owned(), seed))
    }

    fn log_vkey_path(&self) -> PathBuf {
        self.folder().join("ledger.vkey")
    }
}

fn read(path: &Path) -> Result<LogKeys, KeyError> {
    if !path.exists() {
        return Err(KeyError::Missing(path.to_owned()));
    }
    let bytes = files::read_limited(path, HISTORY_LIMIT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| KeyError::Format(path.to_owned()))?;
    text.parse().map_err(|_| KeyError::Format(path.to_owned()))
}

#[cfg(test)]
mod tests;
