//! The table that is served, its copy on disk, and what went wrong with tables.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use lineal_proof::key::PublicKey;

use crate::table::{Snapshot, TABLE_LIMIT_BYTES, TableError, open};

/// The served table. Read by every request; offered new ones by the fetch loop only.
pub(crate) struct Tables {
    key: PublicKey,
    state_file: PathBuf,
    current: ArcSwapOption<Snapshot>,
    health: Health,
}

/// What `/-/status` tells besides the table.
#[derive(Default)]
pub(crate) struct Health {
    pub(crate) control_plane_reachable: AtomicBool,
    pub(crate) refused_tables: AtomicU64,
    problem: ArcSwap<String>,
}

impl Tables {
    /// Loads the last good table, if there is one. A copy that cannot be used is a problem that the status tells,
    /// not a reason to stay down: the control plane has the real one.
    pub(crate) fn load(key: PublicKey, state_file: PathBuf) -> Self {
        let tables = Self { key, state_file, current: ArcSwapOption::empty(), health: Health::default() };
        match read_limited(&tables.state_file) {
            Ok(bytes) => {
                if let Err(error) = tables.offer(&bytes) {
                    tables.problem(format!("state file {}: {error}", tables.state_file.display()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tables.problem(format!("state file {}: {error}", tables.state_file.display())),
        }
        tables
    }

    /// The served table.
    pub(crate) fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// Generation of the served table, 0 before the first.
    pub(crate) fn generation(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |table| table.generation)
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// The last problem, empty if there was none.
    pub(crate) fn last_problem(&self) -> Arc<String> {
        self.health.problem.load_full()
    }

    /// Serves the signed table in `bytes` from now on, if it is good and newer.
    pub(crate) fn offer(&self, bytes: &[u8]) -> Result<(), TableError> {
        let snapshot = open(bytes, &self.key)?;
        // Generation 0 is "no table yet" in the protocol, so the first table has at least 1.
        let served = self.generation();
        if snapshot.generation <= served {
            return Err(TableError::Generation { offered: snapshot.generation, served });
        }
        self.current.store(Some(Arc::new(snapshot)));
        self.problem(String::new());
        Ok(())
    }

    /// Counts a refused table.
    pub(crate) fn refused(&self, error: &TableError) {
        self.health.refused_tables.fetch_add(1, Ordering::Relaxed);
        self.problem(error.to_string());
    }

    /// Keeps `bytes`, which are served already: an abort must not wait for the disk. A crash in between starts from
    /// the table before.
    pub(crate) fn keep(&self, bytes: &[u8]) {
        if let Err(error) = write_durably(&self.state_file, bytes) {
            self.problem(format!("state file {}: {error}", self.state_file.display()));
        }
    }

    fn problem(&self, text: String) {
        self.health.problem.store(Arc::new(text));
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TABLE_LIMIT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces `path`: written, synced, renamed, directory synced.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}
