//! What a thing was made from, and what was made from it.

use std::collections::{BTreeMap, BTreeSet};

use lineal_facts::{Digest, RunId};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::model;
use crate::project::Project;
use crate::verify::VerifySubject;

/// Most nodes of one graph.
const NODE_LIMIT: usize = 10_000;

/// A graph: edges lead from what was made to what it was made from.
#[derive(Debug, Serialize)]
pub struct Lineage {
    /// The node that was asked for.
    pub subject: String,
    /// Nodes by id.
    pub nodes: BTreeMap<String, LineageNode>,
    /// (made, made from).
    pub edges: BTreeSet<(String, String)>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineageNode {
    /// `model`, `step`, `data`, `artifact`, `code` or `environment`.
    pub kind: &'static str,
    /// What people call it.
    pub label: String,
}

/// Which way to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What it was made from.
    Up,
    /// What was made from it.
    Down,
}

/// The graph of `subject`.
pub async fn lineage(
    project: &Project,
    subject: &VerifySubject,
    direction: Direction,
) -> Result<Lineage, Failure> {
    let (label, kind, digest) = start(project, subject).await?;
    let id = digest.to_string();
    let mut graph = Lineage { subject: id.clone(), nodes: BTreeMap::new(), edges: BTreeSet::new() };
    graph.nodes.insert(id.clone(), LineageNode { kind, label });
    let mut pending = vec![digest];
    while let Some(digest) = pending.pop() {
        if graph.nodes.len() > NODE_LIMIT {
            return Err(Failure::new(
                Code::Usage,
                format!("more than {NODE_LIMIT} nodes; ask for something nearer"),
            ));
        }
        match direction {
            Direction::Up => graph.up(project, digest, &mut pending).await?,
            Direction::Down => graph.down(project, digest, &mut pending).await?,
        }
    }
    Ok(graph)
}

async fn start(
    project: &Project,
    subject: &VerifySubject,
) -> Result<(String, &'static str, Digest), Failure> {
    match subject {
        VerifySubject::Version(version) => {
            Ok((version.to_string(), "model", model::find(project, version).await?.digest))
        }
        VerifySubject::Snapshot(reference) => {
            Ok((reference.to_string(), "data", crate::data::find(project, reference).await?.digest))
        }
        VerifySubject::Statement(digest) => Ok((digest.short(), "artifact", *digest)),
        VerifySubject::Run(run) => {
            Ok((format!("last output of {run}"), "artifact", last_output(project, run).await?))
        }
    }
}

async fn last_output(project: &Project, run: &RunId) -> Result<Digest, Failure> {
    let absent = || Failure::new(Code::NotFound, format!("there is no run `{run}` with outputs"));
    let steps = project.store.index().run_steps(run).await?;
    let last = steps.last().ok_or_else(absent)?;
    let result = project.store.index().result(&last.cache_key).await?.ok_or_else(absent)?;
    result.outputs.values().next().map(|artifact| artifact.digest).ok_or_else(absent)
}

impl Lineage {
    async fn up(
        &mut self,
        project: &Project,
        digest: Digest,
        pending: &mut Vec<Digest>,
    ) -> Result<(), Failure> {
        let index = project.store.index();
        // The first maker is the one whose result counts.
        let Some(maker) = index.makers(&digest).await?.into_iter().next() else { return Ok(()) };
        let step = maker.statement.to_string();
        let output =
            maker.outputs.iter().find(|(_, a)| a.digest == digest).map_or("", |(name, _)| name.as_str());
        self.name(digest, "artifact", &format!("{}.{output}", maker.step));
        self.edges.insert((digest.to_string(), step.clone()));
        if self.nodes.contains_key(&step) {
            return Ok(());
        }
        self.nodes.insert(
            step.clone(),
            LineageNode { kind: "step", label: format!("{} of {}", maker.step, maker.run) },
        );
        for dependency in index.dependencies(&maker.statement).await? {
            self.edges.insert((step.clone(), dependency.digest.to_string()));
            let (kind, label) = self.describe(project, &dependency.name, &dependency.digest).await?;
            let known = self.nodes.contains_key(&dependency.digest.to_string());
            self.name(dependency.digest, kind, &label);
            if !known && kind == "artifact" {
                pending.push(dependency.digest);
            }
        }
        Ok(())
    }

    async fn down(
        &mut self,
        project: &Project,
        digest: Digest,
        pending: &mut Vec<Digest>,
    ) -> Result<(), Failure> {
        let index = project.store.index();
        for version in index.versions(None).await?.into_iter().filter(|v| v.digest == digest) {
            self.name(digest, "model", &version.version.to_string());
            let id = digest.to_string();
            self.nodes.insert(id, LineageNode { kind: "model", label: version.version.to_string() });
        }
        for dependent in index.dependents(&digest).await? {
            let step = dependent.statement.to_string();
            self.edges.insert((step.clone(), digest.to_string()));
            if self.nodes.contains_key(&step) {
                continue;
            }
            let statement = project.store.statement(&dependent.statement).await?;
            let label = statement.subject.first().map(|s| s.name.clone()).unwrap_or_default();
            let label = label.split('.').next().unwrap_or_default().to_owned();
            self.nodes.insert(step.clone(), LineageNode { kind: "step", label });
            for subject in &statement.subject {
                let made = subject.digest.sha256();
                self.edges.insert((made.to_string(), step.clone()));
                if !self.nodes.contains_key(&made.to_string()) {
                    self.name(made, "artifact", &subject.name);
                    pending.push(made);
                }
            }
        }
        Ok(())
    }

    fn name(&mut self, digest: Digest, kind: &'static str, label: &str) {
        let node = LineageNode { kind, label: format!("{label} {}", digest.short()) };
        self.nodes.entry(digest.to_string()).or_insert(node);
    }

    async fn describe(
        &self,
        project: &Project,
        name: &str,
        digest: &Digest,
    ) -> Result<(&'static str, String), Failure> {
        if name == "code" {
            return Ok(("code", "code".to_owned()));
        }
        if name.starts_with("environment/") {
            return Ok(("environment", name.to_owned()));
        }
        let snapshots = project.store.index().snapshots().await?;
        if let Some(row) = snapshots.into_iter().find(|row| row.digest == *digest) {
            let at = row.tag.map_or_else(String::new, |tag| format!("@{tag}"));
            return Ok(("data", format!("{}{at}", row.dataset)));
        }
        Ok(("artifact", name.to_owned()))
    }

    /// Graphviz text.
    pub fn to_dot(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut text =
            String::from("digraph lineage {\n  rankdir=RL;\n  node [shape=box, fontname=\"sans-serif\"];\n");
        for (id, node) in &self.nodes {
            let shape = match node.kind {
                "step" => ", shape=ellipse",
                "data" => ", shape=cylinder",
                _ => "",
            };
            text.push_str(&format!("  \"{id}\" [label=\"{}\"{shape}];\n", escape(&node.label)));
        }
        for (made, from) in &self.edges {
            text.push_str(&format!("  \"{made}\" -> \"{from}\";\n"));
        }
        text.push_str("}\n");
        text
    }
}
