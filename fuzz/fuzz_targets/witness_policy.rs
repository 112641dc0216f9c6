//! See `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = lineal_fuzz::targets::witness_policy(data);
});
