//! Policy: CEL rules over the record of a model version, per environment.
//!
//! A rule holds only if its expression yields `true`. One that fails, takes too long or yields anything else does not
//! hold, and says why. Rules see `model`, `environment`, `gates`, `approvals`, `approvers`, `provenance`, `run`,
//! `promotions`, `incidents` and `now`; [`Record`] says what is in them.

mod expression;
mod message;
mod record;

use std::collections::BTreeSet;

use lineal_facts::{EnvironmentName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use expression::{COST_LIMIT, EXPRESSION_LIMIT_BYTES, ExpressionError, NESTING_LIMIT, OPERATOR_LIMIT};
pub use message::MessageError;
pub use record::{
    ApprovalFact, DataFact, GateFact, IncidentFact, LIST_LIMIT, ModelFact, PromotionFact, ProvenanceFact,
    Record, RecordError, RunFact, StepFact,
};

use crate::pipeline::{YamlError, yaml};
use expression::Expression;
use message::Message;

/// Most rules in a policy.
pub const RULE_LIMIT: usize = 100;

/// The checked policy of one environment.
#[derive(Debug)]
pub struct Policy {
    /// The environment: `metadata.name`.
    pub environment: EnvironmentName,
    /// The strategy by which traffic moves, as it stands in the file.
    pub rollout: Option<Value>,
    rules: Vec<Rule>,
}

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {
    name: String,
    expression: Expression,
    message: Message,
}

/// Why a file is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read as a policy file at all.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// None, or more than [`RULE_LIMIT`].
    #[error(
        "rules: {0} rules; a policy needs 1 to {RULE_LIMIT} (to admit everything, write the rule `true`)"
    )]
    Count(usize),
    /// The name of a rule is empty, too long, or used twice.
    #[error("rules[{position}].name: `{name}` {problem}")]
    Name {
        /// Position from 0.
        position: usize,
        /// The name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The expression of a rule.
    #[error("rule `{rule}`: expr: {error}")]
    Expression {
        /// The rule.
        rule: String,
        /// What is wrong.
        error: ExpressionError,
    },
    /// The message of a rule.
    #[error("rule `{rule}`: message: {error}")]
    Message {
        /// The rule.
        rule: String,
        /// What is wrong.
        error: MessageError,
    },
}

/// What a policy says about a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// Every rule in the order of the file.
    pub rules: Vec<RuleResult>,
    /// Whether every rule held.
    pub passed: bool,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleResult {
    /// The rule.
    pub name: String,
    /// Whether it holds.
    pub held: bool,
    /// What is required and what to do, placeholders filled in.
    pub message: String,
    /// Why the rule could not be decided; then it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Policy {
    /// Reads a policy file and compiles every rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let file: PolicyFile = yaml::read(bytes, "Policy")?;
        if !(1..=RULE_LIMIT).contains(&file.rules.len()) {
            return Err(PolicyError::Count(file.rules.len()));
        }
        let mut seen = BTreeSet::new();
        let mut rules = Vec::with_capacity(file.rules.len());
        for (position, fields) in file.rules.into_iter().enumerate() {
            let problem = if !is_rule_name(&fields.name) {
                Some("is not a rule name; use lower-case letters, digits and `-`, at most 63")
            } else if !seen.insert(fields.name.clone()) {
                Some("occurs twice; give each rule its own name")
            } else {
                None
            };
            if let Some(problem) = problem {
                let name = fields.name.chars().take(80).collect();
                return Err(PolicyError::Name { position, name, problem });
            }
            rules.push(Rule::compile(fields)?);
        }
        Ok(Self { environment: file.metadata.name, rollout: file.rollout, rules })
    }

    /// The rules in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides every rule about `record` at the time `now`.
    pub fn evaluate(&self, record: &Record, now: Timestamp) -> Evaluation {
        let subject = format!("{}/{}", record.model.name, record.model.version);
        let facts = self.facts(record, now);
        let rules: Vec<RuleResult> = self
            .rules
            .iter()
            .map(|rule| {
                let decided = facts
                    .as_ref()
                    .map_err(String::clone)
                    .and_then(|facts| rule.expression.holds(facts).map_err(|error| error.to_string()));
                RuleResult {
                    name: rule.name.clone(),
                    held: decided == Ok(true),
                    message: rule.message.fill(&subject, self.environment.as_str()),
                    error: decided.err(),
                }
            })
            .collect();
        let passed = !rules.is_empty() && rules.iter().all(|rule| rule.held);
        Evaluation { rules, passed }
    }

    fn facts(&self, record: &Record, now: Timestamp) -> Result<record::Facts, String> {
        if record.environment != self.environment {
            return Err(format!(
                "the record is about environment `{}`, but this is the policy of `{}`",
                record.environment, self.environment
            ));
        }
        record.facts(now).map_err(|error| error.to_string())
    }
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The expression as it is written.
    pub fn expression(&self) -> &str {
        self.expression.source()
    }

    fn compile(fields: RuleFile) -> Result<Self, PolicyError> {
        let rule = &fields.name;
        let expression = Expression::compile(&fields.expr)
            .map_err(|error| PolicyError::Expression { rule: rule.clone(), error })?;
        let message = Message::parse(&fields.message)
            .map_err(|error| PolicyError::Message { rule: rule.clone(), error })?;
        Ok(Self { name: fields.name, expression, message })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyFile {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    rules: Vec<RuleFile>,
    rollout: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: EnvironmentName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    name: String,
    expr: String,
    message: String,
}

fn is_rule_name(name: &str) -> bool {
    // The same rule as that of gates.
    name.parse::<lineal_facts::GateName>().is_ok()
}

#[cfg(test)]
mod tests;
