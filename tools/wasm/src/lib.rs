//! `lineal-proof` as a WebAssembly module.
//!
//! Arguments are bytes, which the caller writes one after the other to where [`input`] says; answers are numbers. So any
//! engine calls it with a few lines and no generated JavaScript. Tests give module and native code the same bytes and
//! compare the answers.

#[path = "../../../fuzz/src/targets.rs"]
mod targets;
mod verdict;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the caller wrote. A module has one thread; the lock is what a static needs.
static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Where to write so many bytes. Valid until it is called again.
#[expect(unsafe_code, reason = "the name is exported")]
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    let mut input = taken();
    *input = vec![0; length];
    input.as_mut_ptr()
}

/// Checks a Sigstore bundle with the PEM key of its signer and, unless that is empty, the log's verifier key. The input
/// is these three; lengths of the first two are arguments.
///
/// Yields what [`verdict::verdict`] does, or 8 if the input is shorter.
#[expect(unsafe_code, reason = "the name is exported")]
#[unsafe(no_mangle)]
pub extern "C" fn verify(bundle: usize, key: usize) -> u32 {
    let input = taken();
    let parts = input.split_at_checked(bundle);
    let parts = parts.and_then(|(bundle, rest)| Some((bundle, rest.split_at_checked(key)?)));
    let Some((bundle, (key, log))) = parts else { return 8 };
    verdict::verdict(bundle, key, log)
}

/// Whether the parser of this place in `fuzz/src/targets.rs` accepts the input; 1 or 0, and 2 if there is none.
#[expect(unsafe_code, reason = "the name is exported")]
#[unsafe(no_mangle)]
pub extern "C" fn accepts(target: usize) -> u32 {
    match targets::TARGETS.get(target) {
        Some((_, target)) => u32::from(target(&taken())),
        None => 2,
    }
}

fn taken() -> MutexGuard<'static, Vec<u8>> {
    INPUT.lock().unwrap_or_else(PoisonError::into_inner)
}
