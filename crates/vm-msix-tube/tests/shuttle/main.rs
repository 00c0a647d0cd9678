//! Device processes and the VMM that serves them, under as many schedules as time allows.
//!
//! ```sh
//! RUSTFLAGS="--cfg vm_msix_shuttle" CARGO_TARGET_DIR=target/shuttle cargo test -p vm-msix-tube --release --test shuttle
//! ```
//!
//! Both ends are the crate's own, with a socket between them that has little [room](vm_msix_tube::model); the VMM delivers through
//! vm-msix-kvm, and KVM is that crate's [model](vm_msix_kvm::model). So are the [oracle](oracle) and whoever acts on a
//! [function]: they are those of its [scenarios](../../../vm-msix-kvm/tests/shuttle/main.rs), which say how
//! schedules are found and replayed.
//!
//! Which mutants of the crate a scenario must kill is written at it, after "Kills:"; `ci/tube-mutants` makes them.
#![cfg(vm_msix_shuttle)]

#[allow(dead_code, reason = "nobody looks at Pending Bits beside a device process's registers")]
#[path = "../../../vm-msix-kvm/tests/shuttle/actors.rs"]
mod actors;
#[path = "../../../vm-msix-kvm/tests/shuttle/alike.rs"]
mod alike;
#[path = "../../../vm-msix-kvm/tests/shuttle/explore.rs"]
mod explore;
#[allow(dead_code, reason = "some of it is done there only")]
#[path = "../../../vm-msix-kvm/tests/shuttle/function.rs"]
mod function;
#[allow(dead_code, reason = "some of it is asked there only")]
#[path = "../../../vm-msix-kvm/tests/shuttle/oracle.rs"]
mod oracle;
#[path = "../../../vm-msix-kvm/tests/shuttle/table.rs"]
mod table;
#[allow(dead_code, reason = "functions are a device process's here")]
#[path = "../../../vm-msix-kvm/tests/shuttle/world.rs"]
mod vm;

mod descriptors;
mod failing;
mod masking;
mod the_end;
mod window;
mod world;
