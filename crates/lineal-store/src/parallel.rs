//! Work that is divided among all cores and whose results are taken in order.

use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, sync_channel};

/// Most threads that work.
const THREAD_LIMIT: u64 = 16;
/// Results of one thread that wait to be taken. The memory that they need does not grow with the work.
const WAITING_LIMIT: usize = 4;

/// Calls `work` for every number of `range` on several threads, and `take` with each result, in order and on this thread,
/// until it breaks.
///
/// A thread works on every n-th number and waits when it is some results ahead. If one panics, so does this: nothing that
/// was not looked at is passed over.
pub(crate) fn in_order<T: Send>(
    range: Range<u64>,
    work: &(dyn Fn(u64) -> T + Sync),
    take: &mut dyn FnMut(u64, T) -> ControlFlow<()>,
) {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let threads = cores.min(THREAD_LIMIT).min(range.end.saturating_sub(range.start));
    if threads <= 1 {
        for number in range {
            if take(number, work(number)).is_break() {
                return;
            }
        }
        return;
    }
    std::thread::scope(|scope| {
        let begin = |thread: u64| {
            let (sender, receiver) = sync_channel(WAITING_LIMIT);
            let mut numbers = (range.start + thread..range.end).step_by(threads as usize);
            // Nobody receives any more once the taker broke.
            scope.spawn(move || numbers.all(|number| sender.send(work(number)).is_ok()));
            receiver
        };
        let receivers: Vec<Receiver<T>> = (0..threads).map(begin).collect();
        for (number, receiver) in range.clone().zip(receivers.iter().cycle()) {
            // Without a sender its thread panicked, and the scope passes that on.
            let Ok(result) = receiver.recv() else { return };
            if take(number, result).is_break() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests;
