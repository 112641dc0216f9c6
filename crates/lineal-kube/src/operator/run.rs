//! One `PipelineRun`, from its object to its seal.
//!
//! Guarantees: what the run is made of is fixed when it is first seen, in a file beside the ledger, so that an edit of
//! the `Pipeline` meanwhile changes nothing and a start of the operator goes on with the same. The status only tells:
//! nothing is read from it but that the run is over. It ends when it is sealed, when a step fails, or when the object
//! is deleted, which drops it. A status that somebody removes is told again.

use std::sync::Mutex;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Resource, ResourceExt};
use lineal_app::definition::{self, Loaded, Submitted};
use lineal_app::environment;
use lineal_app::run::{Identity, RunOutcome, StepEvent, drive};
use lineal_app::{Code, Failure, now};
use lineal_blob::files;
use lineal_facts::{Digest, RunId, StepName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::Operator;
use super::executor::{ClusterExecutor, cluster};
use super::status;
use crate::resource::{Determinism, Pipeline, PipelineRun, PipelineRunStatus, RunPhase};

/// Largest file of a beginning.
const BEGUN_LIMIT_BYTES: u64 = 4 << 20;
/// What changes within this time is told at once: the end of a step and the beginning of the next one.
const GATHER: Duration = Duration::from_millis(25);
/// Pauses before a status is told again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest note of an event.
const NOTE_LIMIT: usize = 1000;

/// What a run is made of, as it was when the run was first seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Begun {
    version: String,
    /// Blob with the pipeline.
    pipeline: Digest,
    overrides: Vec<String>,
    source: Option<Digest>,
    run: RunId,
    started_at: Timestamp,
    /// The last status, once the run is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over: Option<Box<PipelineRunStatus>>,
}

/// Drives the run. Returns when it is over and its status says so.
pub(super) async fn run(operator: &Operator, object: PipelineRun) -> Result<(), Failure> {
    let (sender, receiver) = watch::channel(object.status.clone().unwrap_or_default());
    let told = tell(operator, &object, receiver);
    let driven = async {
        let begun = match written(operator, &object)? {
            Some(Begun { over: Some(over), .. }) => {
                sender.send_replace(*over);
                return Ok(());
            }
            begun => begun,
        };
        let outcome = driven(operator, &object, begun, &sender).await;
        sender.send_modify(|status| match &outcome {
            Ok(outcome) => status::succeeded(status, outcome, now()),
            Err(failure) => {
                status.observed_generation = object.meta().generation;
                status::failed(status, failure, now());
            }
        });
        if let Some(begun) = written(operator, &object)? {
            write(operator, &object, &Begun { over: Some(Box::new(sender.borrow().clone())), ..begun })?;
        }
        let phase = sender.borrow().phase;
        operator.metrics.run_ended(phase);
        super::pipelines::last_run(operator, &object, phase.unwrap_or(RunPhase::Error)).await;
        event(operator, &object, &outcome).await;
        // Ends the teller, after it has told this.
        drop(sender);
        Ok(())
    };
    let (outcome, ()) = tokio::join!(driven, told);
    outcome
}

async fn driven(
    operator: &Operator,
    object: &PipelineRun,
    begun: Option<Begun>,
    sender: &watch::Sender<PipelineRunStatus>,
) -> Result<RunOutcome, Failure> {
    let (begun, loaded) = begin(operator, object, begun).await?;
    let steps: Vec<StepName> = loaded.plan.steps().iter().map(|step| step.name.clone()).collect();
    sender.send_replace(status::begun(object, &begun.run, &begun.pipeline, &steps, now()));
    operator.metrics.run_begun();
    super::pipelines::last_run(operator, object, RunPhase::Running).await;
    let began = |step: &str, job: &str| {
        operator.metrics.job_made();
        sender.send_modify(|status| status::job_made(status, step, job, now()));
    };
    let tell = |event: StepEvent| match event {
        StepEvent::Began(_) => {}
        StepEvent::Done(outcome) => {
            operator.metrics.step_done(outcome.reused, outcome.wall_ms);
            sender.send_modify(|status| status::step_done(status, &outcome, now()));
        }
        StepEvent::Failed(step, failure) => {
            operator.metrics.step_failed();
            sender.send_modify(|status| status::step_failed(status, &step, &failure, now()));
        }
    };
    let executor = ClusterExecutor { operator, run: object, attempts: Mutex::default(), began: &began };
    let identity = Identity { run: begun.run, started_at: begun.started_at };
    let outcome = drive(&operator.project, loaded, &identity, &executor, &tell).await;
    // Everything that was taken is in the ledger now, or of no use.
    for attempt in executor.attempts.into_inner().unwrap_or_default() {
        operator.exchange.forget(&attempt)?;
    }
    outcome
}

/// What the run is made of: as it was written down when it was first seen, else as it is now.
async fn begin(
    operator: &Operator,
    object: &PipelineRun,
    begun: Option<Begun>,
) -> Result<(Begun, Loaded), Failure> {
    if let Some(begun) = begun {
        let pipeline = operator.project.store.blobs().read(&begun.pipeline)?;
        let loaded = load(operator, &pipeline, &begun.overrides, begun.source).await?;
        return Ok((begun, loaded));
    }
    let namespace = object.namespace().unwrap_or_default();
    let pipelines: Api<Pipeline> = Api::namespaced(operator.client.clone(), &namespace);
    let name = &object.spec.pipeline;
    let pipeline = pipelines.get_opt(name).await.map_err(|e| cluster(&e))?.ok_or_else(|| {
        let text =
            format!("there is no Pipeline `{name}` in the namespace `{namespace}`; apply it, and run again");
        Failure::new(Code::NotFound, text)
    })?;
    let overrides = overrides(object);
    let bytes = pipeline.file();
    let source = object.spec.source.as_deref().map(str::parse::<Digest>).transpose();
    let source = source.map_err(|e| Failure::caused(Code::Pipeline, &e))?;
    let loaded = load(operator, &bytes, &overrides, source).await?;
    let started_at = created(object);
    let nonce = Digest::of(object.uid().unwrap_or_default().as_bytes());
    let nonce = nonce.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let begun = Begun {
        version: "1".to_owned(),
        pipeline: Digest::of(&bytes),
        overrides,
        source,
        run: RunId::derive(&loaded.definition_digest, started_at, nonce),
        started_at,
        over: None,
    };
    operator.project.store.blobs().sync()?;
    write(operator, object, &begun)?;
    Ok((begun, loaded))
}

fn written(operator: &Operator, object: &PipelineRun) -> Result<Option<Begun>, Failure> {
    let path = operator.begun_path(&object.uid().unwrap_or_default());
    if !path.exists() {
        return Ok(None);
    }
    let bytes = files::read_limited(&path, BEGUN_LIMIT_BYTES)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Failure::caused(Code::Internal, &e))
}

fn write(operator: &Operator, object: &PipelineRun, begun: &Begun) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(begun).map_err(|e| Failure::caused(Code::Internal, &e))?;
    Ok(files::replace(&operator.begun_path(&object.uid().unwrap_or_default()), &bytes)?)
}

async fn load(
    operator: &Operator,
    bytes: &[u8],
    overrides: &[String],
    source: Option<Digest>,
) -> Result<Loaded, Failure> {
    let submitted = Submitted { bytes, overrides, source, cpu: environment::cpu() };
    definition::submitted(&operator.project, &submitted).await
}

/// What the spec says, as the command line would.
fn overrides(object: &PipelineRun) -> Vec<String> {
    let spec = &object.spec;
    let seed = spec.seed.map(|seed| format!("seed={seed}"));
    let determinism = spec.determinism.map(|mode| {
        let word = match mode {
            Determinism::Off => "off",
            Determinism::Observe => "observe",
            Determinism::Strict => "strict",
        };
        format!("determinism={word}")
    });
    spec.set.iter().cloned().chain(seed).chain(determinism).collect()
}

fn created(object: &PipelineRun) -> Timestamp {
    let created = object.meta().creation_timestamp.as_ref();
    created.map_or_else(now, |time| Timestamp::from_unix_ms(time.0.as_millisecond()))
}

/// Patches the status whenever it changed. What changes while a patch is under way goes into the next one.
async fn tell(operator: &Operator, object: &PipelineRun, mut status: watch::Receiver<PipelineRunStatus>) {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<PipelineRun> = Api::namespaced(operator.client.clone(), &namespace);
    let name = object.name_any();
    while status.changed().await.is_ok() {
        tokio::time::sleep(GATHER).await;
        let mut pause = FIRST_PAUSE;
        loop {
            let patch = Patch::Merge(json!({"status": &*status.borrow_and_update()}));
            match api.patch_status(&name, &PatchParams::default(), &patch).await {
                Ok(_) => break,
                // Deleted meanwhile: nobody is left to be told.
                Err(kube::Error::Api(answer)) if answer.code == 404 => return,
                Err(error) => {
                    (operator.complain)(&format!("the status of {name} cannot be told: {error}"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// How the run ended, for `kubectl describe`.
async fn event(operator: &Operator, object: &PipelineRun, outcome: &Result<RunOutcome, Failure>) {
    let (type_, reason, note) = match outcome {
        Ok(outcome) if outcome.unchanged => {
            (EventType::Normal, "RunUnchanged", format!("{} has exactly these results", outcome.run))
        }
        Ok(outcome) => (EventType::Normal, "RunSealed", format!("{} in {}", outcome.run, outcome.statement)),
        Err(failure) => (EventType::Warning, "RunFailed", failure.message.clone()),
    };
    let recorder = Recorder::new(operator.client.clone(), super::reporter());
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(NOTE_LIMIT).collect()),
        action: "Run".to_owned(),
        secondary: None,
    };
    // An event is a courtesy: the status has it all.
    if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
        (operator.complain)(&format!("an event cannot be published: {error}"));
    }
}
