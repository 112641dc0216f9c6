//! What a statement refers to: bytes that must be stored, and other things by digest.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::digest::Digest;
use crate::predicate::{Artifact, ArtifactKind, Predicate};
use crate::statement::Statement;

impl Statement {
    /// The artefacts that are stored with it: who keeps the statement keeps these. Empty for predicates of later builds.
    pub fn artifacts(&self) -> Vec<Artifact> {
        let file = |digest: Digest| artifact(ArtifactKind::File, digest);
        let about =
            || self.subject.first().map(|subject| artifact(ArtifactKind::Directory, subject.digest.sha256()));
        match &self.predicate {
            Predicate::Dataset(record) => {
                about().into_iter().chain([file(record.schema), file(record.profile)]).collect()
            }
            Predicate::Provenance(record) => {
                let internal = &record.build_definition.internal_parameters;
                let byproducts = record.run_details.byproducts.iter().map(|by| file(by.digest.sha256()));
                let code =
                    record.build_definition.resolved_dependencies.iter().filter(|on| on.name == "code");
                let code = code.map(|on| artifact(ArtifactKind::Directory, on.digest.sha256()));
                let documents = byproducts.chain([file(internal.key_document)]);
                internal.outputs.values().cloned().chain(documents).chain(code).collect()
            }
            Predicate::RunSealed(record) => vec![file(record.plan)],
            Predicate::TestResult(record) => {
                let stored = |name: &str| {
                    name == "report" || name.starts_with("gate/") || name.starts_with("contract/")
                };
                let documents = record.configuration.iter().filter(|document| stored(&document.name));
                documents.map(|document| file(document.digest.sha256())).collect()
            }
            Predicate::ModelVersion(_) => about().into_iter().collect(),
            Predicate::Promotion(record) => vec![file(record.policy.digest.sha256())],
            Predicate::Rollout(record) => record.analysis.map(file).into_iter().collect(),
            Predicate::Key(_)
            | Predicate::Approval(_)
            | Predicate::Incident(_)
            | Predicate::ModelSignature(_)
            | Predicate::Unknown { .. } => Vec::new(),
        }
    }

    /// Whether its subjects come into being with it: what rests on a subject rests on this statement.
    pub const fn makes_its_subjects(&self) -> bool {
        matches!(
            self.predicate,
            Predicate::Dataset(_) | Predicate::Provenance(_) | Predicate::ModelVersion(_)
        )
    }

    /// The statements that it names as its evidence.
    pub fn evidence(&self) -> Vec<Digest> {
        match &self.predicate {
            Predicate::RunSealed(record) => record.steps.iter().map(|step| step.provenance).collect(),
            Predicate::ModelVersion(record) => vec![record.provenance],
            Predicate::Promotion(record) => {
                record.input_attestations.iter().map(|on| on.digest.sha256()).collect()
            }
            Predicate::Key(_)
            | Predicate::Dataset(_)
            | Predicate::Provenance(_)
            | Predicate::TestResult(_)
            | Predicate::ModelSignature(_)
            | Predicate::Approval(_)
            | Predicate::Rollout(_)
            | Predicate::Incident(_)
            | Predicate::Unknown { .. } => Vec::new(),
        }
    }

    /// What it rests on: every digest that the predicate names, of statements and of artefacts, and the subjects if
    /// they were there before.
    pub fn rests_on(&self) -> BTreeSet<Digest> {
        let mut digests = BTreeSet::new();
        collect(&self.predicate.to_value().unwrap_or_default(), &mut digests);
        // To come after a statement is not to rest on it. The end of a run rests on its steps, and names them.
        if let Some(member) = self.member()
            && !matches!(self.predicate, Predicate::RunSealed(_))
            && let Some(previous) = member.sequence.previous
        {
            digests.remove(&previous);
        }
        let subjects = self.subject.iter().map(|subject| subject.digest.sha256());
        match &self.predicate {
            Predicate::ModelVersion(_) => digests.extend(subjects),
            _ if self.makes_its_subjects() => {
                // The record of an output names the output itself.
                for subject in subjects {
                    digests.remove(&subject);
                }
            }
            _ => digests.extend(subjects),
        }
        digests
    }
}

fn artifact(kind: ArtifactKind, digest: Digest) -> Artifact {
    Artifact { kind, digest, size_bytes: String::new() }
}

/// Digests are written as `sha256:<hex>`, or as in-toto's `{"sha256": "<hex>"}`.
fn collect(value: &Value, digests: &mut BTreeSet<Digest>) {
    match value {
        Value::String(text) => digests.extend(text.parse::<Digest>()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, digests)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(hex) if name == "sha256" => {
                        digests.extend(format!("sha256:{hex}").parse::<Digest>());
                    }
                    other => collect(other, digests),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
