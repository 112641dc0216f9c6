//! What rules are written about: the record of a model version.
//!
//! The fields are the names in expressions, as `gates.exists(g, g.name == 'quality' && g.passed)`. Integers are CEL
//! ints, digests and names are strings, times are RFC 3339 strings; everything with a time also has `age_seconds`, its
//! age at the decision (for `run`, since it ended). `approvers` lists each approver once, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lineal_facts::predicate::Outcome;
use lineal_facts::{Digest, EnvironmentName, ModelName, PipelineName, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most elements of any list or map in a record.
pub const LIST_LIMIT: usize = 10_000;
/// How far the clocks of two machines may differ before an age counts as unknown.
const CLOCK_TOLERANCE_MS: i64 = 300_000;
/// Most values in a record.
const NODE_LIMIT: usize = 200_000;
/// Longest text in a record.
const TEXT_LIMIT_BYTES: usize = 64 << 10;
/// Deepest nesting in a record.
const DEPTH_LIMIT: usize = 32;

/// Everything that is known about a model version when an environment is asked to admit it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version.
    pub model: ModelFact,
    /// The environment that is asked for.
    pub environment: EnvironmentName,
    /// Every gate that has run on this model.
    pub gates: Vec<GateFact>,
    /// Approvals for this version and environment whose signature and role were verified.
    pub approvals: Vec<ApprovalFact>,
    /// How the model was made.
    pub provenance: ProvenanceFact,
    /// The run that made it.
    pub run: RunFact,
    /// Environments that this version was admitted to before.
    pub promotions: Vec<PromotionFact>,
    /// Recorded contradictions about this model or what it was made from.
    pub incidents: Vec<IncidentFact>,
}

/// A registered version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFact {
    /// The registered name.
    pub name: ModelName,
    /// The number, from 1.
    pub version: u32,
    /// Digest of the model's bytes.
    pub digest: Digest,
}

/// The latest verdict of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateFact {
    /// The gate.
    pub name: String,
    /// Whether the outcome is `PASSED` or `WARNED`.
    pub passed: bool,
    /// `PASSED`, `WARNED` or `FAILED`.
    pub outcome: Outcome,
    /// Checks that did not hold.
    pub failed: Vec<String>,
    /// Checks that were not made, or held with a warning.
    pub warned: Vec<String>,
}

/// A person's signed decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalFact {
    /// Who.
    pub approver: String,
    /// The role of the signing key, for instance `approver`.
    pub role: String,
    /// Why.
    pub reason: String,
    /// When.
    pub approved_at: Timestamp,
}

/// How the model was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenanceFact {
    /// Whether every step back to the data has a verified statement.
    pub complete: bool,
    /// Digest of the code tree.
    pub code: Digest,
    /// Digest of the environment that the model was made in; empty on the base system.
    pub environment_digest: String,
    /// Snapshots that it was made from.
    pub data: Vec<DataFact>,
    /// What could not be controlled, as `what: why`.
    pub uncontrolled: Vec<String>,
    /// Steps that it was made by.
    pub steps: Vec<StepFact>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFact {
    /// The dataset.
    pub dataset: String,
    /// The tag it was asked for by; empty if it was asked for by digest.
    pub tag: String,
    /// Identity.
    pub digest: Digest,
}

/// One step of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepFact {
    /// The step.
    pub name: String,
    /// `off`, `observe` or `strict`.
    pub determinism: String,
    /// `not-read`, `read`, `controlled`, `insensitive` or `sensitive`.
    pub entropy: String,
    /// Whether an earlier result was used.
    pub cached: bool,
    /// CPU class and threads.
    pub cpu: String,
}

/// The run that made the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFact {
    /// The run.
    pub id: RunId,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The root seed, as a decimal string.
    pub seed: String,
    /// Who or what started it, for rules that demand another approver; empty if unknown.
    pub started_by: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Parameters of the pipeline by name.
    pub params: BTreeMap<String, Value>,
    /// JSON reports by `STEP.OUTPUT`, for instance `run.metrics['evaluate.report'].auc`.
    pub metrics: BTreeMap<String, Value>,
}

/// An earlier admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromotionFact {
    /// Where to.
    pub environment: EnvironmentName,
    /// When.
    pub promoted_at: Timestamp,
}

/// A recorded contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentFact {
    /// A stable code, for instance `nondeterministic-step`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// When it was found.
    pub found_at: Timestamp,
}

/// Why a record cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Beyond a limit.
    #[error("the record is too large to be judged: {0}")]
    TooLarge(String),
    /// It has no JSON form.
    #[error("the record cannot be written as JSON: {0}")]
    Form(String),
}

/// A record as expressions see it.
pub(super) struct Facts {
    pub(super) variables: Vec<(String, cel::Value)>,
    /// Elements of the largest list or map.
    pub(super) largest: u64,
    /// Elements by `name` and `name.field`; 1 for a scalar.
    sizes: BTreeMap<String, u64>,
}

impl Facts {
    /// Elements of what `path` (`name` or `name.field`) is; those of the largest list if it is something else.
    pub(super) fn elements(&self, path: &str) -> u64 {
        self.sizes.get(path).copied().unwrap_or(self.largest)
    }
}

impl Record {
    pub(super) fn facts(&self, now: Timestamp) -> Result<Facts, RecordError> {
        let mut value = serde_json::to_value(self).map_err(|e| RecordError::Form(e.to_string()))?;
        add_ages(&mut value["approvals"], self.approvals.iter().map(|a| a.approved_at), now);
        add_ages(&mut value["promotions"], self.promotions.iter().map(|p| p.promoted_at), now);
        add_ages(&mut value["incidents"], self.incidents.iter().map(|i| i.found_at), now);
        if let Some(age) = age_seconds(self.run.finished_at, now) {
            value["run"]["age_seconds"] = age;
        }
        value["now"] = now.to_string().into();
        let approvers: BTreeSet<&str> = self.approvals.iter().map(|a| a.approver.as_str()).collect();
        value["approvers"] = approvers.into_iter().collect();
        let mut limits = Limits { nodes: 0, largest: 1 };
        let mut variables = Vec::new();
        let mut sizes = BTreeMap::new();
        for (name, field) in value.as_object().into_iter().flatten() {
            variables.push((name.clone(), limits.convert(field, 0)?));
            sizes.insert(name.clone(), elements(field));
            for (inner_name, inner) in field.as_object().into_iter().flatten() {
                sizes.insert(format!("{name}.{inner_name}"), elements(inner));
            }
        }
        Ok(Facts { variables, largest: limits.largest as u64, sizes })
    }
}

fn elements(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.len() as u64,
        Value::Object(fields) => fields.len() as u64,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// `None` if it lies in the future: one of the two clocks was wrong, so that a rule about the age cannot be decided.
fn age_seconds(at: Timestamp, now: Timestamp) -> Option<Value> {
    let ahead_ms = at.unix_ms() - now.unix_ms();
    (ahead_ms <= CLOCK_TOLERANCE_MS).then(|| (now.since_ms(at) / 1000).into())
}

fn add_ages(list: &mut Value, times: impl Iterator<Item = Timestamp>, now: Timestamp) {
    if let Value::Array(items) = list {
        for (item, at) in items.iter_mut().zip(times) {
            if let Some(age) = age_seconds(at, now) {
                item["age_seconds"] = age;
            }
        }
    }
}

struct Limits {
    nodes: usize,
    largest: usize,
}

impl Limits {
    fn convert(&mut self, value: &Value, depth: usize) -> Result<cel::Value, RecordError> {
        let too_large = |what: String| Err(RecordError::TooLarge(what));
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            return too_large(format!("more than {NODE_LIMIT} values"));
        }
        if depth > DEPTH_LIMIT {
            return too_large(format!("nested deeper than {DEPTH_LIMIT}"));
        }
        Ok(match value {
            Value::Null => cel::Value::Null,
            Value::Bool(flag) => cel::Value::Bool(*flag),
            Value::Number(number) => number_value(number),
            Value::String(text) if text.len() > TEXT_LIMIT_BYTES => {
                return too_large(format!("a text of {} bytes; at most {TEXT_LIMIT_BYTES}", text.len()));
            }
            Value::String(text) => cel::Value::from(text.as_str()),
            Value::Array(items) => {
                self.size(items.len())?;
                let items = items.iter().map(|item| self.convert(item, depth + 1));
                cel::Value::from(items.collect::<Result<Vec<_>, _>>()?)
            }
            Value::Object(fields) => {
                self.size(fields.len())?;
                let fields =
                    fields.iter().map(|(key, field)| Ok((key.clone(), self.convert(field, depth + 1)?)));
                cel::Value::from(fields.collect::<Result<HashMap<String, cel::Value>, _>>()?)
            }
        })
    }

    fn size(&mut self, elements: usize) -> Result<(), RecordError> {
        if elements > LIST_LIMIT {
            let what = format!("a list or map of {elements} elements; at most {LIST_LIMIT}");
            return Err(RecordError::TooLarge(what));
        }
        self.largest = self.largest.max(elements);
        Ok(())
    }
}

/// Integers become CEL ints, so that `model.version + 1` has one type; what does not fit becomes a double.
fn number_value(number: &serde_json::Number) -> cel::Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(int), _) => cel::Value::Int(int),
        (None, Some(float)) => cel::Value::Float(float),
        (None, None) => cel::Value::Null,
    }
}
