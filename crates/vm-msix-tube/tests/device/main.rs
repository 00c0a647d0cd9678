//! A device process against a VMM that fails, lies, stops answering, or goes; there is no hypervisor here.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod looks;
mod model;
mod refusals;
mod stress;
mod vmm_goes;
