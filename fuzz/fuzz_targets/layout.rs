//! Table and PBA anywhere.
#![no_main]

#[path = "../../crates/vm-msix/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::fuzz::layout(data));
