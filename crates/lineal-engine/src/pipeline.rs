//! The pipeline file: what a person writes, parsed once.
//!
//! Format: `apiVersion: lineal.dev/v1alpha1`, `kind: Pipeline`. A [`Pipeline`] that exists is consistent: every
//! reference is declared, steps are in an order in which they can run, paths stay inside the project.

mod check;
mod duration;
mod file;
mod image;
mod name;
mod order;
mod overrides;
mod param;
mod resources;
pub(crate) mod suggest;
mod text;
pub(crate) mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lineal_facts::{GateName, PipelineName, SnapshotRef, StepName};
use serde::{Deserialize, Serialize, Serializer};

pub use duration::{DURATION_LIMIT_MS, DurationError, parse_ms};
pub use image::{IMAGE_NAME_LIMIT_BYTES, ImageReference, ImageReferenceError};
pub use name::{DataName, EnvName, InputName, OutputName, ParamName};
pub use overrides::{Override, OverrideError};
pub use param::{LIST_LIMIT, ParamError, ParamValue};
pub use resources::{LabelName, LabelValue, Quantity, ResourceName};
pub use text::TextError;
pub use yaml::{API_VERSION, FILE_LIMIT_BYTES, YamlError};

use crate::gate::Expectations;

/// Most steps in a pipeline.
pub const STEP_LIMIT: usize = 20_000;
/// Most elements of a command.
pub const ARGUMENT_LIMIT: usize = 1000;
/// How long a step may take that says nothing.
pub const DEFAULT_TIMEOUT_MS: u64 = 3_600_000;
/// How long a server may take to become ready that says nothing.
pub const DEFAULT_READY_TIMEOUT_MS: u64 = 60_000;

/// A checked pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// `metadata.name`.
    pub name: PipelineName,
    /// The root seed; every step's seed is derived from it. 0 if the file says nothing.
    pub seed: u64,
    /// Parameters; a step gets those it lists.
    pub params: BTreeMap<ParamName, ParamValue>,
    /// Snapshots that steps read.
    pub data: BTreeMap<DataName, SnapshotRef>,
    /// Software environments.
    pub envs: BTreeMap<EnvName, Env>,
    /// Files and directories, relative to the file, that are frozen as one tree and given to every step.
    pub code: Vec<String>,
    /// Tests with verdicts.
    pub gates: BTreeMap<GateName, Gate>,
    /// How the model is served.
    pub serve: Option<Serve>,
    steps: Vec<Step>,
    index: BTreeMap<StepName, usize>,
}

/// Where a software environment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Env {
    /// A Python virtual environment, in a folder relative to the file.
    Python(String),
    /// An image; the step sees its files in place of the base system's.
    Image(ImageReference),
}

/// One action: a command from inputs to outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Unique within the pipeline.
    pub name: StepName,
    /// Program and arguments; no shell.
    pub run: Vec<String>,
    /// The environment; without one the step runs on the base system.
    pub env: Option<EnvName>,
    /// What it reads.
    pub inputs: BTreeMap<InputName, Source>,
    /// Names of the parameters it gets.
    pub params: BTreeSet<ParamName>,
    /// What it must write. Never empty.
    pub outputs: BTreeMap<OutputName, Output>,
    /// Longest time it may take.
    pub timeout_ms: u64,
    /// What it needs of a node of a cluster. Of memory, storage and extended resources it gets no more.
    pub resources: BTreeMap<ResourceName, Quantity>,
    /// Labels that a node of a cluster must have.
    pub node_selector: BTreeMap<LabelName, LabelValue>,
    /// How far differences between two executions are observed or removed.
    pub determinism: Determinism,
    /// Factors that are changed in one more execution each, whose outputs are compared.
    pub probes: BTreeSet<Probe>,
}

/// What an input is read from. Written `data.NAME` or `STEP.OUTPUT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A snapshot of [`Pipeline::data`].
    Data(DataName),
    /// An output of another step.
    Output(OutputRef),
}

/// An output of a step. Written `STEP.OUTPUT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputRef {
    /// The step.
    pub step: StepName,
    /// Its output.
    pub output: OutputName,
}

/// A declared output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// File or directory, relative to the step's output directory.
    pub path: String,
    /// How it is read.
    #[serde(rename = "as")]
    pub kind: OutputKind,
}

/// How an output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// Bytes that Lineal does not look into.
    Artifact,
    /// A JSON report, which gates can test.
    Metrics,
}

/// How far differences between two executions are observed or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Determinism {
    /// Neither.
    Off,
    /// Requests for randomness are counted and reported.
    Observe,
    /// Randomness and the clock are replaced by keyed ones.
    Strict,
}

/// A factor that is changed to see whether outputs depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Another stream of random bytes.
    Entropy,
}

/// A test with a verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "type")]
pub enum Gate {
    /// A data contract holds on a table.
    Contract {
        /// The contract's file, relative to the pipeline file.
        contract: String,
        /// What is tested.
        on: Source,
    },
    /// A JSON report meets expectations.
    Metrics {
        /// An output declared `as: metrics`.
        metrics: OutputRef,
        /// Bounds by path.
        expect: Expectations,
    },
    /// The served model answers sample requests; its report (`errors`, `latency_p99_ms`...) meets expectations.
    Inference {
        /// The model that is served.
        model: OutputRef,
        /// One request a line.
        requests: Source,
        /// Bounds by path.
        expect: Expectations,
    },
}

/// How the model is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Serve {
    /// The output that is registered and served.
    pub model: OutputRef,
    /// Program and arguments; the working directory is the model's directory.
    pub run: Vec<String>,
    /// The environment that the server runs in.
    pub env: EnvName,
    /// The output tensor that is the prediction.
    pub output: String,
    /// How long it may take to become ready.
    pub ready_timeout_ms: u64,
}

/// Why a file is not a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// The file cannot be read as a pipeline file at all.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A name that is not declared.
    #[error("{at}: {kind} `{name}` is not declared{hint}")]
    Unknown {
        /// The field, as `steps.train.in.train`.
        at: String,
        /// `data`, `step`, `output`, `param` or `env`.
        kind: &'static str,
        /// The name.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// Steps that need each other.
    #[error("steps: {0} (each reads from the next one); remove one of these inputs")]
    Cycle(String),
    /// A field whose value cannot be.
    #[error("{at}: {reason}")]
    Invalid {
        /// The field.
        at: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl Pipeline {
    /// Reads and checks a pipeline file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PipelineError> {
        check::pipeline(yaml::read(bytes, "Pipeline")?)
    }

    /// The steps, each after those it reads from; otherwise in the order of the file.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The step called `name`.
    pub fn step(&self, name: &StepName) -> Option<&Step> {
        self.index.get(name).and_then(|position| self.steps.get(*position))
    }

    /// The declared output that `reference` names.
    pub fn output(&self, reference: &OutputRef) -> Option<&Output> {
        self.step(&reference.step)?.outputs.get(&reference.output)
    }

    /// The pipeline with values from the command line in place of those of the file.
    pub fn with_overrides(self, overrides: &[Override]) -> Result<Self, OverrideError> {
        overrides::apply(self, overrides)
    }

    /// What is declared and never used, as sentences: allowed, but rarely meant.
    pub fn warnings(&self) -> Vec<String> {
        let sources =
            self.steps.iter().flat_map(|s| s.inputs.values()).chain(self.gates.values().filter_map(|gate| {
                match gate {
                    Gate::Contract { on, .. } => Some(on),
                    Gate::Inference { requests, .. } => Some(requests),
                    Gate::Metrics { .. } => None,
                }
            }));
        let data: BTreeSet<&str> = sources
            .filter_map(|source| match source {
                Source::Data(name) => Some(name.as_str()),
                Source::Output(_) => None,
            })
            .collect();
        let params: BTreeSet<&str> =
            self.steps.iter().flat_map(|s| &s.params).map(ParamName::as_str).collect();
        let served = self.serve.iter().map(|s| &s.env);
        let envs: BTreeSet<&str> =
            self.steps.iter().filter_map(|s| s.env.as_ref()).chain(served).map(EnvName::as_str).collect();
        let unused = |kind: &str, names: Vec<&str>, used: &BTreeSet<&str>| -> Vec<String> {
            let rest = names.into_iter().filter(|name| !used.contains(name));
            rest.map(|name| format!("{kind}.{name} is declared, but nothing uses it")).collect()
        };
        let mut warnings = unused("params", self.params.keys().map(ParamName::as_str).collect(), &params);
        warnings.extend(unused("data", self.data.keys().map(DataName::as_str).collect(), &data));
        warnings.extend(unused("envs", self.envs.keys().map(EnvName::as_str).collect(), &envs));
        warnings
    }
}

impl Determinism {
    /// `off`, `observe` or `strict`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(name) => write!(f, "data.{name}"),
            Self::Output(reference) => write!(f, "{reference}"),
        }
    }
}

impl fmt::Display for OutputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.step, self.output)
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for OutputRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
