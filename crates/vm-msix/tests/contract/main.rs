//! The contract of DESIGN.md, clause by clause: a module for each, its tests named as its sentences.
//!
//! C13 and real hypervisors are tested where the descriptors are; the orderings of the latch, by loom.

#[path = "../support/mod.rs"]
mod support;

mod c01_one_decision;
mod c02_one_action;
mod c03_the_latch;
mod c03_under_threads;
mod c04_after_masking;
mod c04_parking;
mod c05_whole_messages;
mod c06_disabled;
mod c07_reset;
mod c07_the_end;
mod c08_capability;
mod c08_pba;
mod c08_table;
mod c08_table_writes;
mod c09_capability;
mod c09_layout;
mod c10_hostile_input;
mod c11_deferred;
mod c11_failures;
mod c11_retries;
mod c11_signal_mode;
mod c11_still_open;
mod c12_any_address;
mod c14_crosvm;
mod c14_crosvm_hostile;
mod c14_golden;
mod c14_hostile_bytes;
mod c14_hostile_state;
mod c14_pause;
mod c14_restore;
mod c14_stored;
mod descriptors;
mod surface;
