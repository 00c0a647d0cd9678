//! Device processes that keep to no rule, against the VMM's server. An honest one beside them loses nothing.
//!
//! Nothing here needs a hypervisor; `tests/kvm` has the same threats against KVM.

#[path = "../support/mod.rs"]
mod support;

mod descriptors;
mod flood;
mod frames;
mod isolation;
mod requests;
mod site;
