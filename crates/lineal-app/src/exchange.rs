//! Orders for pods, and what came of them.
//!
//! An executor offers an order under the name of an attempt and waits. The pod of that attempt takes the order, reads
//! the blobs that the order names, sends blobs, and gives its result. It holds no key: what it says is a claim, and
//! the claim may only name bytes that it was given or has sent itself, so that it cannot get at the bytes of others
//! by their digest.
//!
//! Guarantees: a result is durable before the pod is told that it was taken. After a restart, the same offer yields
//! the result that was taken before, and a pod that is at work goes on: it is believed to be the attempt's, and told to
//! send again what is not known any more. The latest pod of an attempt counts: an earlier one is no longer heard.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use lineal_blob::files::{self, Context};
use lineal_blob::tree;
use lineal_facts::Digest;
use lineal_facts::predicate::ArtifactKind;
use lineal_step::{Machine, Message, Outcome, Refusal, StepOrder, StepResult, WorkRequest};
use lineal_store::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::failure::{Code, Failure};
use crate::project::Project;

/// Largest stored result.
const STORED_LIMIT_BYTES: u64 = 8 << 20;
/// Most blobs that one attempt may send.
const SENT_LIMIT: usize = lineal_facts::manifest::FILE_LIMIT + 2000;

/// Where orders and results meet. Clones are the same place.
#[derive(Clone)]
pub struct Exchange {
    store: Store,
    /// Results that were taken, one file an attempt.
    folder: PathBuf,
    /// Short critical sections on a map, from requests and executors alike; nothing is awaited inside.
    attempts: Arc<Mutex<BTreeMap<String, Attempt>>>,
}

/// Who asks: a pod, as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The attempt that the pod was made for.
    pub attempt: String,
    /// The pod's id, which no other pod ever has.
    pub pod: String,
    /// What is recorded of where it runs: `node`, `pod`, `image`.
    pub location: BTreeMap<String, String>,
}

/// Tells who the holder of a pod's token is.
pub type Doorkeeper = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Pass, Refusal>> + Send + Sync>;

/// A result that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taken {
    /// What the pod said.
    pub result: StepResult,
    /// Where it ran.
    pub location: BTreeMap<String, String>,
}

/// An offered order. Dropping it withdraws the order: its pod gets no more answers.
pub struct Offer {
    exchange: Exchange,
    attempt: String,
    taken: oneshot::Receiver<Taken>,
}

struct Attempt {
    order: StepOrder,
    /// The kind of processor that the plan counts on.
    cpu_class: String,
    /// What the pod may read.
    given: BTreeSet<Digest>,
    /// What it has sent.
    sent: BTreeSet<Digest>,
    /// The latest pod that took the order.
    pod: Option<String>,
    /// `None` once the result is taken.
    waiting: Option<oneshot::Sender<Taken>>,
}

impl Exchange {
    /// The exchange of `project`.
    pub fn open(project: &Project) -> Result<Self, Failure> {
        let folder = project.scratch("results")?;
        Ok(Self { store: project.store.clone(), folder, attempts: Arc::default() })
    }

    /// Offers an order to the pod of its attempt. If the result of that attempt was taken before, it is there at once.
    pub fn offer(&self, order: StepOrder, cpu_class: &str) -> Result<Offer, Failure> {
        let (sender, taken) = oneshot::channel();
        let attempt = order.attempt.clone();
        let offer = Offer { exchange: self.clone(), attempt: attempt.clone(), taken };
        if let Some(before) = self.stored(&attempt)? {
            // The receiver is in `offer`.
            let _ = sender.send(before);
            return Ok(offer);
        }
        let given = self.given(&order)?;
        let cpu_class = cpu_class.to_owned();
        let entry =
            Attempt { order, cpu_class, given, sent: BTreeSet::new(), pod: None, waiting: Some(sender) };
        self.attempts().insert(attempt, entry);
        Ok(offer)
    }

    /// The order for the pod; none if there is nothing to do for it. On another kind of processor than planned the
    /// results would be those of another plan: the attempt is over then.
    pub fn work(&self, pass: &Pass, request: &WorkRequest) -> Option<StepOrder> {
        let mut attempts = self.attempts();
        let attempt = attempts.get_mut(&pass.attempt)?;
        if attempt.cpu_class != request.cpu_class {
            let message = format!(
                "its node has a processor of class {}, but the plan counts on {}",
                request.cpu_class, attempt.cpu_class
            );
            let result = StepResult {
                version: lineal_step::wire::WIRE_VERSION.to_owned(),
                attempt: pass.attempt.clone(),
                outcome: Outcome::Refused(Refusal::new("cpu-class", message)),
                machine: Machine { cpu_class: request.cpu_class.clone(), kernel: request.kernel.clone() },
            };
            let taken = Taken { result, location: pass.location.clone() };
            // Nobody waits any more if the run was cancelled.
            let _ = attempt.waiting.take()?.send(taken);
            return None;
        }
        attempt.waiting.as_ref()?;
        if attempt.pod.as_ref() != Some(&pass.pod) {
            attempt.pod = Some(pass.pod.clone());
            attempt.sent.clear();
        }
        Some(attempt.order.clone())
    }

    /// The file of a blob that the pod may read.
    pub fn blob(&self, pass: &Pass, digest: &Digest) -> Result<PathBuf, Refusal> {
        let may = self.with(pass, |attempt| Ok(attempt.given.contains(digest)))?;
        if !may {
            return Err(Refusal::new("not-found", format!("{digest} is no input of this step")));
        }
        self.store.blobs().fetch(digest).map_err(|e| broken(&Failure::from(e)))
    }

    /// Keeps a blob that the pod sends. Blocks.
    pub fn send(&self, pass: &Pass, digest: &Digest, content: &mut dyn Read) -> Result<(), Refusal> {
        self.with(pass, |attempt| match attempt.sent.len() < SENT_LIMIT {
            true => Ok(()),
            false => Err(Refusal::new("too-many", format!("more than {SENT_LIMIT} blobs"))),
        })?;
        let (found, _) = self.store.blobs().put_reader(content).map_err(|e| broken(&Failure::from(e)))?;
        if found != *digest {
            return Err(Refusal::new("digest", format!("sent as {digest}, but the bytes are {found}")));
        }
        self.with(pass, |attempt| {
            attempt.sent.insert(found);
            Ok(())
        })
    }

    /// Takes a result. Blocks until it is durable. A pod that did not hear the answer may give the same one again.
    pub fn take(&self, pass: &Pass, result: StepResult) -> Result<(), Refusal> {
        if self.stored(&pass.attempt).map_err(|e| broken(&e))?.is_some_and(|taken| taken.result == result) {
            return Ok(());
        }
        self.check(pass, &result)?;
        let taken = Taken { result, location: pass.location.clone() };
        self.store.blobs().sync().map_err(|e| broken(&Failure::from(e)))?;
        let bytes = serde_json::to_vec(&taken).map_err(|e| broken(&Failure::caused(Code::Internal, &e)))?;
        files::replace(&self.path(&pass.attempt), &bytes).map_err(|e| broken(&Failure::from(e)))?;
        self.with(pass, |attempt| {
            if let Some(waiting) = attempt.waiting.take() {
                // Nobody waits any more if the run was cancelled; then its stored result is forgotten too.
                let _ = waiting.send(taken);
            }
            Ok(())
        })
    }

    /// Forgets a stored result, after what it says is in the ledger, or is of no use.
    pub fn forget(&self, attempt: &str) -> Result<(), Failure> {
        let path = self.path(attempt);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context("remove", &path).map_err(Failure::from),
        }
    }

    /// Whether the result may say what it says: every byte was given or sent, and trees are whole.
    fn check(&self, pass: &Pass, result: &StepResult) -> Result<(), Refusal> {
        if result.attempt != pass.attempt {
            return Err(Refusal::new("attempt", "the result is of another attempt"));
        }
        let Outcome::Finished(finished) = &result.outcome else { return Ok(()) };
        let (known, declared) = self.with(pass, |attempt| {
            let declared: BTreeSet<String> = attempt.order.outputs.keys().cloned().collect();
            Ok((attempt.given.union(&attempt.sent).copied().collect::<BTreeSet<_>>(), declared))
        })?;
        let unknown = |digest: &Digest| {
            Refusal::new(
                "unknown-bytes",
                format!("{digest} was neither an input of this step nor sent by it"),
            )
        };
        if let Some(log) = finished.log.filter(|log| !known.contains(log)) {
            return Err(unknown(&log));
        }
        if finished.report.exit.is_success() && !finished.outputs.keys().eq(declared.iter()) {
            return Err(Refusal::new("outputs", "the outputs are not those that the order declares"));
        }
        for artifact in finished.outputs.values() {
            if !known.contains(&artifact.digest) {
                return Err(unknown(&artifact.digest));
            }
            let size = match artifact.kind {
                ArtifactKind::File => {
                    let path =
                        self.store.blobs().fetch(&artifact.digest).map_err(|e| broken(&Failure::from(e)))?;
                    std::fs::metadata(&path).context("read", &path).map_err(|e| broken(&e.into()))?.len()
                }
                ArtifactKind::Directory => {
                    let manifest = tree::manifest(self.store.blobs(), &artifact.digest)
                        .map_err(|e| Refusal::new("outputs", crate::failure::chain(&e)))?;
                    if let Some(file) = manifest.files().iter().find(|file| !known.contains(&file.digest)) {
                        return Err(unknown(&file.digest));
                    }
                    manifest.size_bytes()
                }
            };
            if artifact.size_bytes != size.to_string() {
                return Err(Refusal::new("outputs", format!("{} has another size", artifact.digest)));
            }
        }
        Ok(())
    }

    /// Code, inputs, and every file of them.
    fn given(&self, order: &StepOrder) -> Result<BTreeSet<Digest>, Failure> {
        let mut given = BTreeSet::new();
        given.extend(tree::blobs_of(self.store.blobs(), ArtifactKind::Directory, &order.code)?);
        for input in order.inputs.values() {
            given.extend(tree::blobs_of(self.store.blobs(), input.kind, &input.digest)?);
        }
        Ok(given)
    }

    fn with<T>(
        &self,
        pass: &Pass,
        act: impl FnOnce(&mut Attempt) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut attempts = self.attempts();
        let gone = || Refusal::new("gone", "this attempt is over, or another pod does it now");
        let attempt = attempts.get_mut(&pass.attempt).ok_or_else(gone)?;
        // None has asked for work since the offer: this one did, before a restart.
        let pod = attempt.pod.get_or_insert_with(|| pass.pod.clone());
        if *pod != pass.pod || attempt.waiting.is_none() {
            return Err(gone());
        }
        act(attempt)
    }

    fn stored(&self, attempt: &str) -> Result<Option<Taken>, Failure> {
        let path = self.path(attempt);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read_limited(&path, STORED_LIMIT_BYTES)?;
        let taken: Taken = serde_json::from_slice(&bytes).map_err(|e| Failure::caused(Code::Internal, &e))?;
        taken.result.check().map_err(|e| Failure::caused(Code::Internal, &e))?;
        Ok(Some(taken))
    }

    fn path(&self, attempt: &str) -> PathBuf {
        self.folder.join(format!("{}.json", Digest::of(attempt.as_bytes()).short()))
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<String, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Offer {
    /// The result, once it is taken.
    pub async fn taken(&mut self) -> Result<Taken, Failure> {
        (&mut self.taken)
            .await
            .map_err(|_| Failure::new(Code::Internal, "the exchange was closed while a step ran"))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.exchange.attempts().remove(&self.attempt);
    }
}

/// A fault of ours: the pod tries again.
fn broken(failure: &Failure) -> Refusal {
    Refusal::new("unavailable", failure.to_string())
}

#[cfg(test)]
mod tests;
