//! The whole backend against a real KVM, without a guest.
//!
//! The oracle is the local APIC of a vCPU that never runs: a vector in its IRR was delivered, and the kernel
//! wrote it there. Nothing is judged by time: what must come is waited for, and that nothing came is
//! judged after something that KVM orders behind it.
//!
//! Tests are named after the clauses of the contract (DESIGN.md) or the facts that they hold.

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod adopted_eventfds;
mod callbacks;
mod closing_meanwhile;
mod deferred_commits;
mod destination_ids;
mod failing_restores;
mod grouped_commits;
mod gsi_exhaustion;
mod hostile_producers;
mod ioctl_counts;
mod ioctl_order;
mod irqfd_mode;
mod irqfds_to_memory;
mod joining_and_leaving;
mod late_failures;
mod many_at_once;
mod other_processes;
mod partial_failures;
mod producers;
mod refused_restores;
mod restoring;
mod route_failures;
mod router;
mod signal_mode;
mod swapped_eventfds;
mod translation;
mod waiting;
