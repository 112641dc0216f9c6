//! One statement becomes rows. Which ones follows from the statement, its place and the keys alone.

use lineal_facts::predicate::{
    Approval, DatasetSnapshot, Incident, KeyRecord, KeyRole, ModelVersionRecord, Outcome, Promotion,
    RolloutRecord, RunSealed, StepProvenance, TestResult,
};
use lineal_facts::sequence::Member;
use lineal_facts::{Digest, Predicate, Statement};
use lineal_proof::keyring::Keyring;
use serde::Serialize;

use super::batch::Batch;
use super::database::Value;

/// What the ledger says about the statement itself.
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) statement: Digest,
    pub(super) key: Digest,
}

/// `insert!(batch, table { column: value, ... })`
macro_rules! insert {
    ($batch:expr, $table:ident { $($column:ident: $value:expr),* $(,)? }) => {
        $batch.insert(stringify!($table), &[$(stringify!($column)),*], vec![$(Value::from($value)),*])
    };
}

/// Like `insert!`, but an earlier row of the same key stands.
macro_rules! insert_first {
    ($batch:expr, $table:ident { $($column:ident: $value:expr),* $(,)? }) => {
        $batch.insert_first(stringify!($table), &[$(stringify!($column)),*], vec![$(Value::from($value)),*])
    };
}

pub(super) fn apply(batch: &mut Batch, entry: &Entry, statement: Option<&Statement>, keyring: &Keyring) {
    let holder = keyring.holder(&entry.key, entry.position).map(str::to_owned);
    let noun = statement.map_or("missing", |s| s.predicate.noun());
    insert!(
        batch,
        entries {
            position: entry.at(),
            statement: entry.statement.to_string(),
            noun: noun,
            signer: entry.key.to_string(),
            holder: holder,
        }
    );
    let Some(statement) = statement else { return };
    for subject in &statement.subject {
        insert!(
            batch,
            subjects {
                position: entry.at(),
                name: &subject.name,
                digest: subject.digest.sha256().to_string(),
            }
        );
    }
    // An entry by a key that does not count has no effect on anything else.
    let counts = match &statement.predicate {
        // The keyring judged it before this.
        Predicate::Key(_) => true,
        // Their tables say whether they count.
        Predicate::TestResult(_) | Predicate::Approval(_) | Predicate::Promotion(_) => true,
        other => keyring.admits(&entry.key, other, entry.position).is_ok(),
    };
    if !counts {
        return;
    }
    if let Some(member) = statement.member() {
        series(batch, entry, &member);
    }
    let about = statement.subject.first().map(|s| s.digest.sha256().to_string()).unwrap_or_default();
    match &statement.predicate {
        Predicate::Key(record) => key(batch, entry, record),
        Predicate::Dataset(record) => dataset(batch, entry, record, about),
        Predicate::Provenance(record) => provenance(batch, entry, record),
        Predicate::RunSealed(record) => run_sealed(batch, entry, record),
        Predicate::TestResult(record) => test_result(batch, entry, record, keyring),
        Predicate::ModelVersion(record) => model_version(batch, entry, record, about),
        Predicate::Approval(record) => approval(batch, entry, record, about, keyring),
        Predicate::Promotion(record) => promotion(batch, entry, record, about, keyring),
        Predicate::Rollout(record) => rollout(batch, entry, record),
        Predicate::Incident(record) => incident(batch, entry, record),
        // Entry and subject are all that anybody asks for.
        Predicate::ModelSignature(_) | Predicate::Unknown { .. } => {}
    }
}

impl Entry {
    fn at(&self) -> i64 {
        i64::try_from(self.position).unwrap_or(i64::MAX)
    }

    fn counts_as(&self, role: KeyRole, keyring: &Keyring) -> bool {
        keyring.accepts(&self.key, role, self.position).is_ok()
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The word that serde writes for a unit variant.
fn word<T: Serialize>(value: &T) -> String {
    json(value).trim_matches('"').to_owned()
}

fn key(batch: &mut Batch, entry: &Entry, record: &KeyRecord) {
    insert!(batch, keys { position: entry.at(), signer: entry.key.to_string(), record: json(record) });
}

fn dataset(batch: &mut Batch, entry: &Entry, record: &DatasetSnapshot, about: String) {
    insert!(
        batch,
        snapshots {
            position: entry.at(),
            statement: entry.statement.to_string(),
            dataset: record.dataset.as_str(),
            tag: record.tag.as_ref().map(|t| t.as_str().to_owned()),
            digest: about,
            files: &record.files,
            size_bytes: &record.size_bytes,
            rows: &record.rows,
            schema: record.schema.to_string(),
            profile: record.profile.to_string(),
            created_at: record.created_at.to_string(),
        }
    );
}

fn provenance(batch: &mut Batch, entry: &Entry, record: &StepProvenance) {
    let external = &record.build_definition.external_parameters;
    let internal = &record.build_definition.internal_parameters;
    let metadata = &record.run_details.metadata;
    for dependency in &record.build_definition.resolved_dependencies {
        insert!(
            batch,
            dependencies {
                position: entry.at(),
                name: &dependency.name,
                digest: dependency.digest.sha256().to_string(),
            }
        );
    }
    insert_first!(
        batch,
        results {
            cache_key: internal.cache_key.to_string(),
            position: entry.at(),
            statement: entry.statement.to_string(),
            pipeline: external.pipeline.as_str(),
            step: external.step.as_str(),
            run: metadata.invocation_id.as_str(),
            key_document: internal.key_document.to_string(),
            entropy: &internal.entropy.state,
            started_at: metadata.started_on.to_string(),
            finished_at: metadata.finished_on.to_string(),
        }
    );
    for (name, output) in &internal.outputs {
        insert!(
            batch,
            result_outputs {
                position: entry.at(),
                name: name,
                kind: word(&output.kind),
                digest: output.digest.to_string(),
                size_bytes: &output.size_bytes,
            }
        );
    }
}

fn run_sealed(batch: &mut Batch, entry: &Entry, record: &RunSealed) {
    insert_first!(
        batch,
        runs {
            run: record.run.as_str(),
            position: entry.at(),
            statement: entry.statement.to_string(),
            pipeline: record.pipeline.as_str(),
            plan: record.plan.to_string(),
            started_at: record.started_at.to_string(),
            finished_at: record.finished_at.to_string(),
        }
    );
    for (ordinal, step) in record.steps.iter().enumerate() {
        insert!(
            batch,
            run_steps {
                position: entry.at(),
                ordinal: i64::try_from(ordinal).unwrap_or(i64::MAX),
                step: step.step.as_str(),
                cache_key: step.cache_key.to_string(),
                cached: step.cached,
                provenance: step.provenance.to_string(),
            }
        );
    }
}

fn test_result(batch: &mut Batch, entry: &Entry, record: &TestResult, keyring: &Keyring) {
    let gate = record.configuration.first().and_then(|c| c.name.strip_prefix("gate/"));
    let Some(gate) = gate else { return };
    let outcome = match record.result {
        Outcome::Passed => "passed",
        Outcome::Warned => "warned",
        Outcome::Failed => "failed",
    };
    insert!(
        batch,
        gates {
            position: entry.at(),
            statement: entry.statement.to_string(),
            name: gate,
            outcome: outcome,
            counts: entry.counts_as(KeyRole::Builder, keyring),
        }
    );
}

fn model_version(batch: &mut Batch, entry: &Entry, record: &ModelVersionRecord, about: String) {
    // A version is immutable: the first registration of a number stands.
    insert_first!(
        batch,
        versions {
            model: record.version.model.as_str(),
            version: record.version.version,
            position: entry.at(),
            statement: entry.statement.to_string(),
            digest: about,
            run: record.run.as_str(),
            registered_at: record.registered_at.to_string(),
            record: json(record),
        }
    );
}

fn approval(batch: &mut Batch, entry: &Entry, record: &Approval, about: String, keyring: &Keyring) {
    let holder =
        keyring.accepts(&entry.key, KeyRole::Approver, entry.position).ok().map(|k| k.holder.as_str());
    insert!(
        batch,
        approvals {
            position: entry.at(),
            statement: entry.statement.to_string(),
            model: record.version.model.as_str(),
            version: record.version.version,
            digest: about,
            environment: record.environment.as_str(),
            approver: &record.approver,
            reason: &record.reason,
            approved_at: record.approved_at.to_string(),
            counts: holder == Some(record.approver.as_str()),
        }
    );
}

fn promotion(batch: &mut Batch, entry: &Entry, record: &Promotion, about: String, keyring: &Keyring) {
    let Some((environment, version)) = record.resource() else { return };
    insert!(
        batch,
        promotions {
            position: entry.at(),
            statement: entry.statement.to_string(),
            environment: environment.as_str(),
            model: version.model.as_str(),
            version: version.version,
            digest: about,
            policy: record.policy.digest.sha256().to_string(),
            promoted_at: record.time_verified.to_string(),
            counts: record.verification_result == "PASSED" && entry.counts_as(KeyRole::Builder, keyring),
        }
    );
}

fn rollout(batch: &mut Batch, entry: &Entry, record: &RolloutRecord) {
    insert!(
        batch,
        rollout_steps {
            position: entry.at(),
            statement: entry.statement.to_string(),
            rollout: record.rollout.as_str(),
            environment: record.environment.as_str(),
            model: record.canary.model.as_str(),
            canary: record.canary.version,
            stable: record.stable.as_ref().map(|v| v.version),
            transition: word(&record.transition),
            weight_percent: &record.canary_weight_percent,
            generation: &record.generation,
            cause: &record.cause,
            record: json(record),
            decided_at: record.decided_at.to_string(),
        }
    );
}

fn series(batch: &mut Batch, entry: &Entry, member: &Member) {
    insert!(
        batch,
        series {
            position: entry.at(),
            statement: entry.statement.to_string(),
            series: member.series.as_str(),
            number: member.sequence.number.to_string(),
            closes: member.closes,
        }
    );
}

fn incident(batch: &mut Batch, entry: &Entry, record: &Incident) {
    insert!(
        batch,
        incidents {
            position: entry.at(),
            statement: entry.statement.to_string(),
            code: &record.code,
            message: &record.message,
            found_at: record.found_at.to_string(),
        }
    );
}
