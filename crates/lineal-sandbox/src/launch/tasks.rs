//! Which task is which: names that do not depend on process ids or on timing.
//!
//! A task (process or thread) is named by its creator's name and by how many tasks the creator had made before. So
//! a program that makes its tasks in the same order gets the same names, however they are scheduled.

use super::entropy::{Stream, StreamId};
use crate::EntropyKey;
use crate::sys::ptrace::{self, Stop};
use std::collections::{BTreeMap, BTreeSet};

/// Attached tasks stop with one of these when a stop signal reaches their process.
const STOP_SIGNALS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// All tasks of a strict step.
pub(super) struct Tasks {
    root: StreamId,
    tasks: BTreeMap<i32, Task>,
    /// New tasks that stopped before their creator's stop named them.
    held: BTreeSet<i32>,
    strangers: u64,
}

/// One task.
pub(super) struct Task {
    id: StreamId,
    pub(super) stream: Stream,
    /// Readings of the clock so far, counted on from the creator's at the time of creation.
    pub(super) clock_ticks: i64,
    children: u64,
}

impl Task {
    fn new(id: StreamId, clock_ticks: i64) -> Self {
        Self { id, stream: id.stream(), clock_ticks, children: 0 }
    }
}

impl Tasks {
    pub(super) fn new(key: &EntropyKey) -> Self {
        let root = StreamId::root(key.as_bytes());
        Self { root, tasks: BTreeMap::new(), held: BTreeSet::new(), strangers: 0 }
    }

    /// Names the step's first task.
    pub(super) fn insert_first(&mut self, thread: i32) {
        self.tasks.insert(thread, Task::new(self.root.child(b"task", 0), 0));
    }

    /// The task of a thread. One that is not known (tracing is forbidden, or the step evades it) is named in order
    /// of appearance.
    pub(super) fn get(&mut self, thread: i32) -> &mut Task {
        let (root, strangers) = (self.root, &mut self.strangers);
        self.tasks.entry(thread).or_insert_with(|| {
            *strangers += 1;
            Task::new(root.child(b"stranger", *strangers), 0)
        })
    }

    /// How many tasks could not be named by their creation.
    pub(super) fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Names a task by its creator.
    pub(super) fn insert_child(&mut self, creator: i32, thread: i32) {
        let creator = self.get(creator);
        creator.children += 1;
        // A tick, so that processes started one after the other do not see the same time.
        creator.clock_ticks += 1;
        let task = Task::new(creator.id.child(b"task", creator.children), creator.clock_ticks);
        self.tasks.insert(thread, task);
    }

    /// The program of `process` was replaced by its thread `former`, which has the process's id from now on.
    pub(super) fn exec(&mut self, process: i32, former: i32) {
        if former != process
            && let Some(task) = self.tasks.remove(&former)
        {
            self.tasks.insert(process, task);
        }
    }

    /// A task ended; its number may be used again.
    pub(super) fn ended(&mut self, thread: i32) {
        self.tasks.remove(&thread);
        self.held.remove(&thread);
    }

    /// Handles a stop of a traced task and lets it go on. `patch` is called when it has replaced its program.
    pub(super) fn stopped(&mut self, thread: i32, stop: Stop, patch: impl FnOnce(&mut Task)) {
        match stop {
            Stop::Exec => {
                self.exec(thread, ptrace::event_thread(thread).unwrap_or(thread));
                patch(self.get(thread));
                ptrace::resume(thread, 0);
            }
            Stop::Spawn => {
                // Fails only when the creator was killed; then its child is going, too.
                if let Ok(child) = ptrace::event_thread(thread) {
                    self.insert_child(thread, child);
                    if self.held.remove(&child) {
                        ptrace::resume(child, 0);
                    }
                }
                ptrace::resume(thread, 0);
            }
            Stop::Attached { .. } if !self.tasks.contains_key(&thread) => {
                self.held.insert(thread);
            }
            Stop::Attached { signal } if STOP_SIGNALS.contains(&signal) => ptrace::leave_stopped(thread),
            Stop::Attached { .. } => ptrace::resume(thread, 0),
            Stop::Signal(signal) => ptrace::resume(thread, signal),
        }
    }
}

#[cfg(test)]
mod tests;
