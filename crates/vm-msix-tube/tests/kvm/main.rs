//! A function in a device process, as far as one process can show it: its own thread, a tube, the server, and a real KVM.
//!
//! The oracle is the local APIC of a vCPU that never runs. Tests are named after the clauses of the contract (DESIGN.md).

#[path = "../../../vm-msix-kvm/tests/support/mod.rs"]
mod support;

#[path = "../support/raw.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod raw;
#[path = "../support/wire.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod wire;

mod delivery;
mod host;
mod hostile;
mod saving;
