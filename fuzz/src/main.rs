//! Explores one target with libFuzzer: `cargo xtask fuzz` builds it and names the target in `PRIVET_FUZZ_TARGET`.
//!
//! What must hold is said in the library.
#![no_main]

use std::sync::OnceLock;

use privet_fuzz::{Target, targets};

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("PRIVET_FUZZ_TARGET").unwrap_or_default();
    let mut known = targets();
    let at = known.iter().position(|target| target.name == name);
    assert!(at.is_some(), "PRIVET_FUZZ_TARGET names no target; run: cargo xtask fuzz --list");
    known.swap_remove(at.unwrap_or_default())
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.get_or_init(chosen).check)(data));
