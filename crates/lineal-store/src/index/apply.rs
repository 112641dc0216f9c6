//! One statement becomes rows.

use lineal_facts::predicate::{
    Approval, DatasetSnapshot, Incident, KeyRecord, KeyRole, ModelVersionRecord, Outcome, Promotion,
    RolloutRecord, RunSealed, StepProvenance, TestResult,
};
use lineal_facts::{Digest, Predicate, Statement};
use lineal_proof::keyring::Keyring;
use serde::Serialize;
use sqlx::SqliteConnection;

use super::IndexError;

/// What the ledger says about the statement itself.
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) statement: Digest,
    pub(super) key: Digest,
}

type Applied = Result<(), IndexError>;

macro_rules! insert {
    ($connection:expr, $sql:literal, $($value:expr),* $(,)?) => {
        sqlx::query($sql)$(.bind($value))*.execute(&mut *$connection).await?
    };
}

pub(super) async fn apply(
    connection: &mut SqliteConnection,
    entry: &Entry,
    statement: Option<&Statement>,
    keyring: &Keyring,
) -> Applied {
    let holder = keyring.holder(&entry.key, entry.position).map(str::to_owned);
    let noun = statement.map_or("missing", |s| s.predicate.noun());
    insert!(
        connection,
        "INSERT INTO entries (position, statement, noun, signer, holder) VALUES (?, ?, ?, ?, ?)",
        entry.at(),
        entry.statement.to_string(),
        noun,
        entry.key.to_string(),
        holder
    );
    let Some(statement) = statement else { return Ok(()) };
    for subject in &statement.subject {
        insert!(
            connection,
            "INSERT INTO subjects (position, name, digest) VALUES (?, ?, ?)",
            entry.at(),
            &subject.name,
            subject.digest.sha256().to_string()
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
        return Ok(());
    }
    let about = statement.subject.first().map(|s| s.digest.sha256().to_string()).unwrap_or_default();
    match &statement.predicate {
        Predicate::Key(record) => key(connection, entry, record).await,
        Predicate::Dataset(record) => dataset(connection, entry, record, about).await,
        Predicate::Provenance(record) => provenance(connection, entry, record).await,
        Predicate::RunSealed(record) => run_sealed(connection, entry, record).await,
        Predicate::TestResult(record) => test_result(connection, entry, record, keyring).await,
        Predicate::ModelVersion(record) => model_version(connection, entry, record, about).await,
        Predicate::Approval(record) => approval(connection, entry, record, about, keyring).await,
        Predicate::Promotion(record) => promotion(connection, entry, record, about, keyring).await,
        Predicate::Rollout(record) => rollout(connection, entry, record).await,
        Predicate::Incident(record) => incident(connection, entry, record).await,
        // Entry and subject are all that anybody asks for.
        Predicate::ModelSignature(_) | Predicate::Unknown { .. } => Ok(()),
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

async fn key(connection: &mut SqliteConnection, entry: &Entry, record: &KeyRecord) -> Applied {
    insert!(
        connection,
        "INSERT INTO keys (position, signer, record) VALUES (?, ?, ?)",
        entry.at(),
        entry.key.to_string(),
        json(record)
    );
    Ok(())
}

async fn dataset(
    connection: &mut SqliteConnection,
    entry: &Entry,
    record: &DatasetSnapshot,
    about: String,
) -> Applied {
    insert!(
        connection,
        "INSERT INTO snapshots (position, statement, dataset, tag, digest, files, size_bytes, rows, schema, profile, \
         created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        entry.at(),
        entry.statement.to_string(),
        record.dataset.as_str(),
        record.tag.as_ref().map(|t| t.as_str().to_owned()),
        about,
        &record.files,
        &record.size_bytes,
        &record.rows,
        record.schema.to_string(),
        record.profile.to_string(),
        record.created_at.to_string()
    );
    Ok(())
}

async fn provenance(connection: &mut SqliteConnection, entry: &Entry, record: &StepProvenance) -> Applied {
    let external = &record.build_definition.external_parameters;
    let internal = &record.build_definition.internal_parameters;
    let metadata = &record.run_details.metadata;
    for dependency in &record.build_definition.resolved_dependencies {
        insert!(
            connection,
            "INSERT INTO dependencies (position, name, digest) VALUES (?, ?, ?)",
            entry.at(),
            &dependency.name,
            dependency.digest.sha256().to_string()
        );
    }
    let cache_key = internal.cache_key.to_string();
    let inserted = insert!(
        connection,
        "INSERT OR IGNORE INTO results (cache_key, position, statement, pipeline, step, run, key_document, entropy, \
         started_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &cache_key,
        entry.at(),
        entry.statement.to_string(),
        external.pipeline.as_str(),
        external.step.as_str(),
        metadata.invocation_id.as_str(),
        internal.key_document.to_string(),
        &internal.entropy.state,
        metadata.started_on.to_string(),
        metadata.finished_on.to_string()
    );
    if inserted.rows_affected() == 0 {
        return Ok(());
    }
    for (name, output) in &internal.outputs {
        insert!(
            connection,
            "INSERT INTO result_outputs (cache_key, name, kind, digest, size_bytes) VALUES (?, ?, ?, ?, ?)",
            &cache_key,
            name,
            word(&output.kind),
            output.digest.to_string(),
            &output.size_bytes
        );
    }
    Ok(())
}

async fn run_sealed(connection: &mut SqliteConnection, entry: &Entry, record: &RunSealed) -> Applied {
    let inserted = insert!(
        connection,
        "INSERT OR IGNORE INTO runs (run, position, statement, pipeline, plan, started_at, finished_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        record.run.as_str(),
        entry.at(),
        entry.statement.to_string(),
        record.pipeline.as_str(),
        record.plan.to_string(),
        record.started_at.to_string(),
        record.finished_at.to_string()
    );
    if inserted.rows_affected() == 0 {
        return Ok(());
    }
    for (ordinal, step) in record.steps.iter().enumerate() {
        insert!(
            connection,
            "INSERT INTO run_steps (run, ordinal, step, cache_key, cached, provenance) VALUES (?, ?, ?, ?, ?, ?)",
            record.run.as_str(),
            i64::try_from(ordinal).unwrap_or(i64::MAX),
            step.step.as_str(),
            step.cache_key.to_string(),
            step.cached,
            step.provenance.to_string()
        );
    }
    Ok(())
}

async fn test_result(
    connection: &mut SqliteConnection,
    entry: &Entry,
    record: &TestResult,
    keyring: &Keyring,
) -> Applied {
    let gate = record.configuration.first().and_then(|c| c.name.strip_prefix("gate/"));
    let Some(gate) = gate else { return Ok(()) };
    let outcome = match record.result {
        Outcome::Passed => "passed",
        Outcome::Warned => "warned",
        Outcome::Failed => "failed",
    };
    insert!(
        connection,
        "INSERT INTO gates (position, statement, name, outcome, counts) VALUES (?, ?, ?, ?, ?)",
        entry.at(),
        entry.statement.to_string(),
        gate,
        outcome,
        entry.counts_as(KeyRole::Builder, keyring)
    );
    Ok(())
}

async fn model_version(
    connection: &mut SqliteConnection,
    entry: &Entry,
    record: &ModelVersionRecord,
    about: String,
) -> Applied {
    // A version is immutable: the first registration of a number stands.
    insert!(
        connection,
        "INSERT OR IGNORE INTO versions (model, version, position, statement, digest, run, registered_at, record) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        record.version.model.as_str(),
        record.version.version,
        entry.at(),
        entry.statement.to_string(),
        about,
        record.run.as_str(),
        record.registered_at.to_string(),
        json(record)
    );
    Ok(())
}

async fn approval(
    connection: &mut SqliteConnection,
    entry: &Entry,
    record: &Approval,
    about: String,
    keyring: &Keyring,
) -> Applied {
    let holder =
        keyring.accepts(&entry.key, KeyRole::Approver, entry.position).ok().map(|k| k.holder.as_str());
    insert!(
        connection,
        "INSERT INTO approvals (position, statement, model, version, digest, environment, approver, reason, \
         approved_at, counts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        entry.at(),
        entry.statement.to_string(),
        record.version.model.as_str(),
        record.version.version,
        about,
        record.environment.as_str(),
        &record.approver,
        &record.reason,
        record.approved_at.to_string(),
        holder == Some(record.approver.as_str())
    );
    Ok(())
}

async fn promotion(
    connection: &mut SqliteConnection,
    entry: &Entry,
    record: &Promotion,
    about: String,
    keyring: &Keyring,
) -> Applied {
    let Some((environment, version)) = record.resource() else { return Ok(()) };
    insert!(
        connection,
        "INSERT INTO promotions (position, statement, environment, model, version, digest, policy, promoted_at, \
         counts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        entry.at(),
        entry.statement.to_string(),
        environment.as_str(),
        version.model.as_str(),
        version.version,
        about,
        record.policy.digest.sha256().to_string(),
        record.time_verified.to_string(),
        record.verification_result == "PASSED" && entry.counts_as(KeyRole::Builder, keyring)
    );
    Ok(())
}

async fn rollout(connection: &mut SqliteConnection, entry: &Entry, record: &RolloutRecord) -> Applied {
    insert!(
        connection,
        "INSERT INTO rollout_steps (position, statement, rollout, environment, model, canary, stable, transition, \
         weight_percent, generation, cause, record, decided_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        entry.at(),
        entry.statement.to_string(),
        record.rollout.as_str(),
        record.environment.as_str(),
        record.canary.model.as_str(),
        record.canary.version,
        record.stable.as_ref().map(|v| v.version),
        word(&record.transition),
        &record.canary_weight_percent,
        &record.generation,
        &record.cause,
        json(record),
        record.decided_at.to_string()
    );
    Ok(())
}

async fn incident(connection: &mut SqliteConnection, entry: &Entry, record: &Incident) -> Applied {
    insert!(
        connection,
        "INSERT INTO incidents (position, statement, code, message, found_at) VALUES (?, ?, ?, ?, ?)",
        entry.at(),
        entry.statement.to_string(),
        &record.code,
        &record.message,
        record.found_at.to_string()
    );
    Ok(())
}
