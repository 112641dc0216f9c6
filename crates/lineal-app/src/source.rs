//! The files that a pipeline names beside itself, as one tree: its code and its contracts, by their paths relative to
//! the pipeline's file. A cluster has no folder with them, so a run there names the tree's digest.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use lineal_blob::files;
use lineal_blob::tree;
use lineal_engine::pipeline::Pipeline;
use lineal_facts::manifest::FileEntry;
use lineal_facts::{Digest, Manifest};
use serde::Serialize;

use crate::archive;
use crate::definition::{contract_file, contracts, freeze_code, is_code, parse, pipeline_file};
use crate::failure::{Code, Failure, chain};
use crate::project::{Project, now};

/// What a pipeline takes from its tree.
#[derive(Debug)]
pub(crate) struct Source {
    /// Manifest digest of the code alone: the same as on the machine that the tree comes from.
    pub(crate) code: Digest,
    /// Blobs of the contracts, by path.
    pub(crate) files: BTreeMap<String, Digest>,
}

/// What was frozen.
#[derive(Debug, Serialize)]
pub struct Added {
    /// The tree: what `source` of a `PipelineRun` says.
    pub source: Digest,
    /// Files in it.
    pub files: usize,
    /// Their size.
    pub size_bytes: u64,
}

/// Freezes what the pipeline at `file` names.
pub fn add(project: &Project, file: &Path) -> Result<Added, Failure> {
    let pipeline = parse(&pipeline_file(file)?, &[], file)?;
    let folder = files::parent(file);
    let blobs = project.store.blobs();
    let code = freeze_code(project, folder, &pipeline, now())?;
    let mut entries = tree::manifest(blobs, &code)?.files().to_vec();
    for contract in contracts(&pipeline) {
        let content = contract_file(folder, contract)?;
        entries.retain(|entry| entry.path != contract);
        entries.push(FileEntry {
            path: contract.to_owned(),
            digest: blobs.put(&content)?,
            size_bytes: content.len() as u64,
            executable: false,
        });
    }
    store(project, entries)
}

/// Freezes the files of a tar archive. Byte code caches in it are left out, as they are everywhere.
pub fn import(project: &Project, archive: &mut dyn Read) -> Result<Added, Failure> {
    let entries = archive::freeze(project.store.blobs(), archive, |path| path.split('/').all(is_code))?;
    store(project, entries)
}

impl Source {
    /// Takes from the tree `source` what `pipeline` names, and nothing else.
    pub(crate) fn read(
        project: &Project,
        pipeline: &Pipeline,
        source: Option<&Digest>,
    ) -> Result<Self, Failure> {
        let named: Vec<&str> = pipeline.code.iter().map(String::as_str).chain(contracts(pipeline)).collect();
        let blobs = project.store.blobs();
        let manifest = match (source, named.first()) {
            (None, None) => Manifest::new(Vec::new()).map_err(|e| Failure::caused(Code::Internal, &e))?,
            (None, Some(path)) => {
                let text = format!(
                    "the pipeline names `{path}`, which is a file of its author's machine; name the tree with it: \
                     `source`, as `lineal source import` prints it"
                );
                return Err(Failure::new(Code::Pipeline, text));
            }
            (Some(source), _) => tree::manifest(blobs, source).map_err(|e| {
                let text = format!("the source tree {source} cannot be read: {}", chain(&e));
                Failure::new(Code::Pipeline, text)
            })?,
        };
        let missing = |path: &str| Failure::new(Code::Pipeline, format!("the source tree has no `{path}`"));
        let mut code: BTreeMap<String, FileEntry> = BTreeMap::new();
        for path in &pipeline.code {
            let below = |file: &&FileEntry| {
                file.path == *path || file.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
            };
            let found: Vec<&FileEntry> = manifest.files().iter().filter(below).collect();
            if found.is_empty() {
                return Err(missing(path));
            }
            code.extend(found.into_iter().map(|file| (file.path.clone(), file.clone())));
        }
        let mut files = BTreeMap::new();
        for contract in contracts(pipeline) {
            let file = manifest.get(contract).ok_or_else(|| missing(contract))?;
            files.insert(contract.to_owned(), file.digest);
        }
        let code = store(project, code.into_values().collect())?.source;
        Ok(Self { code, files })
    }
}

fn store(project: &Project, entries: Vec<FileEntry>) -> Result<Added, Failure> {
    let manifest = Manifest::new(entries).map_err(|e| Failure::caused(Code::Data, &e))?;
    let source = project.store.blobs().put(&manifest.to_bytes())?;
    project.store.blobs().sync()?;
    Ok(Added { source, files: manifest.files().len(), size_bytes: manifest.size_bytes() })
}
