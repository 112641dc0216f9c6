use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn taken(range: Range<u64>, until: u64, work: &(dyn Fn(u64) -> u64 + Sync)) -> Vec<(u64, u64)> {
    let mut taken = Vec::new();
    in_order(range, work, &mut |number, result| {
        taken.push((number, result));
        if number == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    taken
}

#[test]
fn every_result_is_taken_once_and_in_order() {
    for (from, to) in [(0, 0), (5, 5), (3, 4), (0, 2), (0, 1000), (7, 1008)] {
        let expected: Vec<_> = (from..to).map(|number| (number, number * number)).collect();
        assert_eq!(taken(from..to, u64::MAX, &|number| number * number), expected);
    }
}

#[test]
fn whoever_is_late_is_waited_for() {
    // The first number is done last of those that may be done before it is taken.
    let ahead = AtomicU64::new(0);
    let work = |number| {
        while number == 0 && ahead.load(Ordering::Relaxed) < WAITING_LIMIT as u64 {
            std::thread::yield_now();
        }
        ahead.fetch_add(1, Ordering::Relaxed);
        number
    };
    if std::thread::available_parallelism().unwrap().get() > 1 {
        assert_eq!(taken(0..50, u64::MAX, &work).len(), 50);
    }
}

#[test]
fn nothing_runs_far_ahead_and_a_break_ends_it() {
    let done = Mutex::new(Vec::new());
    let found = taken(0..100_000, 20, &|number| {
        done.lock().unwrap().push(number);
        number
    });
    assert_eq!(found.len(), 21);
    let threads = std::thread::available_parallelism().unwrap().get() as u64;
    // What waits, what is in work, and what was taken meanwhile.
    let limit = 21 + threads * (WAITING_LIMIT as u64 + 2);
    let last = *done.lock().unwrap().iter().max().unwrap();
    assert!(last <= limit + threads, "{last} of {limit}");
}

#[test]
#[should_panic(expected = "a scoped thread panicked")]
fn a_panic_is_no_result() {
    if std::thread::available_parallelism().unwrap().get() == 1 {
        panic!("a scoped thread panicked");
    }
    taken(0..100, u64::MAX, &|number| if number == 50 { panic!("at work") } else { number });
}
