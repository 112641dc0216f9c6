//! The life of a pod: orders are asked for, carried out and reported, one after the other.
//!
//! What the container must have, all of it writable by its user but the first two:
//!
//! ```text
//! /lineal/bin          the program, from an init container (`lineal-step install /lineal/bin /lineal/work`)
//! /lineal/token/token  the pod's token
//! /lineal/work         a volume of this pod alone: blobs and the log. Parts of it are mounted again:
//! /lineal/{code,in,out,params.json}, /tmp
//! ```
//!
//! `/tmp` is a part of the volume because it is cleared for each order, and nothing outside the volume ever is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lineal_blob::files::{self, Context as _, FileError};
use lineal_blob::tree::{self, TreeError};
use lineal_blob::{BlobError, BlobStore};
use lineal_facts::Digest;
use lineal_facts::error::chain;
use lineal_facts::predicate::ArtifactKind;
use lineal_sandbox::{Isolation, Launcher, Report, SandboxError, Spec};

use crate::exchange::{Exchange, ExchangeBlobs, ExchangeError, ExchangeSettings};
use crate::order::{StepOrder, WorkRequest};
use crate::outputs::{self, OutputError};
use crate::place::Place;
use crate::result::{Finished, Machine, Outcome, Refusal, StepResult};
use crate::wire::WIRE_VERSION;
use crate::{machine, variables};

/// Where a pod has everything. Steps look for their files here.
pub const ROOT: &str = "/lineal";
/// What a step has after SIGTERM before it is killed. It is less than the 30 s that Kubernetes gives a pod.
const GRACE: Duration = Duration::from_secs(10);

/// HTTP status of an exchange that does not have what a result names.
const FORGOTTEN: u16 = 409;

/// Where the program runs and whom it asks.
#[derive(Debug, Clone)]
pub struct PodSettings {
    /// The operator.
    pub exchange: ExchangeSettings,
    /// The image's own environment variables.
    pub image: BTreeMap<String, String>,
    /// How to start the launcher.
    pub launcher: Launcher,
}

/// Why a pod could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The exchange gave no answer that can be used.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The pod's own folders cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why an order has no result: something that the operator should know, or something that nobody can be told.
enum Fault {
    Refused(Refusal),
    Pod(PodError),
}

struct Pod {
    exchange: Arc<Exchange>,
    place: Place,
    work: PathBuf,
    machine: Machine,
    settings: PodSettings,
}

/// Does what the exchange has for this pod, until it has no more.
pub fn run(settings: PodSettings) -> Result<(), PodError> {
    let exchange = Arc::new(Exchange::new(settings.exchange.clone())?);
    let machine = Machine { cpu_class: machine::cpu_class().to_owned(), kernel: machine::kernel() };
    let request = WorkRequest {
        version: WIRE_VERSION.to_owned(),
        cpu_class: machine.cpu_class.clone(),
        kernel: machine.kernel.clone(),
        previous: None,
    };
    let (place, work) = (Place::new(Path::new(ROOT)), Path::new(ROOT).join("work"));
    let pod = Pod { exchange, place, work, machine, settings };
    let mut next = pod.exchange.work(&request)?;
    while let Some(order) = next {
        let result = pod.result(&order, pod.carry_out(&order))?;
        next = match pod.exchange.result(&result) {
            // It started again meanwhile and does not know any more what this pod sent.
            Err(ExchangeError::Refused { status: FORGOTTEN, .. }) => {
                pod.exchange.result(&pod.send_again(&order, result)?)?
            }
            answer => answer?,
        };
    }
    Ok(())
}

impl Pod {
    fn carry_out(&self, order: &StepOrder) -> Result<Finished, Fault> {
        self.clear()?;
        let blobs = self.blobs()?;
        fetch(&blobs, order)?;
        self.place.lay_out(&blobs, order)?;
        let report = self.execute(order)?;
        self.send(&blobs, order, report)
    }

    /// Sends what the step made, as far as `blobs` has not sent it yet.
    fn send(&self, blobs: &BlobStore, order: &StepOrder, report: Report) -> Result<Finished, Fault> {
        let outputs = if report.exit.is_success() {
            outputs::collect(blobs, order, &self.place.outputs())?
        } else {
            BTreeMap::new()
        };
        let (log, _) = blobs.put_file(&self.log())?;
        blobs.upload_all()?;
        Ok(Finished { report, outputs, log: Some(log) })
    }

    fn send_again(&self, order: &StepOrder, result: StepResult) -> Result<StepResult, PodError> {
        let Outcome::Finished(finished) = result.outcome else { return Ok(result) };
        let sent =
            self.blobs().map_err(Fault::from).and_then(|blobs| self.send(&blobs, order, finished.report));
        self.result(order, sent)
    }

    fn result(&self, order: &StepOrder, done: Result<Finished, Fault>) -> Result<StepResult, PodError> {
        let outcome = match done {
            Ok(finished) => Outcome::Finished(Box::new(finished)),
            Err(Fault::Refused(refusal)) => Outcome::Refused(refusal),
            Err(Fault::Pod(error)) => return Err(error),
        };
        Ok(StepResult {
            version: WIRE_VERSION.to_owned(),
            attempt: order.attempt.clone(),
            outcome,
            machine: self.machine.clone(),
        })
    }

    /// A new one for each order: what was sent for another order counts for nothing in this one. Its folder stays,
    /// because the outputs of one step are the inputs of the next; it is a cache, and whoever could write to it is
    /// found out by digests.
    fn blobs(&self) -> Result<BlobStore, BlobError> {
        let remote = ExchangeBlobs(self.exchange.clone());
        BlobStore::cached(&self.work.join("blobs"), Some(Box::new(remote)))
    }

    fn execute(&self, order: &StepOrder) -> Result<Report, Fault> {
        let mut running = self.settings.launcher.start(&self.spec(order))?;
        let control = running.control();
        let watch = self.exchange.on_stop(Box::new(move || control.stop(GRACE)));
        let report = running.wait();
        drop(watch);
        if self.exchange.is_stopped() {
            // It is not the step that failed: the pod is taken away from it.
            return Err(Fault::Pod(ExchangeError::Stopped.into()));
        }
        Ok(report)
    }

    /// The step on the files of this container: nothing is mounted, everything is where steps look for it.
    fn spec(&self, order: &StepOrder) -> Spec {
        let mut env = variables::of_image(self.settings.image.clone());
        env.extend(order.env.clone());
        Spec {
            env,
            isolation: Isolation::Pod,
            mounts: Vec::new(),
            stdout: self.log(),
            stderr: self.log(),
            tee: true,
            ..self.place.spec(order)
        }
    }

    fn log(&self) -> PathBuf {
        self.work.join("log")
    }

    /// Removes what an earlier order left. The folders themselves stay: in a pod they are mounts.
    fn clear(&self) -> Result<(), FileError> {
        let tmp = self.work.join("tmp");
        for folder in [self.place.code(), self.place.inputs(), self.place.outputs(), tmp] {
            clear_folder(&folder)?;
        }
        match fs::remove_file(self.log()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("remove", &self.log()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Brings everything that the order names into the folder of blobs, several blobs at a time.
fn fetch(blobs: &BlobStore, order: &StepOrder) -> Result<(), TreeError> {
    let named: BTreeSet<Digest> =
        [order.code].into_iter().chain(order.inputs.values().map(|input| input.digest)).collect();
    blobs.fetch_all(&Vec::from_iter(named))?;
    let directories = order
        .inputs
        .values()
        .filter_map(|input| match input.kind {
            ArtifactKind::Directory => Some(input.digest),
            ArtifactKind::File => None,
        })
        .chain([order.code]);
    let mut within = BTreeSet::new();
    for directory in directories {
        within.extend(tree::manifest(blobs, &directory)?.files().iter().map(|file| file.digest));
    }
    Ok(blobs.fetch_all(&Vec::from_iter(within))?)
}

fn clear_folder(folder: &Path) -> Result<(), FileError> {
    files::create_directory(folder)?;
    for entry in fs::read_dir(folder).context("list", folder)? {
        let entry = entry.context("list", folder)?;
        let path = entry.path();
        if entry.file_type().context("read", &path)?.is_dir() {
            files::remove_tree(&path)?;
        } else {
            fs::remove_file(&path).context("remove", &path)?;
        }
    }
    Ok(())
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        match ExchangeError::within(error) {
            Ok(error) => Self::Pod(error.into()),
            Err(error) => Self::refused("file", &error),
        }
    }
}

impl From<BlobError> for Fault {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::File(error) => error.into(),
            BlobError::Missing(_) => Self::refused("not-verified", &error),
            BlobError::Damaged { .. } | BlobError::Mismatch { .. } => Self::refused("tampered", &error),
        }
    }
}

impl From<TreeError> for Fault {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Blob(error) => error.into(),
            TreeError::File(error) => error.into(),
            TreeError::Name(_)
            | TreeError::Link(_)
            | TreeError::Special(_)
            | TreeError::Changed(_)
            | TreeError::Depth(_)
            | TreeError::Manifest(_) => Self::refused("data-unreadable", &error),
        }
    }
}

impl From<OutputError> for Fault {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Store(error) => error.into(),
            OutputError::Undeclared { .. } | OutputError::Missing { .. } | OutputError::Unfit { .. } => {
                Self::refused("step-output", &error)
            }
        }
    }
}

impl From<SandboxError> for Fault {
    fn from(error: SandboxError) -> Self {
        Self::refused("sandbox", &error)
    }
}

impl Fault {
    fn refused(code: &str, error: &dyn std::error::Error) -> Self {
        Self::Refused(Refusal::new(code, chain(error)))
    }
}
