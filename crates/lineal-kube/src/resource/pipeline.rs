//! `Pipeline`: the file that `lineal run` takes is the object that `kubectl apply` takes, byte for byte.
//!
//! So its fields are at the top of the object and not under `spec`, which the derive macro of kube cannot say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::{NamespaceResourceScope, ObjectMeta, Rule};
use lineal_engine::pipeline::PipelineError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{GROUP, VERSION, schema};

/// Steps from data to a model, with gates: what `lineal run` takes and what the cluster runs as Jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = root_rules()))]
pub struct Pipeline {
    /// `lineal.dev/v1alpha1`.
    #[schemars(skip)]
    pub api_version: String,
    /// `Pipeline`.
    #[schemars(skip)]
    pub kind: String,
    /// The object's name is the pipeline's name.
    #[schemars(skip)]
    pub metadata: ObjectMeta,
    /// The root seed; every step's seed is derived from it. 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seed: Option<i64>,
    /// Parameters by name: strings, finite numbers, booleans, or lists of these. A step gets those that it lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, schema::ParamValue>", extend("maxProperties" = 1000))]
    pub params: BTreeMap<String, Value>,
    /// Snapshots that steps read, by the name that inputs use: `dataset://NAME@TAG` or `dataset://NAME@sha256:HEX`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, schema::DatasetUri>",
        extend("maxProperties" = 256, "x-kubernetes-validations" = local_names("data"))
    )]
    pub data: BTreeMap<String, String>,
    /// Software environments by the name that steps use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "x-kubernetes-validations" = local_names("envs")))]
    pub envs: BTreeMap<String, PipelineEnv>,
    /// Files and folders, relative to the file, that are frozen as one tree and given to every step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        with = "Vec<schema::Folder>",
        length(max = 64),
        extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = code_rules())
    )]
    pub code: Vec<String>,
    /// How far differences between two executions are observed or removed; `observe` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub determinism: Option<Determinism>,
    /// The steps by name. Their order follows from what they read.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1024, "x-kubernetes-validations" = step_names()))]
    pub steps: BTreeMap<String, PipelineStep>,
    /// Tests with verdicts, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128, "x-kubernetes-validations" = labels("gates")))]
    pub gates: BTreeMap<String, PipelineGate>,
    /// How the model is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<PipelineServe>,
    /// What the cluster last saw. Made from the ledger; it can be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PipelineStatus>,
}

/// Where a software environment is; exactly one kind of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new("has(self.python) != has(self.image)").message(
    "an environment is exactly one of {python: FOLDER} or {image: NAME@sha256:HEX}"
)]))]
pub struct PipelineEnv {
    /// A Python virtual environment, relative to the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Folder>")]
    pub python: Option<String>,
    /// An image by the digest of its manifest: `NAME@sha256:HEX`. A tag alone may move and is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::ImageReference>")]
    pub image: Option<String>,
}

/// One action: a command from inputs to outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
    "!has(self.probe) || self.probe.size() == 0 || !has(self.determinism) || self.determinism != 'off'"
).message("a probe needs `determinism: observe` or `strict`")]))]
pub struct PipelineStep {
    /// Program and arguments; no shell around them.
    #[schemars(
        with = "Vec<schema::Argument>",
        length(min = 1, max = 1000),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = command_rules())
    )]
    pub run: Vec<String>,
    /// The environment, by its name under `envs`; without one the step runs on the base system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::LocalName>")]
    pub env: Option<String>,
    /// What it reads: `data.NAME` or `STEP.OUTPUT`, by the name of the file that it finds.
    #[serde(default, rename = "in", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, schema::Source>",
        extend("maxProperties" = 64, "x-kubernetes-validations" = local_names("in"))
    )]
    pub inputs: BTreeMap<String, String>,
    /// The parameters that it gets, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<schema::ParamName>", length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub params: Vec<String>,
    /// What it must write, by the name that others read: a path below the output directory, or `path` and `as`.
    #[schemars(
        with = "BTreeMap<String, schema::Output>",
        extend("minProperties" = 1, "maxProperties" = 64)
    )]
    pub out: BTreeMap<String, Value>,
    /// The longest time that it may take: `500ms`, `30s`, `10m`, `1h`; one hour if absent, at most 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Duration>", extend("x-kubernetes-validations" = duration_rules()))]
    pub timeout: Option<String>,
    /// What it needs of a node: `cpu`, `memory`, `ephemeral-storage`, or an extended resource. Of all but `cpu` it gets no
    /// more than that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, schema::Quantity>",
        extend("maxProperties" = 16, "x-kubernetes-validations" = resource_rules())
    )]
    pub resources: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(default, rename = "node_selector", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, schema::LabelValue>",
        extend("maxProperties" = 16, "x-kubernetes-validations" = label_rules())
    )]
    pub node_selector: BTreeMap<String, String>,
    /// How far differences between two executions are observed or removed; as for the pipeline if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub determinism: Option<Determinism>,
    /// Factors that are changed in one more execution each, whose outputs are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub probe: Vec<Probe>,
}

/// How far differences between two executions are observed or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Determinism {
    /// Neither.
    Off,
    /// Requests for randomness are counted and reported.
    Observe,
    /// Randomness and the clock are replaced by keyed ones.
    Strict,
}

/// A factor that is changed to see whether outputs depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Another stream of random bytes.
    Entropy,
}

/// A test with a verdict: exactly one of {contract, on}, {metrics, expect} or {model, requests, expect}.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(GATE_RULE).message(
    "a gate is exactly one of {contract, on}, {metrics, expect} or {model, requests, expect}"
)]))]
pub struct PipelineGate {
    /// A data contract's file, relative to the pipeline's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::RelativePath>")]
    pub contract: Option<String>,
    /// What the contract is tested on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Source>")]
    pub on: Option<String>,
    /// `on`, as kubectl sends it: in YAML 1.1 a plain `on` is the boolean true.
    #[serde(default, rename = "true", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Source>")]
    pub on_as_true: Option<String>,
    /// An output declared `as: metrics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::OutputReference>")]
    pub metrics: Option<String>,
    /// The model that is started and asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::OutputReference>")]
    pub model: Option<String>,
    /// The requests that it is asked, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Source>")]
    pub requests: Option<String>,
    /// Bounds by path in the report: `auc`, `slices.carrier.*.auc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 128, "x-kubernetes-validations" = path_rules()))]
    pub expect: Option<BTreeMap<String, ExpectedBound>>,
}

/// What a number must be; both bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("has(self.min) || has(self.max)").message("an expectation needs `min` or `max`"),
    Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max")
        .message("`min` is larger than `max`, so nothing can pass; swap them"),
]))]
pub struct ExpectedBound {
    /// The least that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The fewest rows (the `rows` beside the metric) that a slice must have to be tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_rows: Option<i64>,
}

/// How the model is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineServe {
    /// The output that is registered and served; a directory.
    #[schemars(with = "schema::OutputReference")]
    pub model: String,
    /// Program and arguments; the working directory is the model's.
    #[schemars(
        with = "Vec<schema::Argument>",
        length(min = 1, max = 1000),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = command_rules())
    )]
    pub run: Vec<String>,
    /// The environment that the server runs in, by its name under `envs`.
    #[schemars(with = "schema::LocalName")]
    pub env: String,
    /// The output tensor whose first number is the prediction.
    #[schemars(with = "schema::Line")]
    pub output: String,
    /// How long it may take to become ready; `60s` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Duration>", extend("x-kubernetes-validations" = duration_rules()))]
    pub ready_timeout: Option<String>,
}

/// What the cluster last saw of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineStatus {
    /// The generation that the rest of the status is about.
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Ready`: whether the file is a pipeline; if not, the message is what `lineal plan` would say.
    #[schemars(with = "schema::Conditions")]
    pub conditions: Vec<Condition>,
    /// The number of steps.
    #[schemars(range(min = 0))]
    pub steps: Option<i64>,
    /// The latest run.
    pub last_run: Option<RunSummary>,
}

/// A run in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// The name of the `PipelineRun`.
    #[schemars(with = "schema::ObjectName")]
    pub name: String,
    /// How it stands.
    #[schemars(with = "schema::Line")]
    pub phase: String,
}

const GATE_RULE: &str = "has(self.contract) ? has(self.on) != has(self.__true__) && !has(self.metrics) && \
                         !has(self.model) && !has(self.requests) && !has(self.expect) \
                         : !has(self.on) && !has(self.__true__) && has(self.expect) && \
                         (has(self.metrics) ? !has(self.model) && !has(self.requests) \
                         : has(self.model) && has(self.requests))";

impl Pipeline {
    /// The pipeline that the object means: the object without its status and all metadata but the name, read by the
    /// parser of files. What that refuses, it refuses here in the same words.
    ///
    /// Kubernetes keeps no order of keys, so steps that do not depend on each other are in the order of their names.
    pub fn parse(&self) -> Result<lineal_engine::pipeline::Pipeline, PipelineError> {
        lineal_engine::pipeline::Pipeline::parse(&self.file())
    }

    /// The file that the object means, as JSON: the same bytes for every object that means the same.
    pub fn file(&self) -> Vec<u8> {
        let mut file = self.clone();
        file.status = None;
        file.metadata = ObjectMeta { name: self.metadata.name.clone(), ..ObjectMeta::default() };
        for gate in file.gates.values_mut().filter(|gate| gate.on.is_none()) {
            gate.on = gate.on_as_true.take();
        }
        // Maps with texts as keys, and numbers that came from JSON: serialisation cannot refuse them.
        serde_json::to_vec(&file).unwrap_or_default()
    }
}

impl kube::Resource for Pipeline {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pipeline".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pipelines".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// References are looked up where all names can be seen. What `out` and `params` declare cannot be seen here, because
/// their values are of more than one type; the parser looks there.
fn root_rules() -> Vec<Rule> {
    const STEP: &str = "an input reads something that is not declared; write `data.NAME` of a name under `data`, or \
                        `STEP.OUTPUT` of a step of this pipeline";
    const GATE: &str = "a gate reads something that is not declared; write `data.NAME` of a name under `data`, or \
                        `STEP.OUTPUT` of a step of this pipeline";
    let known = |text: &str| {
        format!(
            "({text}.startsWith('data.') ? has(self.data) && {text}.substring(5) in self.data \
             : {text}.substring(0, {text}.indexOf('.')) in self.steps)"
        )
    };
    let step_of = |text: &str| format!("{text}.substring(0, {text}.indexOf('.')) in self.steps");
    let of_gates = |field: &str, holds: String| {
        Rule::new(format!("!has(self.gates) || self.gates.all(g, !has(self.gates[g].{field}) || {holds})"))
    };
    vec![
        Rule::new(format!(
            "self.steps.all(s, !has(self.steps[s].__in__) || self.steps[s].__in__.all(i, {}))",
            known("self.steps[s].__in__[i]")
        ))
        .message(STEP),
        Rule::new(
            "self.steps.all(s, !has(self.steps[s].__in__) || self.steps[s].__in__.all(i, \
             !self.steps[s].__in__[i].startsWith(s + '.')))",
        )
        .message("a step reads its own output; remove that input, or name another step"),
        Rule::new(
            "self.steps.all(s, !has(self.steps[s].env) || (has(self.envs) && self.steps[s].env in self.envs))",
        )
        .message("a step's `env` is not declared; add it under `envs`, or use a name from there"),
        Rule::new(
            "!has(self.determinism) || self.determinism != 'off' || self.steps.all(s, !has(self.steps[s].probe) || \
             self.steps[s].probe.size() == 0 || has(self.steps[s].determinism))",
        )
        .message("a probe needs `determinism: observe` or `strict`, of its step or of the pipeline"),
        of_gates("on", known("self.gates[g].on")).message(GATE),
        of_gates("__true__", known("self.gates[g].__true__")).message(GATE),
        of_gates("requests", known("self.gates[g].requests")).message(GATE),
        of_gates("metrics", step_of("self.gates[g].metrics")).message(GATE),
        of_gates("model", step_of("self.gates[g].model")).message(GATE),
        Rule::new(format!("!has(self.serve) || {}", step_of("self.serve.model")))
            .message("serve.model is not declared; write `STEP.OUTPUT` of a step of this pipeline"),
        Rule::new("!has(self.serve) || (has(self.envs) && self.serve.env in self.envs)")
            .message("serve.env is not declared; add it under `envs`, or use a name from there"),
    ]
}

fn step_names() -> Vec<Rule> {
    let mut rules = labels("steps");
    rules.push(
        Rule::new("!('data' in self)")
            .message("a step cannot be called `data`, because `data.NAME` is a snapshot; rename it"),
    );
    rules
}

fn labels(field: &str) -> Vec<Rule> {
    let message = format!(
        "a name under `{field}` is not allowed; use lower-case letters, digits and `-`, start and end with a letter \
         or digit, at most 63"
    );
    vec![
        Rule::new("self.all(name, name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'))")
            .message(message.as_str()),
    ]
}

fn local_names(field: &str) -> Vec<Rule> {
    let message = format!(
        "a name under `{field}` is not allowed; use lower-case letters, digits, `-` and `_`, start with a letter, at \
         most 63"
    );
    vec![Rule::new("self.all(name, name.matches('^[a-z][-_a-z0-9]{0,62}$'))").message(message.as_str())]
}

fn resource_rules() -> Vec<Rule> {
    vec![
        Rule::new("self.all(n, n in ['cpu', 'memory', 'ephemeral-storage'] || n.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$'))")
            .message("a name under `resources` is not allowed; write `cpu`, `memory`, `ephemeral-storage` or an extended resource, as `example.com/gpu`"),
        Rule::new("self.all(n, self[n].matches('[1-9]'))").message("an amount under `resources` must be above 0"),
    ]
}

fn label_rules() -> Vec<Rule> {
    vec![
        Rule::new("self.all(n, n.size() <= 127 && n.matches('^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$'))")
            .message("a name under `node_selector` is no name of a label; write it as `kubectl get nodes --show-labels` does"),
    ]
}

fn code_rules() -> Vec<Rule> {
    vec![
        Rule::new("self.all(a, !self.exists(b, b != a && b.startsWith(a.endsWith('/') ? a : a + '/')))")
            .message("a path under `code` is inside another one; remove one of them"),
    ]
}

fn command_rules() -> Vec<Rule> {
    vec![Rule::new("self[0] != ''").message("the command is empty; write [program, argument, ...]")]
}

fn duration_rules() -> Vec<Rule> {
    vec![
        Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('168h')").message(
            "write a whole number and a unit, as in 500ms, 30s, 10m or 1h, from 1ms to at most 168h",
        ),
    ]
}

fn path_rules() -> Vec<Rule> {
    vec![
        Rule::new(
            r"self.all(path, path.size() <= 1024 && path.matches('^([^.*\x00-\x1f\x7f-\x9f]+|[*])([.]([^.*\x00-\x1f\x7f-\x9f]+|[*])){0,15}$'))",
        )
        .message("a path under `expect` joins keys by `.`, with `*` for every key, at most 16 of them"),
    ]
}
