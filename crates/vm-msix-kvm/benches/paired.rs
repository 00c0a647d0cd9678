//! What a trigger adds to its system call, on a machine that does other things too: floor and trigger take turns in
//! short batches, so that both meet the same disturbances, and the ratio is the median of many.
//!
//! ```sh
//! cargo bench -p vm-msix-kvm --bench paired
//! ```

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Instant;

use kvm_bindings::kvm_msi;
use support::fixture::Fixture;
use support::producer::Producer;
use support::{guest, to_apic};

const BATCH: u32 = 500;

fn main() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(64);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x41)]);
    let msi = kvm_msi { address_lo: 0xfee0_0000, data: 0x41, ..Default::default() };
    compare(
        "KVM_SIGNAL_MSI, signal mode",
        || black_box(fixture.vm.signal_msi(black_box(msi))).is_ok(),
        || black_box(msix.trigger(black_box(0))).is_ok(),
    );
    let guard = msix.get_irqfd(1).unwrap();
    let producer = Producer::of(&guard).into_eventfd();
    compare(
        "write to the eventfd, irqfd mode",
        || black_box(producer.write(black_box(1))).is_ok(),
        || black_box(msix.trigger(black_box(1))).is_ok(),
    );
}

/// Prints the medians of both, in nanoseconds, and the median of their ratio.
fn compare(name: &str, floor: impl Fn() -> bool, trigger: impl Fn() -> bool) {
    let pairs: Vec<_> = (0..batches()).map(|_| (batch(&floor), batch(&trigger))).collect();
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<_> = pairs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "{name}: {:.1} ns, trigger {:.1} ns, ratio {:.3}",
        median(|pair| pair.0),
        median(|pair| pair.1),
        median(|pair| pair.1 / pair.0),
    );
}

/// Many to measure; a few where `cargo test` only wants to see it run.
fn batches() -> usize {
    if std::env::args().any(|argument| argument == "--bench") { 2000 } else { 3 }
}

/// Nanoseconds for one.
fn batch(run: &impl Fn() -> bool) -> f64 {
    let start = Instant::now();
    for _ in 0..BATCH {
        assert!(run());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
}
