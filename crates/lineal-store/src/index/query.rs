//! Reads. Lists are newest first unless they say otherwise.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::database::{Row, Value};
use super::{Index, IndexError};
use lineal_facts::predicate::{Artifact, ArtifactKind, ModelVersionRecord, RolloutRecord};
use lineal_facts::sequence::{Series, SeriesEnd};
use lineal_facts::{
    DatasetName, Digest, EnvironmentName, ModelName, ModelVersion, PipelineName, RolloutId, RunId, StepName,
    Tag,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most rows that a list returns.
const LIST_LIMIT: i64 = 10_000;

/// A ledger entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryRow {
    /// Position in the ledger, from 0.
    pub position: u64,
    /// Digest of the signed bytes.
    pub statement: Digest,
    /// What kind of statement.
    pub noun: String,
    /// Id of the key that signed.
    pub signer: Digest,
    /// Who signed, if the key counts.
    pub holder: Option<String>,
}

/// A dataset snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotRow {
    /// Its statement.
    pub statement: Digest,
    /// The dataset.
    pub dataset: DatasetName,
    /// Its name, if it has one.
    pub tag: Option<Tag>,
    /// Its identity.
    pub digest: Digest,
    /// Number of files.
    pub files: String,
    /// Total size.
    pub size_bytes: String,
    /// Rows of all readable tables.
    pub rows: String,
    /// Blob with the schema.
    pub schema: Digest,
    /// Blob with the profile.
    pub profile: Digest,
    /// When it was frozen.
    pub created_at: String,
}

/// A step's recorded result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CachedResult {
    /// Digest of everything that determines it.
    pub cache_key: Digest,
    /// The provenance statement.
    pub statement: Digest,
    /// The step.
    pub step: StepName,
    /// The run that executed it.
    pub run: RunId,
    /// Blob with the key document.
    pub key_document: Digest,
    /// Entropy state.
    pub entropy: String,
    /// Outputs by name.
    pub outputs: BTreeMap<String, Artifact>,
}

/// A sealed run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// Its statement.
    pub statement: Digest,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// Blob with the plan.
    pub plan: Digest,
    /// When it started.
    pub started_at: String,
    /// When it ended.
    pub finished_at: String,
}

/// A step of a sealed run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStepRow {
    /// The step.
    pub step: StepName,
    /// Its key.
    pub cache_key: Digest,
    /// Whether an earlier result was used.
    pub cached: bool,
    /// The statement that made the outputs.
    pub provenance: Digest,
}

/// A gate's verdict about a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateRow {
    /// The gate.
    pub name: String,
    /// `passed`, `warned` or `failed`.
    pub outcome: String,
    /// Whether its signer counts.
    pub counts: bool,
    /// Its statement.
    pub statement: Digest,
}

/// A registered model version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionRow {
    /// Name and number.
    pub version: ModelVersion,
    /// The model's digest.
    pub digest: Digest,
    /// Its statement.
    pub statement: Digest,
    /// What was stated.
    pub record: ModelVersionRecord,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalRow {
    /// Its statement.
    pub statement: Digest,
    /// What was approved.
    pub version: ModelVersion,
    /// Its digest.
    pub digest: Digest,
    /// Where it may go.
    pub environment: EnvironmentName,
    /// Who says to have decided.
    pub approver: String,
    /// Why.
    pub reason: String,
    /// When.
    pub approved_at: String,
    /// Whether the signature is that person's and counts.
    pub counts: bool,
}

/// A promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromotionRow {
    /// Its statement.
    pub statement: Digest,
    /// Where to.
    pub environment: EnvironmentName,
    /// What.
    pub version: ModelVersion,
    /// The model's digest.
    pub digest: Digest,
    /// Blob with the policy.
    pub policy: Digest,
    /// When.
    pub promoted_at: String,
    /// Whether its signer counts.
    pub counts: bool,
}

/// A step of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolloutRow {
    /// Its statement.
    pub statement: Digest,
    /// What was stated.
    pub record: RolloutRecord,
}

/// A statement that used or made a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DependencyRow {
    /// Position in the ledger.
    pub position: u64,
    /// The provenance statement.
    pub statement: Digest,
    /// What the digest is called there.
    pub name: String,
    /// The digest.
    pub digest: Digest,
}

impl Index {
    /// Entries, newest first.
    pub async fn entries(&self) -> Result<Vec<EntryRow>, IndexError> {
        self.list("SELECT * FROM entries ORDER BY position DESC LIMIT $1", Vec::new(), entry).await
    }

    /// Where the statements about keys are, in order.
    pub async fn key_positions(&self) -> Result<Vec<u64>, IndexError> {
        let rows = self.database.fetch("SELECT position FROM keys ORDER BY position", Vec::new()).await?;
        rows.iter().map(|row| row.number("position")).collect()
    }

    /// The entry of a statement.
    pub async fn entry(&self, statement: &Digest) -> Result<Option<EntryRow>, IndexError> {
        let sql = "SELECT * FROM entries WHERE statement = $1 ORDER BY position LIMIT $2";
        Ok(self.list(sql, vec![statement.to_string().into()], entry).await?.into_iter().next())
    }

    /// Entries about a digest, the newest ones, oldest first.
    pub async fn entries_about(&self, digest: &Digest) -> Result<Vec<EntryRow>, IndexError> {
        let sql = "SELECT DISTINCT e.* FROM entries e JOIN subjects s USING (position) WHERE s.digest = $1 \
                   ORDER BY e.position DESC LIMIT $2";
        self.newest(sql, vec![digest.to_string().into()], entry).await
    }

    /// All snapshots.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotRow>, IndexError> {
        self.list("SELECT * FROM snapshots ORDER BY position DESC LIMIT $1", Vec::new(), snapshot).await
    }

    /// The snapshots of a dataset that have this tag or digest, oldest first.
    pub async fn find_snapshots(
        &self,
        dataset: &DatasetName,
        at: &str,
    ) -> Result<Vec<SnapshotRow>, IndexError> {
        let sql = "SELECT * FROM snapshots WHERE dataset = $1 AND (tag = $2 OR digest = $2) ORDER BY position LIMIT $3";
        self.list(sql, vec![dataset.as_str().into(), at.into()], snapshot).await
    }

    /// The recorded result of a cache key.
    pub async fn result(&self, cache_key: &Digest) -> Result<Option<CachedResult>, IndexError> {
        self.one_result(
            "SELECT * FROM results WHERE cache_key = $1 LIMIT $2",
            vec![cache_key.to_string().into()],
        )
        .await
    }

    /// The latest result of a step of a pipeline.
    pub async fn latest_result(
        &self,
        pipeline: &PipelineName,
        step: &StepName,
    ) -> Result<Option<CachedResult>, IndexError> {
        let sql = "SELECT * FROM results WHERE pipeline = $1 AND step = $2 ORDER BY position DESC LIMIT $3";
        self.one_result(sql, vec![pipeline.as_str().into(), step.as_str().into()]).await
    }

    /// The recorded results of a pipeline's steps, newest first.
    pub async fn results_of(&self, pipeline: &PipelineName) -> Result<Vec<CachedResult>, IndexError> {
        let of = "FROM results WHERE pipeline = $1 ORDER BY position DESC LIMIT $2";
        let rows = self.rows(&format!("SELECT * {of}"), vec![pipeline.as_str().into()]).await?;
        let mut outputs = BTreeMap::new();
        let sql = format!("SELECT * FROM result_outputs WHERE position IN (SELECT position {of})");
        for row in self.rows(&sql, vec![pipeline.as_str().into()]).await? {
            let position: i64 = row.number("position")?;
            let (name, artifact) = output(&row)?;
            outputs.entry(position).or_insert_with(BTreeMap::new).insert(name, artifact);
        }
        rows.iter()
            .map(|row| {
                let position = row.number("position")?;
                result(row, outputs.remove(&position).unwrap_or_default())
            })
            .collect()
    }

    /// The results that have this digest among their outputs, oldest first.
    pub async fn makers(&self, digest: &Digest) -> Result<Vec<CachedResult>, IndexError> {
        let sql = "SELECT DISTINCT r.* FROM results r JOIN result_outputs o USING (position) WHERE o.digest = $1 \
                   ORDER BY r.position LIMIT $2";
        let rows = self.rows(sql, vec![digest.to_string().into()]).await?;
        let mut results = Vec::with_capacity(rows.len());
        for row in rows {
            results.push(self.with_outputs(&row).await?);
        }
        Ok(results)
    }

    /// What a provenance statement depended on.
    pub async fn dependencies(&self, statement: &Digest) -> Result<Vec<DependencyRow>, IndexError> {
        let sql = "SELECT d.*, e.statement FROM dependencies d JOIN entries e USING (position) WHERE e.statement = $1 \
                   ORDER BY d.name LIMIT $2";
        self.list(sql, vec![statement.to_string().into()], dependency).await
    }

    /// The provenance statements that depended on a digest, oldest first.
    pub async fn dependents(&self, digest: &Digest) -> Result<Vec<DependencyRow>, IndexError> {
        let sql = "SELECT d.*, e.statement FROM dependencies d JOIN entries e USING (position) WHERE d.digest = $1 \
                   ORDER BY d.position LIMIT $2";
        self.list(sql, vec![digest.to_string().into()], dependency).await
    }

    /// Sealed runs.
    pub async fn runs(&self) -> Result<Vec<RunRow>, IndexError> {
        self.list("SELECT * FROM runs ORDER BY position DESC LIMIT $1", Vec::new(), run).await
    }

    /// One run.
    pub async fn run(&self, id: &RunId) -> Result<Option<RunRow>, IndexError> {
        Ok(self
            .list("SELECT * FROM runs WHERE run = $1 LIMIT $2", vec![id.as_str().into()], run)
            .await?
            .into_iter()
            .next())
    }

    /// The first run of a plan.
    pub async fn run_of_plan(&self, plan: &Digest) -> Result<Option<RunRow>, IndexError> {
        let sql = "SELECT * FROM runs WHERE plan = $1 ORDER BY position LIMIT $2";
        Ok(self.list(sql, vec![plan.to_string().into()], run).await?.into_iter().next())
    }

    /// The steps of a run in execution order.
    pub async fn run_steps(&self, id: &RunId) -> Result<Vec<RunStepRow>, IndexError> {
        self.list(
            "SELECT s.* FROM run_steps s JOIN runs r USING (position) WHERE r.run = $1 ORDER BY s.ordinal LIMIT $2",
            vec![id.as_str().into()],
            run_step,
        )
        .await
    }

    /// Verdicts of gates about a digest, the newest ones, oldest first: the last one of a name is in force.
    pub async fn gates_about(&self, digest: &Digest) -> Result<Vec<GateRow>, IndexError> {
        let sql = "SELECT DISTINCT g.* FROM gates g JOIN subjects s USING (position) WHERE s.digest = $1 \
                   ORDER BY g.position DESC LIMIT $2";
        self.newest(sql, vec![digest.to_string().into()], gate).await
    }

    /// Registered versions, of one model or of all.
    pub async fn versions(&self, model: Option<&ModelName>) -> Result<Vec<VersionRow>, IndexError> {
        let sql = "SELECT * FROM versions WHERE $1 = '' OR model = $1 ORDER BY model, version DESC LIMIT $2";
        self.list(sql, vec![model.map_or("", ModelName::as_str).into()], version).await
    }

    /// One version.
    pub async fn version(&self, of: &ModelVersion) -> Result<Option<VersionRow>, IndexError> {
        let sql = "SELECT * FROM versions WHERE model = $1 AND version = $2 LIMIT $3";
        let binds = vec![of.model.as_str().into(), of.version.into()];
        Ok(self.list(sql, binds, version).await?.into_iter().next())
    }

    /// Approvals about a digest, the newest ones, oldest first.
    pub async fn approvals_about(&self, digest: &Digest) -> Result<Vec<ApprovalRow>, IndexError> {
        let sql = "SELECT * FROM approvals WHERE digest = $1 ORDER BY position DESC LIMIT $2";
        self.newest(sql, vec![digest.to_string().into()], approval).await
    }

    /// The newest promotions, oldest first.
    pub async fn promotions(&self) -> Result<Vec<PromotionRow>, IndexError> {
        self.newest("SELECT * FROM promotions ORDER BY position DESC LIMIT $1", Vec::new(), promotion).await
    }

    /// The newest steps of all rollouts, oldest first.
    pub async fn rollout_steps(&self) -> Result<Vec<RolloutRow>, IndexError> {
        self.newest("SELECT * FROM rollout_steps ORDER BY position DESC LIMIT $1", Vec::new(), rollout).await
    }

    /// The newest steps of one rollout, oldest first.
    pub async fn rollout(&self, id: &RolloutId) -> Result<Vec<RolloutRow>, IndexError> {
        let sql = "SELECT * FROM rollout_steps WHERE rollout = $1 ORDER BY position DESC LIMIT $2";
        self.newest(sql, vec![id.as_str().into()], rollout).await
    }

    /// The newest steps of the rollouts of a version, oldest first.
    pub async fn rollouts_of(&self, canary: &ModelVersion) -> Result<Vec<RolloutRow>, IndexError> {
        let sql =
            "SELECT * FROM rollout_steps WHERE model = $1 AND canary = $2 ORDER BY position DESC LIMIT $3";
        self.newest(sql, vec![canary.model.as_str().into(), canary.version.into()], rollout).await
    }

    /// The latest step of each model in each environment.
    pub async fn latest_rollout_steps(&self) -> Result<Vec<RolloutRow>, IndexError> {
        let sql = "SELECT * FROM rollout_steps WHERE position IN \
                   (SELECT MAX(position) FROM rollout_steps GROUP BY environment, model) ORDER BY position LIMIT $1";
        self.list(sql, Vec::new(), rollout).await
    }

    /// The latest promotion of these bytes, as this version, to the environment, by a key that counts.
    pub async fn promotion(
        &self,
        version: &ModelVersion,
        digest: &Digest,
        environment: &EnvironmentName,
    ) -> Result<Option<PromotionRow>, IndexError> {
        let sql = "SELECT * FROM promotions WHERE digest = $1 AND model = $2 AND version = $3 AND environment = $4 \
                   AND counts ORDER BY position DESC LIMIT $5";
        let binds = vec![
            digest.to_string().into(),
            version.model.as_str().into(),
            version.version.into(),
            environment.as_str().into(),
        ];
        Ok(self.list(sql, binds, promotion).await?.into_iter().next())
    }

    /// The last statement of a run or a rollout so far.
    pub async fn series_end(&self, series: &Series) -> Result<Option<SeriesEnd>, IndexError> {
        let sql = "SELECT * FROM series WHERE series = $1 ORDER BY position DESC LIMIT $2";
        let binds = vec![series.as_str().into(), 1i64.into()];
        self.database.fetch(sql, binds).await?.first().map(series_member).transpose()
    }

    /// The statements of a run or a rollout in ledger order.
    pub async fn series(&self, series: &Series) -> Result<Vec<SeriesEnd>, IndexError> {
        let sql = "SELECT * FROM series WHERE series = $1 ORDER BY position LIMIT $2";
        self.list(sql, vec![series.as_str().into()], series_member).await
    }

    async fn one_result(
        &self,
        sql: &'static str,
        binds: Vec<Value>,
    ) -> Result<Option<CachedResult>, IndexError> {
        match self.rows(sql, binds).await?.first() {
            Some(row) => Ok(Some(self.with_outputs(row).await?)),
            None => Ok(None),
        }
    }

    async fn with_outputs(&self, row: &Row) -> Result<CachedResult, IndexError> {
        let position: i64 = row.number("position")?;
        let sql = "SELECT * FROM result_outputs WHERE position = $1 ORDER BY name LIMIT $2";
        let rows = self.rows(sql, vec![position.into()]).await?;
        result(row, rows.iter().map(output).collect::<Result<_, _>>()?)
    }

    async fn list<T>(
        &self,
        sql: &str,
        binds: Vec<Value>,
        read: fn(&Row) -> Result<T, IndexError>,
    ) -> Result<Vec<T>, IndexError> {
        self.rows(sql, binds).await?.iter().map(read).collect()
    }

    /// A list whose limit leaves out the oldest: `sql` yields the newest first, this the oldest first.
    async fn newest<T>(
        &self,
        sql: &str,
        binds: Vec<Value>,
        read: fn(&Row) -> Result<T, IndexError>,
    ) -> Result<Vec<T>, IndexError> {
        let mut list = self.list(sql, binds, read).await?;
        list.reverse();
        Ok(list)
    }

    /// The rows of `sql`, whose last placeholder is the limit.
    async fn rows(&self, sql: &str, mut binds: Vec<Value>) -> Result<Vec<Row>, IndexError> {
        binds.push(LIST_LIMIT.into());
        self.database.fetch(sql, binds).await
    }
}

fn parsed<T: FromStr>(row: &Row, column: &'static str) -> Result<T, IndexError> {
    row.text(column)?.parse().map_err(|_| IndexError::value(column))
}

fn document<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, IndexError> {
    serde_json::from_str(&row.text(column)?).map_err(|_| IndexError::value(column))
}

fn model_version(row: &Row) -> Result<ModelVersion, IndexError> {
    Ok(ModelVersion { model: parsed(row, "model")?, version: row.number("version")? })
}

fn output(row: &Row) -> Result<(String, Artifact), IndexError> {
    let kind = match row.text("kind")?.as_str() {
        "file" => ArtifactKind::File,
        "directory" => ArtifactKind::Directory,
        _ => return Err(IndexError::value("kind")),
    };
    let artifact = Artifact { kind, digest: parsed(row, "digest")?, size_bytes: row.text("size_bytes")? };
    Ok((row.text("name")?, artifact))
}

fn result(row: &Row, outputs: BTreeMap<String, Artifact>) -> Result<CachedResult, IndexError> {
    Ok(CachedResult {
        cache_key: parsed(row, "cache_key")?,
        statement: parsed(row, "statement")?,
        step: parsed(row, "step")?,
        run: parsed(row, "run")?,
        key_document: parsed(row, "key_document")?,
        entropy: row.text("entropy")?,
        outputs,
    })
}

fn entry(row: &Row) -> Result<EntryRow, IndexError> {
    Ok(EntryRow {
        position: row.number("position")?,
        statement: parsed(row, "statement")?,
        noun: row.text("noun")?,
        signer: parsed(row, "signer")?,
        holder: row.optional_text("holder")?,
    })
}

fn snapshot(row: &Row) -> Result<SnapshotRow, IndexError> {
    let tag = row.optional_text("tag")?;
    Ok(SnapshotRow {
        statement: parsed(row, "statement")?,
        dataset: parsed(row, "dataset")?,
        tag: tag.map(|t| t.parse()).transpose().map_err(|_| IndexError::value("tag"))?,
        digest: parsed(row, "digest")?,
        files: row.text("files")?,
        size_bytes: row.text("size_bytes")?,
        rows: row.text("rows")?,
        schema: parsed(row, "schema")?,
        profile: parsed(row, "profile")?,
        created_at: row.text("created_at")?,
    })
}

fn dependency(row: &Row) -> Result<DependencyRow, IndexError> {
    Ok(DependencyRow {
        position: row.number("position")?,
        statement: parsed(row, "statement")?,
        name: row.text("name")?,
        digest: parsed(row, "digest")?,
    })
}

fn run(row: &Row) -> Result<RunRow, IndexError> {
    Ok(RunRow {
        run: parsed(row, "run")?,
        statement: parsed(row, "statement")?,
        pipeline: parsed(row, "pipeline")?,
        plan: parsed(row, "plan")?,
        started_at: row.text("started_at")?,
        finished_at: row.text("finished_at")?,
    })
}

fn run_step(row: &Row) -> Result<RunStepRow, IndexError> {
    Ok(RunStepRow {
        step: parsed(row, "step")?,
        cache_key: parsed(row, "cache_key")?,
        cached: row.flag("cached")?,
        provenance: parsed(row, "provenance")?,
    })
}

fn gate(row: &Row) -> Result<GateRow, IndexError> {
    Ok(GateRow {
        name: row.text("name")?,
        outcome: row.text("outcome")?,
        counts: row.flag("counts")?,
        statement: parsed(row, "statement")?,
    })
}

fn version(row: &Row) -> Result<VersionRow, IndexError> {
    Ok(VersionRow {
        version: model_version(row)?,
        digest: parsed(row, "digest")?,
        statement: parsed(row, "statement")?,
        record: document(row, "record")?,
    })
}

fn approval(row: &Row) -> Result<ApprovalRow, IndexError> {
    Ok(ApprovalRow {
        statement: parsed(row, "statement")?,
        version: model_version(row)?,
        digest: parsed(row, "digest")?,
        environment: parsed(row, "environment")?,
        approver: row.text("approver")?,
        reason: row.text("reason")?,
        approved_at: row.text("approved_at")?,
        counts: row.flag("counts")?,
    })
}

fn promotion(row: &Row) -> Result<PromotionRow, IndexError> {
    Ok(PromotionRow {
        statement: parsed(row, "statement")?,
        environment: parsed(row, "environment")?,
        version: model_version(row)?,
        digest: parsed(row, "digest")?,
        policy: parsed(row, "policy")?,
        promoted_at: row.text("promoted_at")?,
        counts: row.flag("counts")?,
    })
}

fn series_member(row: &Row) -> Result<SeriesEnd, IndexError> {
    let (number, closed) = (parsed(row, "number")?, row.flag("closes")?);
    Ok(SeriesEnd { number, statement: parsed(row, "statement")?, closed })
}

fn rollout(row: &Row) -> Result<RolloutRow, IndexError> {
    Ok(RolloutRow { statement: parsed(row, "statement")?, record: document(row, "record")? })
}
