//! What is known about earlier results of a pipeline's steps.

use std::collections::BTreeMap;

use lineal_blob::tree::{self, StatCache};
use lineal_engine::plan::{CachedResult, KeyDocument};
use lineal_facts::predicate::Artifact;
use lineal_facts::{Digest, PipelineName, RunId, StepName};
use lineal_store::index;

use crate::failure::{Code, Failure};
use crate::project::{Project, now};

/// By cache key, and the latest of each step.
pub(super) struct Recorded {
    by_key: BTreeMap<Digest, index::CachedResult>,
    latest: BTreeMap<StepName, index::CachedResult>,
}

/// An earlier result that may be used.
pub(super) struct Found {
    /// It, in the engine's form; that of the same key, or else the step's latest one.
    pub(super) result: CachedResult,
    /// The run that executed it.
    pub(super) run: RunId,
    /// Whether it is of the same key, and all its bytes are there and hash to their names.
    pub(super) present: bool,
}

impl Recorded {
    pub(super) async fn load(project: &Project, pipeline: &PipelineName) -> Result<Self, Failure> {
        let (mut by_key, mut latest) = (BTreeMap::new(), BTreeMap::new());
        for result in project.store.index().results_of(pipeline).await? {
            latest.entry(result.step.clone()).or_insert_with(|| result.clone());
            by_key.insert(result.cache_key, result);
        }
        Ok(Self { by_key, latest })
    }

    /// What may be used for `key`, or at least explains why `step` has to run.
    pub(super) async fn find(
        &self,
        project: &Project,
        verified: &mut StatCache,
        step: &StepName,
        key: &KeyDocument,
    ) -> Result<Option<Found>, Failure> {
        let cache_key = key.cache_key().map_err(|e| Failure::caused(Code::Internal, &e))?;
        let exact = match self.by_key.get(&cache_key) {
            Some(result) => Some(result.clone()),
            None => project.store.index().result(&cache_key).await?,
        };
        if let Some(result) = exact {
            let present = result.outputs.values().all(|artifact| is_present(project, verified, artifact));
            return Ok(Some(Found::new(result, key.clone(), present)?));
        }
        let Some(latest) = self.latest.get(step) else { return Ok(None) };
        // Only the explanation needs the document of another key; without it nothing can be compared.
        let Ok(document) = project.store.blobs().read(&latest.key_document) else { return Ok(None) };
        let previous = KeyDocument::from_bytes(&document).map_err(|e| Failure::caused(Code::Tampered, &e))?;
        Ok(Some(Found::new(latest.clone(), previous, false)?))
    }
}

impl Found {
    fn new(result: index::CachedResult, key: KeyDocument, present: bool) -> Result<Self, Failure> {
        let outputs = result
            .outputs
            .into_iter()
            .map(|(name, artifact)| {
                Ok((name.parse().map_err(|e| Failure::caused(Code::Internal, &e))?, artifact))
            })
            .collect::<Result<_, Failure>>()?;
        let run = result.run;
        Ok(Self { result: CachedResult { key, provenance: result.statement, outputs }, run, present })
    }
}

/// Whether every blob of `artifact` is there and hashes to its name; unchanged files are hashed once.
fn is_present(project: &Project, verified: &mut StatCache, artifact: &Artifact) -> bool {
    let blobs = project.store.blobs();
    let mut good = |digest: &Digest| {
        let Ok(path) = blobs.fetch(digest) else { return false };
        let Ok(metadata) = std::fs::metadata(&path) else { return false };
        if verified.get(&path, &metadata) == Some(*digest) {
            return true;
        }
        let holds = blobs.verify_file(digest).is_ok();
        if holds {
            verified.insert(&path, &metadata, *digest, now().unix_ms() / 1000);
        }
        holds
    };
    good(&artifact.digest)
        && tree::blobs_of(blobs, artifact.kind, &artifact.digest).is_ok_and(|all| all.iter().all(&mut good))
}
