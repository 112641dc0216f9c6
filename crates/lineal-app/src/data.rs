//! Freezing data as snapshots.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use lineal_blob::tree::{self, Found, StatCache};
use lineal_data::{NullValues, Profiler, TableReader};
use lineal_facts::predicate::DatasetSnapshot;
use lineal_facts::statement::Subject;
use lineal_facts::{DatasetName, Digest, Manifest, Predicate, SnapshotRef, Statement, Tag, Timestamp};
use lineal_store::Index;
use lineal_store::index::SnapshotRow;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::archive;
use crate::failure::{Code, Failure};
use crate::progress::{Event, Observer};
use crate::project::{Project, now};

/// What to freeze.
#[derive(Debug, Clone)]
pub struct AddData {
    /// The dataset.
    pub dataset: DatasetName,
    /// Files and directories; their contents make one snapshot.
    pub paths: Vec<PathBuf>,
    /// A name for the snapshot.
    pub tag: Option<Tag>,
}

/// A snapshot that is in the record now.
#[derive(Debug, Serialize)]
pub struct AddedData {
    /// The dataset.
    pub dataset: DatasetName,
    /// The identity of the snapshot.
    pub snapshot: Digest,
    /// Its name.
    pub tag: Option<Tag>,
    /// Number of files.
    pub files: u64,
    /// Total size.
    pub size_bytes: u64,
    /// Rows of all tables.
    pub rows: String,
    /// The statement about it.
    pub statement: Digest,
    /// Whether the record had it already.
    pub unchanged: bool,
}

/// One table of a snapshot as `lineal data show` prints it.
#[derive(Debug, Serialize)]
pub struct ShownData {
    /// The snapshot.
    pub snapshot: SnapshotRow,
    /// Its files.
    pub files: Vec<ShownFile>,
    /// Profiles of its tables, as recorded.
    pub profile: Value,
}

/// One file of a snapshot.
#[derive(Debug, Serialize)]
pub struct ShownFile {
    /// Its path in the snapshot.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest.
    pub digest: Digest,
}

/// Freezes `request` and records it. Unchanged data is recognised and gives the same identity.
pub async fn add(project: &Project, request: &AddData, observer: Observer<'_>) -> Result<AddedData, Failure> {
    let mut found: Vec<Found> = Vec::new();
    for path in &request.paths {
        found.extend(tree::walk(path, &|_| false)?);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if found.is_empty() {
        return Err(Failure::new(Code::Data, "nothing to freeze: the paths hold no files"));
    }
    let started = now();
    let blobs = project.store.blobs();
    let cache_path = project.folder().join("work/data.json");
    let mut cache = StatCache::load(&cache_path);
    observer(Event::Began {
        what: "hashing".to_owned(),
        total: found.iter().map(|f| f.metadata.len()).sum(),
    });
    let manifest = tree::freeze(blobs, &found, &mut cache, started.unix_ms() / 1000, &mut |by| {
        observer(Event::Advanced { by });
    })?;
    observer(Event::Ended);
    let added = record(project, request, &manifest, started, observer).await?;
    cache.save(&cache_path)?;
    Ok(added)
}

/// [`add`] of the files of a tar archive, which are the snapshot's by their paths there.
pub async fn add_archive(
    project: &Project,
    request: &AddData,
    archive: &mut dyn Read,
    observer: Observer<'_>,
) -> Result<AddedData, Failure> {
    let started = now();
    let entries = archive::freeze(project.store.blobs(), archive, |_| true)?;
    if entries.is_empty() {
        return Err(Failure::new(Code::Data, "nothing to freeze: the tar archive holds no files"));
    }
    let manifest = Manifest::new(entries).map_err(|e| Failure::caused(Code::Data, &e))?;
    project.store.blobs().put(&manifest.to_bytes())?;
    record(project, request, &manifest, started, observer).await
}

/// Records a frozen tree as a snapshot.
async fn record(
    project: &Project,
    request: &AddData,
    manifest: &Manifest,
    started: Timestamp,
    observer: Observer<'_>,
) -> Result<AddedData, Failure> {
    let blobs = project.store.blobs();
    let snapshot = manifest.digest();
    if let Some(known) = recorded(project, request, snapshot).await? {
        return Ok(added(request, manifest, known.statement, known.rows, true));
    }
    let (schema, profile, rows) = profile(project, manifest, observer)?;
    let record = DatasetSnapshot {
        dataset: request.dataset.clone(),
        tag: request.tag.clone(),
        files: manifest.files().len().to_string(),
        size_bytes: manifest.size_bytes().to_string(),
        rows: rows.to_string(),
        schema: blobs.put(&schema)?,
        profile: blobs.put(&profile)?,
        created_at: started,
    };
    let statement = Statement {
        subject: vec![Subject::new(format!("{}@{snapshot}", request.dataset), snapshot)],
        predicate: Predicate::Dataset(record),
    };
    let committed = project.store.commit(&[statement], project.store.builder()).await?;
    // Another process may have given the tag to other content in the meantime; the first one in the ledger has it.
    recorded(project, request, snapshot).await?;
    let statement = committed.first().map_or(snapshot, |c| c.statement);
    Ok(added(request, manifest, statement, rows.to_string(), false))
}

/// The snapshot that a reference names.
pub async fn find(project: &Project, reference: &SnapshotRef) -> Result<SnapshotRow, Failure> {
    find_in(project.store.index(), reference).await
}

/// The snapshot that a reference names in an index.
pub async fn find_in(index: &Index, reference: &SnapshotRef) -> Result<SnapshotRow, Failure> {
    let at = reference.to_string();
    let at = at.split_once('@').map_or("", |(_, at)| at);
    let rows = index.find_snapshots(&reference.dataset, at).await?;
    rows.into_iter().next().ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!(
                "there is no snapshot `{reference}`; `lineal data list` shows what there is, `lineal data add` makes one"
            ),
        )
    })
}

/// Files and profile of a snapshot.
pub async fn show(project: &Project, reference: &SnapshotRef) -> Result<ShownData, Failure> {
    let snapshot = find(project, reference).await?;
    let manifest = tree::manifest(project.store.blobs(), &snapshot.digest)?;
    let files = manifest
        .files()
        .iter()
        .map(|f| ShownFile { path: f.path.clone(), size_bytes: f.size_bytes, digest: f.digest })
        .collect();
    let profile = lineal_facts::json::parse_value(&project.store.blobs().read(&snapshot.profile)?)
        .map_err(|e| Failure::caused(Code::Tampered, &e))?;
    Ok(ShownData { snapshot, files, profile })
}

/// The recorded snapshot of the same content, if the request adds nothing to it. A tag that names other content is
/// an error: tags never move.
async fn recorded(
    project: &Project,
    request: &AddData,
    snapshot: Digest,
) -> Result<Option<SnapshotRow>, Failure> {
    let index = project.store.index();
    if let Some(tag) = &request.tag {
        let tagged = index.find_snapshots(&request.dataset, tag.as_str()).await?;
        return match tagged.into_iter().next() {
            Some(row) if row.digest == snapshot => Ok(Some(row)),
            Some(row) => Err(Failure::new(
                Code::Taken,
                format!(
                    "tag `{tag}` of dataset `{}` names {} and never moves; choose another tag for {snapshot}",
                    request.dataset, row.digest
                ),
            )),
            None => Ok(None),
        };
    }
    Ok(index.find_snapshots(&request.dataset, &snapshot.to_string()).await?.into_iter().next())
}

fn added(
    request: &AddData,
    manifest: &Manifest,
    statement: Digest,
    rows: String,
    unchanged: bool,
) -> AddedData {
    AddedData {
        dataset: request.dataset.clone(),
        snapshot: manifest.digest(),
        tag: request.tag.clone(),
        files: manifest.files().len() as u64,
        size_bytes: manifest.size_bytes(),
        rows,
        statement,
        unchanged,
    }
}

/// Schema document, profile document and total rows of the snapshot's CSV files.
fn profile(
    project: &Project,
    manifest: &Manifest,
    observer: Observer<'_>,
) -> Result<(Vec<u8>, Vec<u8>, u64), Failure> {
    let tables: Vec<_> = manifest.files().iter().filter(|f| f.path.ends_with(".csv")).collect();
    observer(Event::Began { what: "profiling".to_owned(), total: tables.iter().map(|f| f.size_bytes).sum() });
    let (mut schemas, mut profiles, mut rows) = (Map::new(), Map::new(), 0);
    for file in tables {
        let wrong = |error: &dyn std::error::Error| {
            Failure::new(
                Code::Data,
                format!("`{}` is not a table: {}", file.path, crate::failure::chain(error)),
            )
        };
        project.store.blobs().verify_file(&file.digest)?;
        let path = project.store.blobs().path(&file.digest);
        let reader = File::open(&path).map_err(|e| wrong(&e))?;
        let mut profiler = Profiler::new(NullValues::default());
        profiler.add(TableReader::csv(reader).map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
        let profile = profiler.finish();
        rows += profile.rows;
        schemas.insert(file.path.clone(), document(&profile.schema().to_bytes())?);
        profiles.insert(file.path.clone(), document(&profile.to_bytes())?);
        observer(Event::Advanced { by: file.size_bytes });
    }
    observer(Event::Ended);
    Ok((tables_document(schemas)?, tables_document(profiles)?, rows))
}

fn document(bytes: &[u8]) -> Result<Value, Failure> {
    lineal_facts::json::parse_value(bytes).map_err(|e| Failure::caused(Code::Internal, &e))
}

fn tables_document(tables: Map<String, Value>) -> Result<Vec<u8>, Failure> {
    let document = serde_json::json!({"version": "1", "tables": tables});
    lineal_facts::json::canonical(&document).map_err(|e| Failure::caused(Code::Internal, &e))
}
