//! Which task made which, and which program is new, where ptrace(2) is forbidden.
//!
//! The filter makes starts of programs and tasks wait. They are left to the kernel, and their effect is looked for in
//! `/proc`. The names of tasks and the use of their streams are the same as under ptrace, so the same program gets the
//! same bytes in both.
//!
//! * A new task is looked for before anything else is answered. C libraries make it wait at its first call.
//! * A new program is known by its random bytes (`AT_RANDOM`), which the kernel makes at each start. It is found at
//!   the first call that waits; for a C library this is the set-up of thread-local storage, after which it reads these
//!   bytes and calls the vDSO for the first time.

use super::auxiliary::{AuxiliaryVector, RANDOM_SIZE_BYTES};
use super::descendants;
use super::tasks::Tasks;
use super::vdso::Stubs;
use crate::sys::fd::{Interest, Ready, poll};
use crate::sys::memory;
use crate::sys::seccomp::{Call, Listener, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// How long a new task is looked for; one appears within a fraction of a millisecond, or not at all.
const SPAWN_LIMIT: Duration = Duration::from_millis(50);

/// Follows all tasks of a step.
#[derive(Default)]
pub(super) struct Follower {
    /// Processes in which a start of a program was asked for, and nothing was seen since.
    starting: BTreeMap<i32, Starting>,
    /// Read from the first program.
    stubs: Option<Stubs>,
}

struct Starting {
    thread: i32,
    random: [u8; RANDOM_SIZE_BYTES],
}

impl Follower {
    /// Looks whether the caller is a new program, and makes that depend on nothing but its stream. For each call that
    /// waits, before it is answered.
    pub(super) fn look(&mut self, call: &Call, tasks: &mut Tasks) -> io::Result<()> {
        // After a start the process has one thread, with its own number: another one that calls is from before.
        self.starting.retain(|process, start| start.thread != call.thread || *process == call.thread);
        let Some(start) = self.starting.get(&call.thread) else { return Ok(()) };
        let former = start.thread;
        let vector = AuxiliaryVector::of(call.thread)?;
        if vector.random_bytes(call.thread)? == start.random {
            // The start failed, or one by another thread is still under way.
            if former == call.thread {
                self.starting.remove(&call.thread);
            }
            return Ok(());
        }
        self.starting.remove(&call.thread);
        tasks.exec(call.thread, former);
        let mut random = [0; RANDOM_SIZE_BYTES];
        if !tasks.get(call.thread).stream.fill(&mut random) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        memory::write(call.thread, vector.random, &random)?;
        let Some(vdso) = vector.vdso else { return Ok(()) };
        let stubs = match self.stubs.take() {
            Some(stubs) => stubs,
            None => Stubs::of(call.thread, vdso)?,
        };
        self.stubs.insert(stubs).write(call.thread, vdso)
    }

    /// Notes that a thread asks for the start of a program.
    pub(super) fn start(&mut self, call: &Call) -> io::Result<()> {
        let process = process_of(call.thread)?;
        let random = AuxiliaryVector::of(call.thread)?.random_bytes(call.thread)?;
        self.starting.insert(process, Starting { thread: call.thread, random });
        Ok(())
    }

    /// Lets a thread make a task, and names that.
    pub(super) fn spawn(&mut self, listener: &Listener, call: &Call, tasks: &mut Tasks) -> io::Result<()> {
        let is_thread = flags_of(call).is_ok_and(|flags| flags & libc::CLONE_THREAD as u64 != 0);
        let list = |thread| if is_thread { threads_beside(thread) } else { children_of(thread) };
        let before = list(call.thread);
        let (true, Ok(before)) = (listener.reply(call, Reply::Continue)?, before) else { return Ok(()) };
        let end = Instant::now() + SPAWN_LIMIT;
        loop {
            let Ok(now) = list(call.thread) else { return Ok(()) };
            if let Some(new) = now.difference(&before).next() {
                tasks.insert_child(call.thread, *new);
                // The number may have been another process's.
                self.starting.remove(new);
                return Ok(());
            }
            // The new task's own first call ends the wait.
            let found = poll(&[Interest::read(listener)], Some(1))?;
            if found == [Ready::Closed] || Instant::now() > end {
                return Ok(());
            }
        }
    }
}

/// What is asked of a new task.
fn flags_of(call: &Call) -> io::Result<u64> {
    let [first, ..] = call.arguments;
    match call.number {
        libc::SYS_clone => Ok(first),
        libc::SYS_clone3 => {
            // The first member of `struct clone_args`.
            let mut flags = [0; 8];
            memory::read(call.thread, first, &mut flags)?;
            Ok(u64::from_le_bytes(flags))
        }
        _ => Ok(0),
    }
}

fn threads_beside(thread: i32) -> io::Result<BTreeSet<i32>> {
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(fs::read_dir(format!("/proc/{thread}/task"))?.filter_map(number).collect())
}

/// The processes that this thread has made.
fn children_of(thread: i32) -> io::Result<BTreeSet<i32>> {
    match fs::read_to_string(format!("/proc/{thread}/task/{thread}/children")) {
        Ok(text) => Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()),
        // A kernel without this file: those of all threads of the process.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(descendants::children_of(process_of(thread)?))
        }
        Err(error) => Err(error),
    }
}

fn process_of(thread: i32) -> io::Result<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    process.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
