//! Completeness: the statements of a run or a rollout are all there.

use std::collections::BTreeSet;

use lineal_facts::predicate::{KeyRole, RunSealed};
use lineal_facts::sequence::{Series, SeriesEnd};
use lineal_facts::{Digest, Predicate};

use super::{Checker, Node};
use crate::failure::{Code, Failure, chain};

impl Checker<'_> {
    /// What a run recorded step by step is what its end names.
    pub(super) async fn record_of_run(&mut self, sealed: &RunSealed) -> Result<Node, Failure> {
        let (node, provenances) = self.series(&Series::Run(sealed.run.clone())).await?;
        let executed = sealed.steps.iter().filter(|step| !step.cached).map(|step| step.provenance);
        if node.ok && provenances != executed.collect() {
            let reason = "it recorded other steps than its end names";
            return Ok(self.broken("record of the run", &Failure::new(Code::Incomplete, reason)));
        }
        Ok(node)
    }

    /// Checks every statement of `series`, and that none is missing between the first and the last. Yields the
    /// provenance statements among them.
    pub(super) async fn series(&mut self, series: &Series) -> Result<(Node, BTreeSet<Digest>), Failure> {
        let label = format!("record of {series}");
        let mut provenances = BTreeSet::new();
        let mut end: Option<SeriesEnd> = None;
        for row in self.index.series(series).await? {
            let checked = match self.statement(&row.statement, Some(KeyRole::Builder)).await {
                Ok(checked) => checked,
                Err(failure) => return Ok((self.broken(&label, &failure), provenances)),
            };
            let member = checked.statement.member().filter(|member| member.series == *series);
            let Some(member) = member else {
                let failure =
                    Failure::new(Code::Tampered, format!("statement {} is not of it", row.statement));
                return Ok((self.broken(&label, &failure), provenances));
            };
            match member.follow(end.as_ref(), row.statement) {
                Ok(next) => end = Some(next),
                Err(error) => {
                    let failure = Failure::new(Code::Incomplete, chain(&error));
                    return Ok((self.broken(&label, &failure), provenances));
                }
            }
            if matches!(checked.statement.predicate, Predicate::Provenance(_)) {
                provenances.insert(row.statement);
            }
        }
        let detail = match end {
            None => {
                let failure = Failure::new(Code::Incomplete, "none of its statements is there");
                return Ok((self.broken(&label, &failure), provenances));
            }
            Some(end) if end.closed => format!("statements 1 to {}, complete", end.number),
            Some(end) => format!("statements 1 to {}, under way or broken off", end.number),
        };
        Ok((Node::new(label, detail), provenances))
    }
}
