//! A configuration space of anything, and a guest that does anything with it.
#![no_main]

#[path = "../../crates/vm-pci-config/tests/fuzz/mod.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config_space(data));
