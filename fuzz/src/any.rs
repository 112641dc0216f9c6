//! All targets in one program, which is quicker to build than one each: `LINEAL_FUZZ_TARGET` says which.
#![no_main]

use std::sync::OnceLock;

use lineal_fuzz::targets::{TARGETS, Target};

fn chosen() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("LINEAL_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(target, _)| *target == name);
        found.unwrap_or_else(|| panic!("LINEAL_FUZZ_TARGET is `{name}`, which is none of the targets")).1
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = chosen()(data);
});
