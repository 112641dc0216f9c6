//! The links of the chain: model, run, steps, data, gates, approvals, promotions, rollouts.

use std::collections::BTreeSet;

use lineal_blob::tree;
use lineal_engine::analysis;
use lineal_facts::predicate::{Artifact, ArtifactKind, KeyRole, Outcome, RunStep, StepProvenance};
use lineal_facts::sequence::Series;
use lineal_facts::{Digest, ModelVersion, Predicate, RolloutId, RunId};
use lineal_store::index::{SnapshotRow, VersionRow};

use super::{Checked, Checker, Node};
use crate::failure::{Code, Failure};

impl Checker<'_> {
    pub(super) async fn version(&mut self, version: &ModelVersion) -> Result<Node, Failure> {
        let row = self.index.version(version).await?.ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("there is no model version `{version}`; `lineal model list` shows what there is"),
            )
        })?;
        let mut node = Node::new(version.to_string(), row.digest.to_string());
        let registered = self.statement(&row.statement, Some(KeyRole::Builder)).await;
        node.children.push(match registered {
            Ok(checked) if checked.statement.is_about(&row.digest) => {
                Node::new("registration", entry(&checked))
            }
            Ok(_) => self.contradiction("registration", "it is about another model"),
            Err(failure) => self.broken("registration", &failure),
        });
        let artifact =
            Artifact { kind: ArtifactKind::Directory, digest: row.digest, size_bytes: String::new() };
        node.children.push(self.blobs("model", &artifact));
        node.children.push(self.run_by_id(&row.record.run).await?);
        node.children.push(self.gates(&row.digest).await?);
        node.children.push(self.approvals(&row.digest).await?);
        node.children.push(self.promotions(&row).await?);
        node.children.push(self.rollouts(version).await?);
        Ok(node)
    }

    pub(super) async fn run_by_id(&mut self, run: &RunId) -> Result<Node, Failure> {
        let row = self
            .index
            .run(run)
            .await?
            .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no run `{run}`")))?;
        let checked = match self.statement(&row.statement, Some(KeyRole::Builder)).await {
            Ok(checked) => checked,
            Err(failure) => return Ok(self.broken(run.as_str(), &failure)),
        };
        let Predicate::RunSealed(sealed) = &checked.statement.predicate else {
            return Ok(self.contradiction(run.as_str(), "its statement does not seal a run"));
        };
        let mut node =
            Node::new(run.to_string(), format!("{}, pipeline {}", entry(&checked), sealed.pipeline));
        let plan = Artifact { kind: ArtifactKind::File, digest: sealed.plan, size_bytes: String::new() };
        node.children.push(self.blobs("plan", &plan));
        for step in &sealed.steps {
            let child = self.step(step).await?;
            node.children.push(child);
        }
        node.children.push(self.record_of_run(sealed).await?);
        Ok(node)
    }

    async fn step(&mut self, step: &RunStep) -> Result<Node, Failure> {
        let label = format!("step {}", step.step);
        let checked = match self.statement(&step.provenance, Some(KeyRole::Builder)).await {
            Ok(checked) => checked,
            Err(failure) => return Ok(self.broken(&label, &failure)),
        };
        let Predicate::Provenance(provenance) = &checked.statement.predicate else {
            return Ok(self.contradiction(&label, "its statement is no provenance"));
        };
        let internal = &provenance.build_definition.internal_parameters;
        if internal.cache_key != step.cache_key || internal.outputs != step.outputs {
            return Ok(self.contradiction(&label, "run and provenance name different results"));
        }
        let external = &provenance.build_definition.external_parameters;
        let detail = format!(
            "{}, seed {}, {}, entropy {}",
            entry(&checked),
            external.seed,
            external.determinism,
            internal.entropy.state
        );
        let mut node = Node::new(label, detail);
        let key =
            Artifact { kind: ArtifactKind::File, digest: internal.cache_key, size_bytes: String::new() };
        node.children.push(self.blobs("what determines it", &key));
        self.dependencies(provenance, &mut node).await?;
        for (name, artifact) in &step.outputs {
            node.children.push(self.blobs(&format!("out {name}"), artifact));
        }
        Ok(node)
    }

    async fn dependencies(&mut self, provenance: &StepProvenance, node: &mut Node) -> Result<(), Failure> {
        for dependency in &provenance.build_definition.resolved_dependencies {
            let digest = dependency.digest.sha256();
            if dependency.name == "code" {
                let code = Artifact { kind: ArtifactKind::Directory, digest, size_bytes: String::new() };
                node.children.push(self.blobs("code", &code));
            } else if dependency.name.starts_with("environment/") {
                // An environment is not kept: its digest is recorded, and `reproduce` compares it with what is there.
                node.children
                    .push(Node::new(dependency.name.clone(), format!("recorded as {}", digest.short())));
            } else {
                let child = self.input(&dependency.name, &digest).await?;
                node.children.push(child);
            }
        }
        Ok(())
    }

    /// An input is a recorded snapshot or the output of a recorded step.
    async fn input(&mut self, name: &str, digest: &Digest) -> Result<Node, Failure> {
        let index = self.index.clone();
        if let Some(row) = index.snapshots().await?.into_iter().find(|row| row.digest == *digest) {
            return Ok(self.snapshot(&row).await);
        }
        if let Some(maker) = index.makers(digest).await?.first() {
            return Ok(Node::new(name.to_owned(), format!("{} made by step {}", digest.short(), maker.step)));
        }
        let message =
            format!("input {name} ({digest}) is neither a recorded snapshot nor made by a recorded step");
        Ok(self.broken(name, &Failure::new(Code::NotVerified, message)))
    }

    pub(super) async fn snapshot(&mut self, row: &SnapshotRow) -> Node {
        let at = row.tag.as_ref().map_or_else(|| row.digest.short(), ToString::to_string);
        let label = format!("data {}@{at}", row.dataset);
        let checked = match self.statement(&row.statement, Some(KeyRole::Builder)).await {
            Ok(checked) => checked,
            Err(failure) => return self.broken(&label, &failure),
        };
        let artifact = Artifact {
            kind: ArtifactKind::Directory,
            digest: row.digest,
            size_bytes: row.size_bytes.clone(),
        };
        let blobs = self.blobs(&label, &artifact);
        Node { detail: format!("{}, {}", entry(&checked), blobs.detail), ..blobs }
    }

    async fn gates(&mut self, digest: &Digest) -> Result<Node, Failure> {
        let mut node = Node::new("gates", String::new());
        let rows = self.index.gates_about(digest).await?;
        for row in &rows {
            let label = format!("gate {}", row.name);
            let child = match self.statement(&row.statement, Some(KeyRole::Builder)).await {
                Ok(checked) => match &checked.statement.predicate {
                    Predicate::TestResult(result) => {
                        let word = match result.result {
                            Outcome::Passed => "passed",
                            Outcome::Warned => "warned",
                            Outcome::Failed => "failed",
                        };
                        let count = result.passed_tests.len();
                        let failed = result.failed_tests.len();
                        Node::new(
                            label,
                            format!("{word}: {count} checks held, {failed} did not, {}", entry(&checked)),
                        )
                    }
                    _ => self.contradiction(&label, "its statement is no test result"),
                },
                Err(failure) => self.broken(&label, &failure),
            };
            node.children.push(child);
        }
        node.detail = format!("{} verdicts", rows.len());
        Ok(node)
    }

    async fn approvals(&mut self, digest: &Digest) -> Result<Node, Failure> {
        let mut node = Node::new("approvals", String::new());
        let rows = self.index.approvals_about(digest).await?;
        for row in &rows {
            let label = format!("approval by {}", row.approver);
            let child = match self.statement(&row.statement, Some(KeyRole::Approver)).await {
                Ok(checked) if checked.holder == row.approver => {
                    Node::new(label, format!("for {}: {}, {}", row.environment, row.reason, entry(&checked)))
                }
                Ok(checked) => self.contradiction(&label, &format!("it is signed by {}", checked.holder)),
                Err(failure) => self.broken(&label, &failure),
            };
            node.children.push(child);
        }
        node.detail = format!("{} signed", rows.len());
        Ok(node)
    }

    async fn promotions(&mut self, version: &VersionRow) -> Result<Node, Failure> {
        let mut node = Node::new("promotions", String::new());
        let rows = self.index.promotions().await?;
        for row in rows.iter().filter(|row| row.version == version.version) {
            let label = format!("promotion to {}", row.environment);
            let checked = match self.statement(&row.statement, Some(KeyRole::Builder)).await {
                Ok(checked) => checked,
                Err(failure) => {
                    let child = self.broken(&label, &failure);
                    node.children.push(child);
                    continue;
                }
            };
            let Predicate::Promotion(promotion) = &checked.statement.predicate else {
                let child = self.contradiction(&label, "its statement is no promotion");
                node.children.push(child);
                continue;
            };
            let policy = Artifact { kind: ArtifactKind::File, digest: row.policy, size_bytes: String::new() };
            let mut child = self.blobs(&label, &policy);
            if !checked.statement.is_about(&version.digest) {
                child = self.contradiction(&label, "it is about another model");
            }
            for attestation in &promotion.input_attestations {
                if let Err(failure) = self.statement(&attestation.digest.sha256(), None).await {
                    let broken = self.broken(&attestation.name, &failure);
                    child.children.push(broken);
                }
            }
            child.detail = format!(
                "{} rules held on {} statements, {}",
                promotion.verified_levels.len(),
                promotion.input_attestations.len(),
                entry(&checked)
            );
            node.children.push(child);
        }
        node.detail = format!("{} decided by policy", node.children.len());
        Ok(node)
    }

    async fn rollouts(&mut self, version: &ModelVersion) -> Result<Node, Failure> {
        let mut node = Node::new("rollouts", String::new());
        let rows = self.index.rollouts_of(version).await?;
        for row in &rows {
            let record = &row.record;
            let word = format!("{:?}", record.transition).to_lowercase();
            let label = format!("{word}, canary at {} %", record.canary_weight_percent);
            let child = match self.statement(&row.statement, Some(KeyRole::Builder)).await {
                Ok(checked) => match self.replayed(record.analysis, &record.evidence) {
                    Ok(replayed) => {
                        Node::new(label, format!("{}; {}{replayed}", record.cause, entry(&checked)))
                    }
                    Err(failure) => self.broken(&label, &failure),
                },
                Err(failure) => self.broken(&label, &failure),
            };
            node.children.push(child);
        }
        node.detail = format!("{} steps", node.children.len());
        let ids: BTreeSet<&RolloutId> = rows.iter().map(|row| &row.record.rollout).collect();
        for id in ids {
            let (record, _) = self.series(&Series::Rollout(id.clone())).await?;
            node.children.push(record);
        }
        Ok(node)
    }

    /// Computes the verdict again from the stored statistics.
    fn replayed(
        &self,
        analysis: Option<Digest>,
        evidence: &[lineal_facts::predicate::MetricEvidence],
    ) -> Result<&'static str, Failure> {
        let Some(digest) = analysis else { return Ok("") };
        let document = self.project.store.blobs().read(&digest)?;
        let judgement = analysis::replay(&document).map_err(|e| Failure::caused(Code::Tampered, &e))?;
        if judgement.evidence() == evidence {
            Ok(", verdict replayed")
        } else {
            Err(Failure::new(
                Code::Tampered,
                format!("the statistics {digest} do not give the recorded verdict"),
            ))
        }
    }

    /// Re-hashes an artefact's blobs.
    fn blobs(&mut self, label: &str, artifact: &Artifact) -> Node {
        let blobs = self.project.store.blobs();
        let checked =
            tree::blobs_of(blobs, artifact.kind, &artifact.digest).map_err(Failure::from).and_then(|all| {
                all.iter().try_for_each(|digest| blobs.verify(digest))?;
                Ok(all.len())
            });
        match (checked, artifact.kind) {
            (Ok(_), ArtifactKind::File) => Node::new(label, format!("{} re-hashed", artifact.digest.short())),
            (Ok(count), ArtifactKind::Directory) => {
                Node::new(label, format!("{}, {} files re-hashed", artifact.digest.short(), count - 1))
            }
            (Err(failure), _) => self.broken(label, &failure),
        }
    }

    fn contradiction(&mut self, label: &str, reason: &str) -> Node {
        self.broken(label, &Failure::new(Code::Tampered, reason))
    }
}

fn entry(checked: &Checked) -> String {
    format!("entry {}, signed by {}", checked.position, checked.holder)
}
