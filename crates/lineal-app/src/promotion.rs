//! Approving a version and promoting it to an environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineal_blob::files;
use lineal_engine::policy::{
    ApprovalFact, DataFact, Evaluation, GateFact, IncidentFact, ModelFact, Policy, PromotionFact,
    ProvenanceFact, Record, RunFact, StepFact,
};
use lineal_facts::predicate::{
    Approval, KeyRole, Outcome, Promotion, ResourceDescriptor, RunSealed, StepProvenance, VerificationPolicy,
    Verifier,
};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, EnvironmentName, ModelVersion, Predicate, Statement, Timestamp};
use lineal_proof::Signer;
use lineal_store::index::VersionRow;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::model;
use crate::project::{Project, now};
use crate::verify::{Part, VerifySubject, WitnessDemand, collect, collect_all_about};

const POLICY_LIMIT_BYTES: u64 = 1 << 20;

/// Who signs an approval.
#[derive(Debug, Clone)]
pub enum Approver {
    /// The holder of a key in the project's key folder.
    Holder(String),
    /// A key file.
    KeyFile(PathBuf),
}

/// A recorded approval.
#[derive(Debug, Serialize)]
pub struct Approved {
    /// What.
    pub version: ModelVersion,
    /// Its digest.
    pub digest: Digest,
    /// Where it may go.
    pub environment: EnvironmentName,
    /// Who.
    pub approver: String,
    /// The statement.
    pub statement: Digest,
}

/// A recorded promotion.
#[derive(Debug, Serialize)]
pub struct Promoted {
    /// What.
    pub version: ModelVersion,
    /// Where to.
    pub environment: EnvironmentName,
    /// The policy that admitted it.
    pub policy: Digest,
    /// The rules that held.
    pub rules: Vec<String>,
    /// The statement.
    pub statement: Digest,
}

/// Signs that `version` may go to `environment`.
pub async fn approve(
    project: &Project,
    version: &ModelVersion,
    environment: &EnvironmentName,
    reason: &str,
    approver: &Approver,
) -> Result<Approved, Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::new(Code::Usage, "an approval needs a reason: --reason \"...\""));
    }
    let row = model::find(project, version).await?;
    load_policy(project, environment)?;
    let keys = project.store.keys();
    let signer: Arc<dyn Signer> = match approver {
        Approver::Holder(holder) => keys.signer(holder, KeyRole::Approver)?,
        Approver::KeyFile(path) => Arc::new(keys.load_file(path)?),
    };
    let keyring = project.store.index().keyring().await?;
    let size = project.store.index().size().await?;
    let key = keyring.accepts(&signer.public_key().id(), KeyRole::Approver, size).map_err(|e| {
        Failure::new(
            Code::Key,
            format!("this key cannot approve: {e}; `lineal ledger keys` lists the keys that count"),
        )
    })?;
    let statement = Statement {
        subject: vec![Subject::new(version.to_string(), row.digest)],
        predicate: Predicate::Approval(Approval {
            version: version.clone(),
            environment: environment.clone(),
            reason: reason.to_owned(),
            approver: key.holder.clone(),
            approved_at: now(),
        }),
    };
    let approver = key.holder.clone();
    let committed = project.store.commit(&[statement], &*signer).await?;
    let statement = committed.first().map_or(row.digest, |c| c.statement);
    Ok(Approved {
        version: version.clone(),
        digest: row.digest,
        environment: environment.clone(),
        approver,
        statement,
    })
}

/// Evaluates the policy of `environment` about `version` and, if every rule holds, records the promotion.
pub async fn promote(
    project: &Project,
    version: &ModelVersion,
    environment: &EnvironmentName,
) -> Result<Promoted, Failure> {
    let row = model::find(project, version).await?;
    let (policy, bytes) = load_policy(project, environment)?;
    let (record, evidence) = record_of(project, version, environment).await?;
    let at = now();
    let evaluation = policy.evaluate(&record, at);
    if !evaluation.passed {
        return Err(Failure::new(Code::Refused, refusal(version, environment, &evaluation)));
    }
    let digest = project.store.blobs().put(&bytes)?;
    let rules: Vec<String> = evaluation.rules.into_iter().map(|rule| rule.name).collect();
    let predicate = Promotion {
        verifier: Verifier {
            id: "https://lineal.dev/verifiers/policy/v1".to_owned(),
            version: [("lineal".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        },
        time_verified: at,
        resource_uri: Promotion::resource_uri(environment, version),
        policy: VerificationPolicy { uri: format!("policy/{environment}.yaml"), digest: digest.into() },
        input_attestations: evidence,
        verification_result: "PASSED".to_owned(),
        verified_levels: rules.clone(),
    };
    let statement = Statement {
        subject: vec![Subject::new(version.to_string(), row.digest)],
        predicate: Predicate::Promotion(predicate),
    };
    let committed = project.store.commit(&[statement], project.store.builder()).await?;
    let statement = committed.first().map_or(digest, |c| c.statement);
    Ok(Promoted {
        version: version.clone(),
        environment: environment.clone(),
        policy: digest,
        rules,
        statement,
    })
}

/// The registration of `version`, if `environment` admitted it. Both are proven to be in the ledger: a row of the index
/// sends no traffic anywhere.
pub(crate) async fn promoted(
    project: &Project,
    version: &ModelVersion,
    environment: &EnvironmentName,
) -> Result<Option<VersionRow>, Failure> {
    model::find(project, version).await?;
    let part = collect(project, &VerifySubject::Version(version.clone())).await?;
    let Some(row) = part.index.version(version).await? else { return Ok(None) };
    let Some(admitted) = part.index.promotion(version, &row.digest, environment).await? else {
        return Ok(None);
    };
    // Where a quorum is set, a ledger that only its own key vouches for admits nothing.
    let judged = WitnessDemand::of(project, None, None)?.judge(project, Some(&part.head))?;
    let position = part.statements.get(&admitted.statement).map(|placed| placed.position);
    if judged.is_some_and(|(seen, _)| position.is_none_or(|position| position >= seen.checkpoint.size)) {
        let text = format!(
            "no quorum of witnesses has seen yet that {version} was promoted to {environment}: lineal ledger witness"
        );
        return Err(Failure::new(Code::NotVerified, text));
    }
    Ok(Some(row))
}

/// What the policy of `environment` says about `version` now, rule by rule.
pub async fn evaluate(
    project: &Project,
    version: &ModelVersion,
    environment: &EnvironmentName,
) -> Result<Evaluation, Failure> {
    model::find(project, version).await?;
    let (policy, _) = load_policy(project, environment)?;
    let (record, _) = record_of(project, version, environment).await?;
    Ok(policy.evaluate(&record, now()))
}

/// The policy of an environment: `policy/<environment>.yaml` in the project.
pub fn load_policy(project: &Project, environment: &EnvironmentName) -> Result<(Policy, Vec<u8>), Failure> {
    let relative = Path::new("policy").join(format!("{environment}.yaml"));
    let path = project.root.join(&relative);
    if !path.is_file() {
        return Err(Failure::new(
            Code::NotFound,
            format!("environment `{environment}` has no policy: `{}` is missing", relative.display()),
        ));
    }
    let wrong = |reason: String| Failure::new(Code::Policy, format!("`{}`: {reason}", relative.display()));
    let bytes =
        files::read_limited(&path, POLICY_LIMIT_BYTES).map_err(|e| wrong(crate::failure::chain(&e)))?;
    let policy = Policy::parse(&bytes).map_err(|e| wrong(crate::failure::chain(&e)))?;
    if policy.environment != *environment {
        return Err(wrong(format!("it is the policy of `{}`, not of `{environment}`", policy.environment)));
    }
    Ok((policy, bytes))
}

fn refusal(version: &ModelVersion, environment: &EnvironmentName, evaluation: &Evaluation) -> String {
    let missing = evaluation.rules.iter().filter(|rule| !rule.held).map(|rule| match &rule.error {
        Some(error) => {
            format!("\n  - {}: {} (the rule could not be decided: {error})", rule.name, rule.message)
        }
        None => format!("\n  - {}: {}", rule.name, rule.message),
    });
    format!("{version} may not go to {environment}; missing:{}", missing.collect::<String>())
}

/// The record that rules see, and the statements behind it. No row of the project's index is believed: each statement is
/// proven to be in the ledger, and all that name the version are there, also those that speak against it.
async fn record_of(
    project: &Project,
    version: &ModelVersion,
    environment: &EnvironmentName,
) -> Result<(Record, Vec<ResourceDescriptor>), Failure> {
    let part = collect_all_about(project, version).await?;
    let index = &part.index;
    let row = index.version(version).await?;
    let row = &row.ok_or_else(|| Failure::new(Code::NotVerified, format!("{version} is not proven")))?;
    let mut evidence = vec![descriptor("registration", row.statement)];
    let mut gates: BTreeMap<String, GateFact> = BTreeMap::new();
    for gate in index.gates_about(&row.digest).await?.into_iter().filter(|gate| gate.counts) {
        let Predicate::TestResult(result) = part.statement(&gate.statement)?.predicate.clone() else {
            continue;
        };
        evidence.push(descriptor(&format!("gate/{}", gate.name), gate.statement));
        let fact = GateFact {
            name: gate.name.clone(),
            passed: result.result == Outcome::Passed,
            outcome: result.result,
            failed: result.failed_tests,
            warned: result.warned_tests,
        };
        // Oldest first: the latest verdict of a gate is in force.
        gates.insert(gate.name, fact);
    }
    let mut approvals = Vec::new();
    for approval in index.approvals_about(&row.digest).await? {
        let fits = approval.counts && approval.environment == *environment && approval.version == row.version;
        if !fits {
            continue;
        }
        evidence.push(descriptor(&format!("approval/{}", approval.approver), approval.statement));
        approvals.push(ApprovalFact {
            approver: approval.approver,
            role: "approver".to_owned(),
            reason: approval.reason,
            approved_at: time(&approval.approved_at)?,
        });
    }
    let promotions = index.promotions().await?.into_iter().filter(|p| p.counts && p.digest == row.digest);
    let promotions = promotions
        .map(|p| Ok(PromotionFact { environment: p.environment, promoted_at: time(&p.promoted_at)? }))
        .collect::<Result<Vec<_>, Failure>>()?;
    let (provenance, run) = provenance_of(project, &part, row, &mut evidence).await?;
    let model =
        ModelFact { name: row.version.model.clone(), version: row.version.version, digest: row.digest };
    let incidents = incidents_about(&part, &row.digest).await?;
    let gates = gates.into_values().collect();
    let environment = environment.clone();
    Ok((Record { model, environment, gates, approvals, provenance, run, promotions, incidents }, evidence))
}

async fn incidents_about(part: &Part, digest: &Digest) -> Result<Vec<IncidentFact>, Failure> {
    let mut incidents = Vec::new();
    for entry in part.index.entries_about(digest).await? {
        if entry.noun != "incident" {
            continue;
        }
        if let Predicate::Incident(incident) = part.statement(&entry.statement)?.predicate.clone() {
            incidents.push(IncidentFact {
                code: incident.code,
                message: incident.message,
                found_at: incident.found_at,
            });
        }
    }
    Ok(incidents)
}

/// The sealed run that made the model, its steps and inputs. Complete means: every step has a provenance statement
/// by a builder whose key counts, and every input is a recorded snapshot or an output of such a step.
async fn provenance_of(
    project: &Project,
    part: &Part,
    row: &VersionRow,
    evidence: &mut Vec<ResourceDescriptor>,
) -> Result<(ProvenanceFact, RunFact), Failure> {
    let index = &part.index;
    let run = index.run(&row.record.run).await?.ok_or_else(|| {
        Failure::new(
            Code::NotVerified,
            format!("run `{}` of {} is not in the ledger", row.record.run, row.version),
        )
    })?;
    evidence.push(descriptor("run", run.statement));
    let Predicate::RunSealed(sealed) = part.statement(&run.statement)?.predicate.clone() else {
        return Err(Failure::new(Code::Tampered, format!("statement {} does not seal a run", run.statement)));
    };
    let mut steps = Vec::new();
    let mut complete = signed_by_builder(part, &run.statement);
    for step in &sealed.steps {
        complete &= signed_by_builder(part, &step.provenance);
        evidence.push(descriptor(&format!("provenance/{}", step.step), step.provenance));
        let Predicate::Provenance(provenance) = part.statement(&step.provenance)?.predicate.clone() else {
            return Err(Failure::new(
                Code::Tampered,
                format!("statement {} is no provenance", step.provenance),
            ));
        };
        steps.push((step.cached, provenance));
    }
    let made: Vec<Digest> = sealed.steps.iter().flat_map(|s| s.outputs.values().map(|a| a.digest)).collect();
    complete &= made.contains(&row.digest);
    let mut data = BTreeMap::new();
    for (_, provenance) in &steps {
        for dependency in &provenance.build_definition.resolved_dependencies {
            let digest = dependency.digest.sha256();
            if !dependency.name.starts_with("in/") || made.contains(&digest) {
                continue;
            }
            match index.snapshots().await?.into_iter().find(|s| s.digest == digest) {
                Some(s) => {
                    let tag = s.tag.map(|t| t.to_string()).unwrap_or_default();
                    data.insert(digest, DataFact { dataset: s.dataset.to_string(), tag, digest });
                }
                None => complete = false,
            }
        }
    }
    let provenance = provenance_fact(row, &steps, complete, data.into_values().collect());
    let run = run_fact(project, &sealed, &steps)?;
    Ok((provenance, run))
}

fn provenance_fact(
    row: &VersionRow,
    steps: &[(bool, StepProvenance)],
    complete: bool,
    data: Vec<DataFact>,
) -> ProvenanceFact {
    let dependency = |prefix: &str| {
        let maker = steps
            .iter()
            .map(|(_, p)| &p.build_definition)
            .find(|b| b.external_parameters.step == row.record.step);
        let found = maker?.resolved_dependencies.iter().find(|d| d.name.starts_with(prefix))?;
        Some(found.digest.sha256())
    };
    let uncontrolled = steps
        .iter()
        .flat_map(|(_, p)| p.build_definition.internal_parameters.uncontrolled.iter().cloned())
        .collect();
    ProvenanceFact {
        complete,
        code: dependency("code").unwrap_or(row.digest),
        environment_digest: dependency("environment/").map(|d| d.to_string()).unwrap_or_default(),
        data,
        uncontrolled,
        steps: steps
            .iter()
            .map(|(cached, p)| StepFact {
                name: p.build_definition.external_parameters.step.to_string(),
                determinism: p.build_definition.external_parameters.determinism.clone(),
                entropy: p.build_definition.internal_parameters.entropy.state.clone(),
                cached: *cached,
                cpu: p.build_definition.internal_parameters.cpu.clone(),
            })
            .collect(),
    }
}

fn run_fact(
    project: &Project,
    sealed: &RunSealed,
    steps: &[(bool, StepProvenance)],
) -> Result<RunFact, Failure> {
    let mut params = BTreeMap::new();
    for (_, provenance) in steps {
        for (name, text) in &provenance.build_definition.external_parameters.parameters {
            let value = serde_json::from_str(text).map_err(|e| Failure::caused(Code::Tampered, &e))?;
            params.insert(name.clone(), value);
        }
    }
    let seed =
        steps.first().map(|(_, p)| p.build_definition.external_parameters.seed.clone()).unwrap_or_default();
    // Reports are small JSON files; whatever output parses as a JSON object is offered to rules under its name.
    let mut metrics = BTreeMap::new();
    for step in &sealed.steps {
        for (name, artifact) in &step.outputs {
            let small = artifact.size_bytes.parse::<usize>().is_ok_and(|size| size <= METRICS_LIMIT_BYTES);
            if !small || artifact.kind != lineal_facts::predicate::ArtifactKind::File {
                continue;
            }
            let bytes = project.store.blobs().read(&artifact.digest)?;
            if let Ok(value @ serde_json::Value::Object(_)) = lineal_facts::json::parse_value(&bytes) {
                metrics.insert(format!("{}.{name}", step.step), value);
            }
        }
    }
    Ok(RunFact {
        id: sealed.run.clone(),
        pipeline: sealed.pipeline.clone(),
        seed,
        started_by: lineal_store::store::SYSTEM_HOLDER.to_owned(),
        started_at: sealed.started_at,
        finished_at: sealed.finished_at,
        params,
        metrics,
    })
}

/// Largest output that is looked at for metrics.
const METRICS_LIMIT_BYTES: usize = 64 << 10;

fn signed_by_builder(part: &Part, statement: &Digest) -> bool {
    let placed = part.statements.get(statement);
    placed.is_some_and(|s| part.keyring.accepts(&s.key, KeyRole::Builder, s.position).is_ok())
}

fn time(text: &str) -> Result<Timestamp, Failure> {
    text.parse().map_err(|e| Failure::caused(Code::Internal, &e))
}

fn descriptor(name: &str, digest: Digest) -> ResourceDescriptor {
    ResourceDescriptor { name: name.to_owned(), digest: digest.into(), annotations: BTreeMap::new() }
}
