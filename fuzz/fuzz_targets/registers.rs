//! A guest, a device and a VMM that do anything with a function.
#![no_main]

#[path = "../../crates/vm-msix/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::fuzz::registers(data));
