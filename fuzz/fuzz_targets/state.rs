//! A saved state that is anything.
#![no_main]

#[path = "../../crates/vm-msix-tube/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::fuzz::state(data));
