//! Answers to the system calls that wait: random bytes and the time of day.

use super::entropy::{Counter, Stream};
use super::tasks::Tasks;
use crate::sys::memory;
use crate::sys::seccomp::{Call, Reply};
use std::fs;
use std::io;

/// The most bytes of one answer. getrandom(2) may give less than was asked for; this is more than the 256 bytes up
/// to which it must not.
const MAX_ANSWER_SIZE_BYTES: u64 = 1 << 20;
const CHUNK_SIZE_BYTES: usize = 64 << 10;
/// All flags of getrandom(2); others are left to the kernel to refuse.
const KNOWN_FLAGS: u64 = (libc::GRND_NONBLOCK | libc::GRND_RANDOM | libc::GRND_INSECURE) as u64;
const MICROSECONDS: i64 = 1_000_000;

/// How calls are answered and what was asked.
pub(super) struct Answers {
    pub(super) counter: Counter,
    pub(super) clock_reads: u64,
    /// Calls that should have been answered here but were left to the kernel, by reason.
    pub(super) gave_up: Option<io::Error>,
    /// `None`: only observe.
    strict: Option<Strict>,
}

struct Strict {
    tasks: Tasks,
    epoch_s: i64,
}

impl Answers {
    /// Counts; the kernel answers.
    pub(super) fn observing() -> Self {
        Self { counter: Counter::default(), clock_reads: 0, gave_up: None, strict: None }
    }

    /// Counts and answers.
    pub(super) fn strict(tasks: Tasks, epoch_s: i64) -> Self {
        Self { strict: Some(Strict { tasks, epoch_s }), ..Self::observing() }
    }

    pub(super) fn tasks(&mut self) -> Option<&mut Tasks> {
        self.strict.as_mut().map(|strict| &mut strict.tasks)
    }

    /// Answers one call. Its caller must still wait.
    pub(super) fn answer(&mut self, call: &Call) -> Reply {
        let [first, second, third, ..] = call.arguments;
        match call.number {
            libc::SYS_getrandom => self.random(call, first, second, third),
            libc::SYS_clock_gettime => self.time(call, second, |time| Some(time.nanoseconds())),
            libc::SYS_gettimeofday => self.time(call, first, |time| Some(time.microseconds())),
            libc::SYS_time => self.time(call, first, |_| None),
            _ => Reply::Continue,
        }
    }

    fn random(&mut self, call: &Call, address: u64, size: u64, flags: u64) -> Reply {
        self.counter.call(size, flags as u32, process_name(call.thread));
        let Some(strict) = &mut self.strict else { return Reply::Continue };
        if flags & !KNOWN_FLAGS != 0 {
            return Reply::Continue;
        }
        let stream = &mut strict.tasks.get(call.thread).stream;
        let size = size.min(MAX_ANSWER_SIZE_BYTES);
        match give(call.thread, address, size, stream) {
            Ok(()) => Reply::Value(size as i64),
            Err(error) => self.failed(error),
        }
    }

    /// Answers a reading of the clock. `layout` gives the two words of a struct; without one, the seconds alone are
    /// stored, and are the result as well.
    fn time(&mut self, call: &Call, address: u64, layout: impl Fn(Time) -> Option<[i64; 2]>) -> Reply {
        let Some(strict) = &mut self.strict else { return Reply::Continue };
        self.clock_reads += 1;
        let task = strict.tasks.get(call.thread);
        let time = Time { epoch_s: strict.epoch_s, ticks: task.clock_ticks };
        task.clock_ticks += 1;
        let (bytes, result) = match layout(time) {
            Some(words) => (words.map(i64::to_le_bytes).concat(), 0),
            None => (time.seconds().to_le_bytes().to_vec(), time.seconds()),
        };
        // clock_gettime(2) needs an address; the others may do without.
        if address == 0 && call.number != libc::SYS_clock_gettime {
            return Reply::Value(result);
        }
        match memory::write(call.thread, address, &bytes) {
            Ok(()) => Reply::Value(result),
            Err(error) => self.failed(error),
        }
    }

    /// A bad address is the caller's fault. Everything else is ours: the kernel answers, and the report says so.
    fn failed(&mut self, error: io::Error) -> Reply {
        match error.raw_os_error() {
            Some(libc::EFAULT) => Reply::Error(libc::EFAULT),
            Some(libc::ESRCH) => Reply::Error(libc::EINTR),
            _ => {
                self.gave_up = Some(error);
                Reply::Continue
            }
        }
    }
}

/// A reading of the fixed clock.
#[derive(Debug, Clone, Copy)]
struct Time {
    epoch_s: i64,
    ticks: i64,
}

impl Time {
    fn seconds(self) -> i64 {
        self.epoch_s.saturating_add(self.ticks / MICROSECONDS)
    }

    fn microseconds(self) -> [i64; 2] {
        [self.seconds(), self.ticks % MICROSECONDS]
    }

    fn nanoseconds(self) -> [i64; 2] {
        [self.seconds(), self.ticks % MICROSECONDS * 1000]
    }
}

/// Writes the next bytes of a stream into a process.
fn give(thread: i32, address: u64, size: u64, stream: &mut Stream) -> io::Result<()> {
    let mut given = 0;
    while given < size {
        let mut chunk = vec![0; CHUNK_SIZE_BYTES.min((size - given) as usize)];
        if !stream.fill(&mut chunk) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        memory::write(thread, address.wrapping_add(given), &chunk)?;
        given += chunk.len() as u64;
    }
    Ok(())
}

fn process_name(thread: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{thread}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}
