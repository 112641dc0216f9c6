//! A disk that forgets what was not synced, and fails where it is told to.
//!
//! It is worse than real ones: names and 512-byte blocks become durable independently, and after a failed sync the
//! machine takes for written what is not (as Linux does).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

const BLOCK_BYTES: usize = 512;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation fails and does nothing.
    Lost,
    /// The operation is carried out and reported as failed.
    StoredButReportedLost,
    /// The process dies before the operation; what it wrote is in the machine's memory.
    Killed,
    /// The process dies half-way in a write.
    KilledHalfWay,
    /// The machine stops before the operation.
    Stopped,
    /// From here on there is no room.
    Full,
    /// From here on nothing may be changed.
    ReadOnly,
}

impl Fault {
    pub(crate) const ALL: [Self; 7] = [
        Self::Lost,
        Self::StoredButReportedLost,
        Self::Killed,
        Self::KilledHalfWay,
        Self::Stopped,
        Self::Full,
        Self::ReadOnly,
    ];
}

#[derive(Debug, Default)]
pub(crate) struct SimulatedDisk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    /// What programs see, and what a stop of the machine leaves.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
    /// Operations that change something, since the last restart.
    operations: u64,
    fault: Option<(u64, Fault)>,
    /// The process is dead: nothing works until the restart.
    dead: bool,
    stopped: bool,
    /// The content of every file called `checkpoint`, in order of publication.
    checkpoints: Vec<Vec<u8>>,
    random: u64,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// What the machine knows to be unwritten.
    dirty: Vec<Range<usize>>,
}

/// Whether the operation goes on.
enum Course {
    Do,
    DoAndFail,
    DoHalf,
}

impl SimulatedDisk {
    /// The operation number `at` after this goes wrong.
    pub(crate) fn fail(&self, at: u64, fault: Fault) {
        let mut state = self.lock();
        state.operations = 0;
        state.fault = Some((at, fault));
    }

    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Every checkpoint that readers could ever see.
    pub(crate) fn checkpoints(&self) -> Vec<Vec<u8>> {
        self.lock().checkpoints.clone()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The next start of the process; after a stop of the machine with a random part of what was not synced. Yields
    /// whether the machine had stopped.
    pub(crate) fn restart(&self, seed: u64) -> bool {
        let mut state = self.lock();
        state.random = seed | 1;
        let stopped = state.stopped;
        if stopped {
            state.stop();
        }
        (state.dead, state.stopped, state.fault, state.operations) = (false, false, None, 0);
        stopped
    }

    /// Stops the machine now.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        (state.dead, state.stopped) = (true, true);
    }

    /// Changes a byte behind everybody's back.
    pub(crate) fn corrupt(&self, path: &Path, offset: usize) {
        let mut state = self.lock();
        let inode = state.names[path];
        state.inodes[inode].cached[offset] ^= 1;
        state.inodes[inode].durable = state.inodes[inode].cached.clone();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a changing operation as the planned fault wants it.
    fn change(
        &self,
        operation: &'static str,
        path: &Path,
        act: impl FnOnce(&mut State, bool),
    ) -> Result<(), FileError> {
        let mut state = self.lock();
        match state.course() {
            Ok(Course::Do) => {
                act(&mut state, false);
                Ok(())
            }
            Ok(Course::DoAndFail) => {
                act(&mut state, false);
                Err(error(operation, path, io::ErrorKind::Other))
            }
            Ok(Course::DoHalf) => {
                act(&mut state, true);
                state.dead = true;
                Err(error(operation, path, io::ErrorKind::BrokenPipe))
            }
            Err(kind) => {
                // A failed sync: the machine forgets that it had something to write.
                if operation == "sync"
                    && !state.dead
                    && let Some(inode) = state.names.get(path).copied()
                {
                    state.inodes[inode].dirty.clear();
                }
                Err(error(operation, path, kind))
            }
        }
    }
}

fn error(operation: &'static str, path: &Path, kind: io::ErrorKind) -> FileError {
    FileError { operation, path: path.to_owned(), source: kind.into() }
}

impl State {
    fn course(&mut self) -> Result<Course, io::ErrorKind> {
        if self.dead {
            return Err(io::ErrorKind::BrokenPipe);
        }
        let now = self.operations;
        self.operations += 1;
        let Some((at, fault)) = self.fault else { return Ok(Course::Do) };
        match fault {
            Fault::Full if now >= at => return Err(io::ErrorKind::StorageFull),
            Fault::ReadOnly if now >= at => return Err(io::ErrorKind::ReadOnlyFilesystem),
            _ if now != at => return Ok(Course::Do),
            _ => {}
        }
        match fault {
            Fault::StoredButReportedLost => Ok(Course::DoAndFail),
            Fault::KilledHalfWay => Ok(Course::DoHalf),
            Fault::Killed => {
                self.dead = true;
                Err(io::ErrorKind::BrokenPipe)
            }
            Fault::Stopped => {
                (self.dead, self.stopped) = (true, true);
                Err(io::ErrorKind::BrokenPipe)
            }
            Fault::Lost | Fault::Full | Fault::ReadOnly => Err(io::ErrorKind::Other),
        }
    }

    fn random(&mut self) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.random() & 1 == 0
    }

    fn stop(&mut self) {
        let paths: BTreeSet<PathBuf> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        let mut names = BTreeMap::new();
        for path in paths {
            let source = if self.coin() { &self.names } else { &self.durable_names };
            if let Some(inode) = source.get(&path) {
                names.insert(path, *inode);
            }
        }
        for number in 0..self.inodes.len() {
            let mut inode = std::mem::take(&mut self.inodes[number]);
            if inode.cached != inode.durable {
                let length = if self.coin() { inode.cached.len() } else { inode.durable.len() };
                let mut content = vec![0; length];
                for start in (0..length).step_by(BLOCK_BYTES) {
                    let source = if self.coin() { &inode.cached } else { &inode.durable };
                    let end = (start + BLOCK_BYTES).min(length).min(source.len());
                    if start < end {
                        content[start..end].copy_from_slice(&source[start..end]);
                    }
                }
                inode = Inode { cached: content.clone(), durable: content, dirty: Vec::new() };
            }
            inode.dirty.clear();
            self.inodes[number] = inode;
        }
        self.durable_names.clone_from(&names);
        self.names = names;
    }

    fn inode(&mut self, path: &Path) -> usize {
        if let Some(inode) = self.names.get(path) {
            return *inode;
        }
        self.inodes.push(Inode::default());
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
        self.inodes.len() - 1
    }

    fn write(&mut self, path: &Path, offset: usize, bytes: &[u8]) {
        let inode = self.inode(path);
        let inode = &mut self.inodes[inode];
        let end = offset + bytes.len();
        if inode.cached.len() < end {
            inode.cached.resize(end, 0);
        }
        inode.cached[offset..end].copy_from_slice(bytes);
        inode.dirty.push(offset..end);
    }

    fn cut(&mut self, path: &Path, length: usize) {
        let inode = self.inode(path);
        self.inodes[inode].cached.truncate(length);
    }

    fn sync(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        inode.durable.resize(inode.cached.len(), 0);
        for range in inode.dirty.drain(..) {
            let range = range.start..range.end.min(inode.cached.len());
            if !range.is_empty() {
                inode.durable[range.clone()].copy_from_slice(&inode.cached[range]);
            }
        }
    }

    fn sync_directory(&mut self, directory: &Path) {
        self.durable_names.retain(|path, _| path.parent() != Some(directory));
        for (path, inode) in self.names.iter().filter(|(path, _)| path.parent() == Some(directory)) {
            self.durable_names.insert(path.clone(), *inode);
        }
    }
}

impl Disk for SimulatedDisk {
    fn read(&self, path: &Path, _: u64) -> Result<Option<Vec<u8>>, FileError> {
        let state = self.lock();
        if state.dead {
            return Err(error("read", path, io::ErrorKind::BrokenPipe));
        }
        Ok(state.names.get(path).map(|inode| state.inodes[*inode].cached.clone()))
    }

    fn size(&self, path: &Path) -> Result<Option<u64>, FileError> {
        Ok(self.read(path, u64::MAX)?.map(|bytes| bytes.len() as u64))
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, FileError> {
        let state = self.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_directory(&self, directory: &Path) -> Result<(), FileError> {
        if self.lock().directories.contains(directory) {
            return Ok(());
        }
        self.change("create directory", directory, |state, _| {
            state.directories.extend(directory.ancestors().map(Path::to_owned));
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        self.change("write", path, |state, half| {
            let length = if half { bytes.len() / 2 } else { bytes.len() };
            state.write(path, 0, &bytes[..length]);
            state.cut(path, length);
        })
    }

    fn write_tail(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        self.change("write", path, |state, half| {
            let length = if half { bytes.len() / 2 } else { bytes.len() };
            // What stood behind goes last, so that writing the same again is never worse than not writing.
            state.write(path, offset as usize, &bytes[..length]);
            if !half {
                state.cut(path, offset as usize + length);
            }
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.change("rename to", to, |state, half| {
            if !half && let Some(inode) = state.names.remove(from) {
                if to.ends_with("checkpoint") {
                    let bytes = state.inodes[inode].cached.clone();
                    state.checkpoints.push(bytes);
                }
                state.names.insert(to.to_owned(), inode);
            }
        })
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        self.change("remove", path, |state, half| {
            if !half {
                state.names.remove(path);
            }
        })
    }

    fn remove_directory(&self, directory: &Path) -> Result<(), FileError> {
        self.change("remove", directory, |state, _| {
            if state.names.keys().all(|path| path.parent() != Some(directory)) {
                state.directories.remove(directory);
            }
        })
    }

    fn sync(&self, path: &Path) -> Result<(), FileError> {
        self.change("sync", path, |state, half| {
            if !half && let Some(inode) = state.names.get(path).copied() {
                state.sync(inode);
            }
        })
    }

    fn sync_directory(&self, directory: &Path) -> Result<(), FileError> {
        self.change("sync the directory", directory, |state, half| {
            if !half {
                state.sync_directory(directory);
            }
        })
    }

    fn sync_all(&self, path: &Path) -> Result<(), FileError> {
        self.change("sync all of", path, |state, half| {
            if half {
                return;
            }
            (0..state.inodes.len()).for_each(|inode| state.sync(inode));
            state.durable_names = state.names.clone();
        })
    }
}
