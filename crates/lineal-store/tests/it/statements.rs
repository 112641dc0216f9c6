//! Statements of every kind.

use std::collections::BTreeMap;

use lineal_facts::predicate::{
    Approval, Artifact, ArtifactKind, BuildDefinition, Builder, DatasetSnapshot, Entropy, ExternalParameters,
    Incident, InternalParameters, KeyRecord, KeyRole, KeyState, ModelVersionRecord, Outcome, Promotion,
    ResourceDescriptor, RolloutRecord, RolloutTransition, RunDetails, RunMetadata, RunSealed, RunStep,
    ServeSpec, StepProvenance, TestResult, VerificationPolicy, Verifier,
};
use lineal_facts::sequence::{Sequence, SeriesEnd};
use lineal_facts::statement::{PAYLOAD_TYPE, Subject};
use lineal_facts::{Digest, ModelVersion, Predicate, RunId, Statement, Timestamp};
use lineal_proof::{Signer, envelope};
use lineal_store::Store;
use lineal_store::store::SYSTEM_HOLDER;

pub(crate) fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

pub(crate) fn about(name: &str, of: &str, predicate: Predicate) -> Statement {
    Statement { subject: vec![Subject::new(name, digest(of))], predicate }
}

pub(crate) fn key(store: &Store) -> Statement {
    key_of(SYSTEM_HOLDER, KeyRole::Builder, store.builder().public_key())
}

pub(crate) fn key_of(holder: &str, role: KeyRole, key: &lineal_proof::PublicKey) -> Statement {
    let record = KeyRecord {
        holder: holder.to_owned(),
        role,
        state: KeyState::Active,
        public_key: key.to_pem(),
        replaces: None,
        reason: None,
        stated_at: at(0),
    };
    Statement {
        subject: vec![Subject::new(format!("key/{holder}"), key.id())],
        predicate: Predicate::Key(record),
    }
}

pub(crate) fn incident(number: u64) -> Statement {
    told(&format!("incident {number}"))
}

pub(crate) fn told(message: &str) -> Statement {
    let record = Incident { code: "test".to_owned(), message: message.to_owned(), found_at: at(1) };
    about("thing", message, Predicate::Incident(record))
}

pub(crate) fn dataset(name: &str, tag: Option<&str>, of: &str) -> Statement {
    let record = DatasetSnapshot {
        dataset: name.parse().unwrap(),
        tag: tag.map(|tag| tag.parse().unwrap()),
        files: "1".to_owned(),
        size_bytes: "2".to_owned(),
        rows: "3".to_owned(),
        schema: digest("schema"),
        profile: digest("profile"),
        created_at: at(2),
    };
    about(name, of, Predicate::Dataset(record))
}

pub(crate) fn artifact(of: &str) -> Artifact {
    Artifact { kind: ArtifactKind::Directory, digest: digest(of), size_bytes: "7".to_owned() }
}

fn resource(name: &str, of: &str) -> ResourceDescriptor {
    ResourceDescriptor { name: name.to_owned(), digest: digest(of).into(), annotations: BTreeMap::new() }
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::derive(&digest("plan"), at(0), number)
}

/// A step `step` of the run whose key and outputs follow from the names given.
pub(crate) fn provenance(step: &str, key: &str, outputs: &[&str]) -> Statement {
    let outputs = outputs.iter().map(|of| ((*of).to_owned(), artifact(of))).collect();
    let internal = InternalParameters {
        cache_key: digest(key),
        key_document: digest("document"),
        step_seed: "1".to_owned(),
        cpu: "any".to_owned(),
        entropy: Entropy { state: "controlled".to_owned(), ..Entropy::default() },
        uncontrolled: Vec::new(),
        outputs,
        location: BTreeMap::new(),
        sequence: Sequence::after(None),
    };
    let external = ExternalParameters {
        pipeline: "flights".parse().unwrap(),
        step: step.parse().unwrap(),
        run: vec!["true".to_owned()],
        parameters: BTreeMap::new(),
        seed: "1".to_owned(),
        determinism: "observe".to_owned(),
    };
    let record = StepProvenance {
        build_definition: BuildDefinition {
            build_type: "https://lineal.dev/step/v1".to_owned(),
            external_parameters: external,
            internal_parameters: internal,
            resolved_dependencies: vec![
                resource("data", "data"),
                resource("Zebra", "zebra"),
                resource("code", "code"),
            ],
        },
        run_details: RunDetails {
            builder: Builder { id: "us".to_owned(), version: BTreeMap::new() },
            metadata: RunMetadata { invocation_id: run_id(1), started_on: at(3), finished_on: at(4) },
            byproducts: Vec::new(),
        },
    };
    about(step, key, Predicate::Provenance(record))
}

pub(crate) fn sealed(number: u64, steps: &[&str]) -> Statement {
    let step = |name: &&str| RunStep {
        step: name.parse().unwrap(),
        cache_key: digest(name),
        cached: number == 2,
        provenance: digest("provenance"),
        outputs: BTreeMap::new(),
    };
    let record = RunSealed {
        run: run_id(number),
        pipeline: "flights".parse().unwrap(),
        plan: digest("plan"),
        steps: steps.iter().map(step).collect(),
        sequence: Sequence::after(None),
        started_at: at(3),
        finished_at: at(5),
    };
    about("run", &format!("run {number}"), Predicate::RunSealed(record))
}

pub(crate) fn gate(name: &str, result: Outcome) -> Statement {
    let record = TestResult {
        result,
        configuration: vec![resource(&format!("gate/{name}"), "definition")],
        passed_tests: Vec::new(),
        warned_tests: Vec::new(),
        failed_tests: Vec::new(),
    };
    about("model", "model", Predicate::TestResult(record))
}

pub(crate) fn version(model: &str, number: u32) -> ModelVersion {
    format!("{model}/{number}").parse().unwrap()
}

pub(crate) fn registered(model: &str, number: u32, output: &str) -> Statement {
    let record = ModelVersionRecord {
        version: version(model, number),
        run: run_id(1),
        step: "train".parse().unwrap(),
        output: output.to_owned(),
        provenance: digest("provenance"),
        serve: ServeSpec {
            run: vec!["serve".to_owned()],
            environment: digest("environment"),
            environment_path: ".venv".to_owned(),
            output: "late".to_owned(),
            ready_timeout_ms: "1000".to_owned(),
        },
        registered_at: at(6),
    };
    about("model", "model", Predicate::ModelVersion(record))
}

pub(crate) fn approval(approver: &str, reason: &str) -> Statement {
    let record = Approval {
        version: version("late", 1),
        environment: "production".parse().unwrap(),
        reason: reason.to_owned(),
        approver: approver.to_owned(),
        approved_at: at(7),
    };
    about("model", "model", Predicate::Approval(record))
}

pub(crate) fn promotion(number: u32) -> Statement {
    let record = Promotion {
        verifier: Verifier { id: "us".to_owned(), version: BTreeMap::new() },
        time_verified: at(8),
        resource_uri: Promotion::resource_uri(&"production".parse().unwrap(), &version("late", number)),
        policy: VerificationPolicy { uri: "policy".to_owned(), digest: digest("policy").into() },
        input_attestations: Vec::new(),
        verification_result: "PASSED".to_owned(),
        verified_levels: Vec::new(),
    };
    about("model", "model", Predicate::Promotion(record))
}

pub(crate) fn rollout(number: u64, transition: RolloutTransition) -> Statement {
    let record = RolloutRecord {
        rollout: lineal_facts::RolloutId::derive(&digest("model"), at(0), number),
        environment: "production".parse().unwrap(),
        stable: (number > 1).then(|| version("late", 1)),
        canary: version("late", 2),
        transition,
        canary_weight_percent: "10".to_owned(),
        generation: number.to_string(),
        cause: "test".to_owned(),
        evidence: Vec::new(),
        analysis: None,
        sequence: Sequence::after(None),
        decided_at: at(9),
    };
    about("model", "model", Predicate::Rollout(record))
}

/// One of every kind that the builder signs, and some twice: what is recorded first stands.
pub(crate) fn all() -> Vec<Statement> {
    let mut unknown: serde_json::Value = serde_json::from_slice(&incident(0).to_bytes().unwrap()).unwrap();
    unknown["predicateType"] = "https://example.com/other/v1".into();
    numbered(vec![
        dataset("numbers", Some("v1"), "first"),
        dataset("numbers", None, "second"),
        provenance("train", "train", &["model", "report"]),
        provenance("train", "train", &["model", "another report"]),
        provenance("score", "score", &["scores"]),
        sealed(1, &["train", "score"]),
        sealed(2, &["train"]),
        gate("quality", Outcome::Failed),
        gate("quality", Outcome::Passed),
        gate("contract", Outcome::Warned),
        registered("late", 1, "model"),
        registered("late", 1, "other"),
        registered("late", 10, "model"),
        registered("late", 9, "model"),
        registered("early", 1, "model"),
        promotion(1),
        rollout(1, RolloutTransition::Started),
        rollout(2, RolloutTransition::Started),
        rollout(2, RolloutTransition::RolledBack),
        incident(1),
        Statement::from_bytes(&serde_json::to_vec(&unknown).unwrap()).unwrap(),
    ])
}

/// Gives statements of runs and rollouts their places.
pub(crate) fn numbered(mut statements: Vec<Statement>) -> Vec<Statement> {
    let mut ends: BTreeMap<_, SeriesEnd> = BTreeMap::new();
    for statement in &mut statements {
        let Some(member) = statement.member() else { continue };
        let sequence = Sequence::after(ends.get(&member.series));
        match &mut statement.predicate {
            Predicate::Provenance(record) => {
                record.build_definition.internal_parameters.sequence = sequence;
            }
            Predicate::RunSealed(record) => record.sequence = sequence,
            Predicate::Rollout(record) => record.sequence = sequence,
            other => panic!("{} has no place", other.noun()),
        }
        let signed = envelope::pae(PAYLOAD_TYPE, &statement.to_bytes().unwrap());
        let (number, statement, closed) = (sequence.number, Digest::of(&signed), member.closes);
        ends.insert(member.series, SeriesEnd { number, statement, closed });
    }
    statements
}
