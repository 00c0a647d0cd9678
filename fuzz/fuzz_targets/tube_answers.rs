//! A VMM that answers anything.
#![no_main]

#[path = "../../crates/vm-msix-tube/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::fuzz::tube_answers(data));
