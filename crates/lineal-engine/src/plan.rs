//! What must run, and why: the cache key of every step, completed step by step.
//!
//! A step's key holds the *content* of its inputs, so a key is known once the steps before it are complete. The owner
//! of a [`Plan`] asks what is ready, gets the key, decides, executes or reuses, and completes the step.

mod decision;
mod explain;
mod key;

use std::collections::{BTreeMap, BTreeSet};

use lineal_facts::json::{self, JsonError};
use lineal_facts::predicate::{Artifact, ArtifactKind};
use lineal_facts::{Digest, PipelineName, StepName};
use serde::Serialize;

pub use decision::{CachedResult, Decision, Reason, decide};
pub use explain::{Difference, explain};
pub use key::{Cpu, IMAGE_BASE, KEY_VERSION, KeyDocument, KeyError, KeyInput, KeyOutput};

use crate::pipeline::{
    DataName, Determinism, Env, EnvName, ImageReference, InputName, LabelName, LabelValue, Output,
    OutputName, ParamName, Pipeline, Probe, Quantity, ResourceName, Source, Step,
};

/// What the names in a pipeline stand for on this machine, at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Manifest digest of every snapshot.
    pub snapshots: BTreeMap<DataName, Digest>,
    /// Manifest digest of the code tree.
    pub code: Digest,
    /// Digest of every Python environment. An image's is in the pipeline.
    pub environments: BTreeMap<EnvName, Digest>,
    /// The base system: a digest, or what identifies it. Steps in images do not see it.
    pub base: String,
    /// What computes; it changes floating-point results.
    pub cpu: Cpu,
}

/// A pipeline with everything resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pipeline: PipelineName,
    seed: u64,
    resolved: Resolved,
    steps: Vec<StepPlan>,
    index: BTreeMap<StepName, usize>,
    dependents: Vec<Vec<usize>>,
    progress: Vec<Progress>,
}

/// One step to execute or to reuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepPlan {
    /// The step.
    pub name: StepName,
    /// Program and arguments.
    pub run: Vec<String>,
    /// The environment; none means the base system.
    pub environment: Option<StepEnvironment>,
    /// What it reads.
    pub inputs: BTreeMap<InputName, Source>,
    /// Its parameters as canonical JSON text: what the step reads, and what the key holds.
    pub params: BTreeMap<ParamName, String>,
    /// What it must write.
    pub outputs: BTreeMap<OutputName, Output>,
    /// How far differences between two executions are observed or removed.
    pub determinism: Determinism,
    /// Factors to probe after the step.
    pub probes: BTreeSet<Probe>,
    /// The step's own seed.
    pub seed: u32,
    /// Longest time it may take.
    pub timeout_ms: u64,
    /// What it needs of a node of a cluster.
    pub resources: BTreeMap<ResourceName, Quantity>,
    /// Labels that a node of a cluster must have.
    pub node_selector: BTreeMap<LabelName, LabelValue>,
}

/// What a step runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnvironment {
    /// Its name in the pipeline.
    pub name: EnvName,
    /// Its identity; of an image, that of its manifest.
    pub digest: Digest,
    /// The image, if it is one.
    pub image: Option<ImageReference>,
}

/// Why there is no plan, or no next step in it.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A name of the pipeline was not resolved.
    #[error("{kind}.{name} was not resolved; resolve every {kind} of the pipeline before planning")]
    Unresolved {
        /// `data` or `envs`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A step that the plan does not have.
    #[error("step `{0}` is not in the plan")]
    UnknownStep(StepName),
    /// An input's step is not complete.
    #[error("step `{step}` needs `{needs}`, which is not complete; complete that step first")]
    NotReady {
        /// The step.
        step: StepName,
        /// The reference that it reads.
        needs: String,
    },
    /// A second completion.
    #[error("step `{0}` is already complete; a plan is never changed afterwards")]
    Completed(StepName),
    /// The outputs are not those that were declared.
    #[error("step `{step}`: output `{output}` is {problem}")]
    Outputs {
        /// The step.
        step: StepName,
        /// The output.
        output: OutputName,
        /// `missing` or `not declared`.
        problem: &'static str,
    },
    /// A document has no canonical form.
    #[error("the plan cannot be written: {0}")]
    Document(#[from] JsonError),
}

#[derive(Debug, Clone, PartialEq)]
enum Progress {
    /// This many steps that it reads from are not complete.
    Waiting(usize),
    Complete {
        cache_key: Digest,
        outputs: BTreeMap<OutputName, Artifact>,
    },
}

impl Plan {
    /// Plans `pipeline` with what its names stand for. Linear in steps and inputs, but for look-ups by name.
    pub fn new(pipeline: &Pipeline, resolved: &Resolved) -> Result<Self, PlanError> {
        let steps: Vec<StepPlan> = pipeline
            .steps()
            .iter()
            .map(|step| step_plan(pipeline, step, resolved))
            .collect::<Result<_, _>>()?;
        let index: BTreeMap<_, _> =
            steps.iter().enumerate().map(|(p, step)| (step.name.clone(), p)).collect();
        let mut dependents = vec![Vec::new(); steps.len()];
        let mut progress = Vec::with_capacity(steps.len());
        for (position, step) in steps.iter().enumerate() {
            let needs: BTreeSet<usize> = step.needs().filter_map(|name| index.get(name)).copied().collect();
            progress.push(Progress::Waiting(needs.len()));
            for need in needs {
                dependents[need].push(position);
            }
        }
        Ok(Self {
            pipeline: pipeline.name.clone(),
            seed: pipeline.seed,
            resolved: resolved.clone(),
            steps,
            index,
            dependents,
            progress,
        })
    }

    /// Every step, each after those it reads from.
    pub fn steps(&self) -> &[StepPlan] {
        &self.steps
    }

    /// The step called `name`.
    pub fn step(&self, name: &StepName) -> Result<&StepPlan, PlanError> {
        Ok(&self.steps[self.position(name)?])
    }

    /// What the names of the pipeline stand for.
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The steps that are not complete and whose inputs are known, in order. Scans all steps: ask once, then take
    /// what [`Plan::complete`] returns.
    pub fn ready(&self) -> Vec<&StepPlan> {
        let both = self.steps.iter().zip(&self.progress);
        both.filter(|(_, progress)| **progress == Progress::Waiting(0)).map(|(step, _)| step).collect()
    }

    /// Whether every step is complete.
    pub fn is_complete(&self) -> bool {
        self.progress.iter().all(|progress| matches!(progress, Progress::Complete { .. }))
    }

    /// The outputs of a complete step.
    pub fn outputs(&self, name: &StepName) -> Option<&BTreeMap<OutputName, Artifact>> {
        match &self.progress[*self.index.get(name)?] {
            Progress::Waiting(_) => None,
            Progress::Complete { outputs, .. } => Some(outputs),
        }
    }

    /// The content of what `source` names, once it is known.
    pub fn content(&self, source: &Source) -> Option<KeyInput> {
        match source {
            Source::Data(name) => {
                let digest = *self.resolved.snapshots.get(name)?;
                Some(KeyInput { kind: ArtifactKind::Directory, digest })
            }
            Source::Output(reference) => {
                let artifact = self.outputs(&reference.step)?.get(&reference.output)?;
                Some(KeyInput { kind: artifact.kind, digest: artifact.digest })
            }
        }
    }

    /// Everything that determines the result of the step called `name`.
    pub fn key_document(&self, name: &StepName) -> Result<KeyDocument, PlanError> {
        let step = self.step(name)?;
        let mut inputs = BTreeMap::new();
        for (input, source) in &step.inputs {
            let Some(content) = self.content(source) else {
                return Err(PlanError::NotReady { step: name.clone(), needs: source.to_string() });
            };
            inputs.insert(input.clone(), content);
        }
        Ok(KeyDocument::new(step, &self.resolved, inputs))
    }

    /// Records what a step made (executed or reused) and returns the steps that became ready by it, in order.
    pub fn complete(
        &mut self,
        name: &StepName,
        outputs: BTreeMap<OutputName, Artifact>,
    ) -> Result<Vec<StepName>, PlanError> {
        let position = self.position(name)?;
        let step = &self.steps[position];
        if matches!(self.progress[position], Progress::Complete { .. }) {
            return Err(PlanError::Completed(name.clone()));
        }
        let wrong = |output: &OutputName, problem| {
            Err(PlanError::Outputs { step: name.clone(), output: output.clone(), problem })
        };
        if let Some(missing) = step.outputs.keys().find(|output| !outputs.contains_key(*output)) {
            return wrong(missing, "missing");
        }
        if let Some(extra) = outputs.keys().find(|output| !step.outputs.contains_key(*output)) {
            return wrong(extra, "not declared");
        }
        let cache_key = self.key_document(name)?.cache_key()?;
        self.progress[position] = Progress::Complete { cache_key, outputs };
        let mut ready = Vec::new();
        for dependent in &self.dependents[position] {
            if let Progress::Waiting(count) = &mut self.progress[*dependent] {
                *count -= 1;
                if *count == 0 {
                    ready.push(self.steps[*dependent].name.clone());
                }
            }
        }
        Ok(ready)
    }

    /// The whole run as one document: what was asked for, and the cache key of every step that is complete. The
    /// digest of its bytes identifies the plan; it is final once the plan is complete.
    pub fn document(&self) -> PlanDocument {
        let steps = self.steps.iter().zip(&self.progress).map(|(step, progress)| {
            let cache_key = match progress {
                Progress::Waiting(_) => None,
                Progress::Complete { cache_key, .. } => Some(*cache_key),
            };
            (step.name.clone(), PlannedStep::new(step, &self.resolved, cache_key))
        });
        PlanDocument {
            version: "1".to_owned(),
            pipeline: self.pipeline.clone(),
            seed: self.seed.to_string(),
            code: self.resolved.code,
            base: self.base().to_owned(),
            cpu: self.resolved.cpu.clone(),
            steps: steps.collect(),
        }
    }

    /// The base system, if a step sees it: a plan in images only is the same on every machine.
    fn base(&self) -> &str {
        let sees_none = !self.steps.is_empty() && self.steps.iter().all(|step| step.image().is_some());
        if sees_none { IMAGE_BASE } else { &self.resolved.base }
    }

    fn position(&self, name: &StepName) -> Result<usize, PlanError> {
        self.index.get(name).copied().ok_or_else(|| PlanError::UnknownStep(name.clone()))
    }
}

impl StepPlan {
    /// The image that it runs in, if it does.
    pub fn image(&self) -> Option<&ImageReference> {
        self.environment.as_ref()?.image.as_ref()
    }

    /// The steps that it reads from; one may occur more than once.
    fn needs(&self) -> impl Iterator<Item = &StepName> {
        self.inputs.values().filter_map(|source| match source {
            Source::Data(_) => None,
            Source::Output(reference) => Some(&reference.step),
        })
    }
}

/// A run's plan, version 1. Numbers are strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDocument {
    /// Format version, `1`.
    pub version: String,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The root seed.
    pub seed: String,
    /// Manifest digest of the code tree.
    pub code: Digest,
    /// The base system; [`IMAGE_BASE`] if every step runs in an image.
    pub base: String,
    /// What computes.
    pub cpu: Cpu,
    /// Steps by name.
    pub steps: BTreeMap<StepName, PlannedStep>,
}

/// A step in a [`PlanDocument`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Digest of the key document, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<Digest>,
    /// Program and arguments.
    pub run: Vec<String>,
    /// Digest of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Digest>,
    /// References by input name.
    pub inputs: BTreeMap<InputName, String>,
    /// Digests of the snapshots among the inputs.
    pub snapshots: BTreeMap<InputName, Digest>,
    /// Canonical JSON text by name.
    pub parameters: BTreeMap<ParamName, String>,
    /// Declared outputs.
    pub outputs: BTreeMap<OutputName, KeyOutput>,
    /// `off`, `observe` or `strict`.
    pub determinism: Determinism,
    /// Factors to probe.
    pub probes: BTreeSet<Probe>,
    /// The step's own seed.
    pub seed: String,
    /// Longest time it may take.
    pub timeout_ms: String,
    /// What it needs of a node of a cluster.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<ResourceName, Quantity>,
    /// Labels that a node of a cluster must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<LabelName, LabelValue>,
}

impl PlanDocument {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }

    /// The identity of the plan: digest of [`PlanDocument::to_bytes`].
    pub fn digest(&self) -> Result<Digest, JsonError> {
        Ok(Digest::of(&self.to_bytes()?))
    }
}

impl PlannedStep {
    fn new(step: &StepPlan, resolved: &Resolved, cache_key: Option<Digest>) -> Self {
        let snapshot = |source: &Source| match source {
            Source::Data(name) => resolved.snapshots.get(name).copied(),
            Source::Output(_) => None,
        };
        let snapshots = step.inputs.iter().filter_map(|(name, s)| Some((name.clone(), snapshot(s)?)));
        Self {
            cache_key,
            run: step.run.clone(),
            environment: step.environment.as_ref().map(|environment| environment.digest),
            inputs: step.inputs.iter().map(|(name, source)| (name.clone(), source.to_string())).collect(),
            snapshots: snapshots.collect(),
            parameters: step.params.clone(),
            outputs: step.outputs.iter().map(|(name, output)| (name.clone(), output.into())).collect(),
            determinism: step.determinism,
            probes: step.probes.clone(),
            seed: step.seed.to_string(),
            timeout_ms: step.timeout_ms.to_string(),
            resources: step.resources.clone(),
            node_selector: step.node_selector.clone(),
        }
    }
}

/// The seed of the step called `name`: the first 4 bytes, big-endian, of the SHA-256 of `lineal/step-seed/v1`, the root
/// seed and the name, each on a line of its own.
pub fn step_seed(root: u64, name: &StepName) -> u32 {
    let digest = Digest::of(format!("lineal/step-seed/v1\n{root}\n{name}").as_bytes());
    let [a, b, c, d, ..] = *digest.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn step_plan(pipeline: &Pipeline, step: &Step, resolved: &Resolved) -> Result<StepPlan, PlanError> {
    let environment = match &step.env {
        None => None,
        Some(name) => Some(step_environment(pipeline, name, resolved)?),
    };
    for source in step.inputs.values() {
        match source {
            Source::Data(name) if !resolved.snapshots.contains_key(name) => {
                return Err(PlanError::Unresolved { kind: "data", name: name.to_string() });
            }
            Source::Data(_) | Source::Output(_) => {}
        }
    }
    // Every listed parameter is declared: `Pipeline` has checked it.
    let params = step.params.iter().filter_map(|name| {
        let value = pipeline.params.get(name)?;
        Some((name.clone(), value.canonical().to_owned()))
    });
    Ok(StepPlan {
        name: step.name.clone(),
        run: step.run.clone(),
        environment,
        inputs: step.inputs.clone(),
        params: params.collect(),
        outputs: step.outputs.clone(),
        determinism: step.determinism,
        probes: step.probes.clone(),
        seed: step_seed(pipeline.seed, &step.name),
        timeout_ms: step.timeout_ms,
        resources: step.resources.clone(),
        node_selector: step.node_selector.clone(),
    })
}

fn step_environment(
    pipeline: &Pipeline,
    name: &EnvName,
    resolved: &Resolved,
) -> Result<StepEnvironment, PlanError> {
    let found = match pipeline.envs.get(name) {
        Some(Env::Image(image)) => Some((image.digest(), Some(image.clone()))),
        Some(Env::Python(_)) => resolved.environments.get(name).map(|digest| (*digest, None)),
        None => None,
    };
    match found {
        Some((digest, image)) => Ok(StepEnvironment { name: name.clone(), digest, image }),
        None => Err(PlanError::Unresolved { kind: "envs", name: name.to_string() }),
    }
}

#[cfg(test)]
mod tests;
