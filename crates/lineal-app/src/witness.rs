//! A witness: it cosigns checkpoints of the logs that it knows, each of which continues the one before.
//!
//! Protocol: <https://c2sp.org/tlog-witness>. A witness is no project: it has a folder, a key and a memory of its own,
//! and helps most where another person runs it on another machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineal_blob::files::{self, Context};
use lineal_facts::Digest;
use lineal_proof::witness_message::{Refusal, decide};
use lineal_proof::witness_policy::LOGS_LIMIT;
use lineal_proof::{AddCheckpoint, VerifierKey, WitnessKey, WitnessSigner};
use lineal_store::{Keys, WitnessMemory};

use crate::failure::{Code, Failure};
use crate::project::{identity_path, now, random_hex};

/// The folder that holds a witness's key and memory.
pub const FOLDER: &str = ".lineal-witness";

/// A witness. Cheap to clone.
#[derive(Clone)]
pub struct Witness {
    folder: PathBuf,
    memory: WitnessMemory,
    signer: Arc<WitnessSigner>,
    logs: Arc<Vec<VerifierKey>>,
}

/// Who a witness is and whose checkpoints it cosigns.
#[derive(Debug, Clone, Default)]
pub struct WitnessOptions {
    /// What a new witness is called, for good; a name that nobody else has otherwise.
    pub name: Option<String>,
    /// Verifier keys of logs; a log may have several.
    pub logs: Vec<String>,
    /// The file that opens the key file; the user's otherwise.
    pub identity: Option<PathBuf>,
}

impl Witness {
    /// Makes the folder of a witness below `root`, and `root`, if they are not there.
    pub fn folder_in(root: &Path) -> Result<PathBuf, Failure> {
        files::create_directory(root)?;
        let root = std::fs::canonicalize(root).context("open", root)?;
        let folder = root.join(FOLDER);
        files::create_directory(&folder)?;
        Ok(folder)
    }

    /// The witness in `folder`, made if it is not there. No other process may do the same at the same time.
    pub fn open(folder: &Path, options: &WitnessOptions) -> Result<Self, Failure> {
        let (name, logs) = (options.name.as_deref(), &options.logs);
        let logs = logs.iter().map(|text| {
            text.parse().map_err(|e| Failure::new(Code::Usage, format!("the log's key `{text}`: {e}")))
        });
        let logs: Vec<VerifierKey> = logs.collect::<Result<_, _>>()?;
        if logs.is_empty() || logs.len() > LOGS_LIMIT {
            return Err(Failure::new(Code::Usage, format!("name 1 to {LOGS_LIMIT} keys of logs")));
        }
        let identity = options.identity.as_ref().map(std::path::absolute).transpose();
        let identity = identity.map_err(|e| Failure::caused(Code::File, &e))?;
        let identity = identity_path(files::parent(folder), identity.as_deref(), FOLDER)?;
        let keys = Keys::new(&folder.join("keys")).with_identity(identity);
        let signer = match keys.witness_key()? {
            Some(signer) => signer,
            None => keys.create_witness_key(&new_name(name)?)?,
        };
        let key = signer.verifier_key().clone();
        if name.is_some_and(|name| name != key.name()) {
            let text = format!(
                "the witness in `{}` is called `{}` for good; start it without --name",
                folder.display(),
                key.name()
            );
            return Err(Failure::new(Code::Usage, text));
        }
        if let Some(log) = logs.iter().find(|log| log.public_key() == key.public_key()) {
            let text = format!("`{log}` is this witness's own key; a log does not witness itself");
            return Err(Failure::new(Code::Usage, text));
        }
        files::replace(&folder.join("witness.vkey"), format!("{key}\n").as_bytes())?;
        let memory = WitnessMemory::open(&folder.join("checkpoints"), key)?;
        Ok(Self { folder: folder.to_owned(), memory, signer: Arc::new(signer), logs: Arc::new(logs) })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What its cosignatures are checked with.
    pub fn verifier_key(&self) -> &WitnessKey {
        self.signer.verifier_key()
    }

    /// Answers an `add-checkpoint` request: its signature line, or why it does not sign. What it signed is durable when
    /// this returns.
    pub async fn add_checkpoint(&self, body: Vec<u8>) -> Result<Result<String, Refusal>, Failure> {
        let witness = self.clone();
        off_the_loop(move || witness.cosign(&body)).await
    }

    /// The note that it cosigned last for the log whose origin has this SHA-256 in hex.
    pub async fn latest(&self, origin_hash: &str) -> Result<Option<Vec<u8>>, Failure> {
        let is_meant = |log: &&VerifierKey| Digest::of(log.name().as_bytes()).hex() == origin_hash;
        let Some(origin) = self.logs.iter().find(is_meant).map(|log| log.name().to_owned()) else {
            return Ok(None);
        };
        let memory = self.memory.clone();
        off_the_loop(move || Ok(memory.latest(&origin)?.map(|note| note.to_bytes()))).await
    }

    fn cosign(&self, body: &[u8]) -> Result<Result<String, Refusal>, Failure> {
        let submission = match AddCheckpoint::from_bytes(body).and_then(|request| request.open(&self.logs)) {
            Ok(submission) => submission,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut line = String::new();
        let decided = self.memory.advance(&submission.checkpoint().origin, |latest| {
            decide(latest, &submission)?;
            let mut note = submission.note().clone();
            // The clock is read here: what is signed is that nothing larger was known at that time.
            let signature = self.signer.cosign(&note.text, unix_seconds());
            line = format!("{}\n", signature.to_line());
            note.signatures.push(signature);
            Ok(note)
        })?;
        Ok(decided.map(|_| line))
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness")
            .field("folder", &self.folder)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

/// Now, as cosignatures say it: seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    u64::try_from(now().unix_ms() / 1000).unwrap_or(0)
}

/// A name that a key may have, or a new one.
fn new_name(name: Option<&str>) -> Result<String, Failure> {
    match name {
        None => Ok(format!("{}.witness.lineal.local", random_hex()?)),
        // The seed is of no matter here, only the name is checked.
        Some(name) => match WitnessSigner::from_seed(name, &[0; 32]) {
            Ok(_) => Ok(name.to_owned()),
            Err(error) => Err(Failure::caused(Code::Name, &error)),
        },
    }
}

/// Does what waits for the disk without holding up the other tasks.
pub(crate) async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Failure::caused(Code::Internal, &e))?
}
