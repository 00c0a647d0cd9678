//! What delivery costs, each beside the least that it could cost: the bare system call, or one atomic step.
//!
//! ```sh
//! cargo bench -p vm-msix-kvm --bench trigger
//! ```

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use kvm_bindings::kvm_msi;
use support::fixture::Fixture;
use support::producer::Producer;
use support::{Msix, guest, to_apic, to_memory};

criterion_group!(benches, signal_mode, irqfd_mode, latch, table, pba, mask_and_unmask);
criterion_main!(benches);

/// A function with its vectors open.
fn open(fixture: &Fixture, vectors: u16) -> Msix {
    let mut msix = fixture.function(vectors);
    let messages: Vec<_> = (0..vectors).map(|_| to_apic(0, 0x41)).collect();
    guest(&mut msix).bring_up(&messages);
    msix
}

/// An unmasked trigger is `KVM_SIGNAL_MSI` and what we add.
fn signal_mode(criterion: &mut Criterion) {
    let Some(fixture) = Fixture::new() else { return };
    let mut group = criterion.benchmark_group("unmasked, signal mode");
    let msi = kvm_msi { address_lo: 0xfee0_0000, data: 0x41, ..Default::default() };
    group.bench_function("floor: KVM_SIGNAL_MSI", |bencher| {
        bencher.iter(|| fixture.vm.signal_msi(black_box(msi)).unwrap());
    });
    let msix = open(&fixture, 64);
    group.bench_function("trigger", |bencher| {
        bencher.iter(|| msix.trigger(black_box(7)).unwrap());
    });
    let handle = msix.trigger_handle(7).unwrap();
    group.bench_function("trigger by handle", |bencher| {
        bencher.iter(|| handle.trigger().unwrap());
    });
    // No system call: what we add, alone.
    let mut memory = fixture.function(64);
    guest(&mut memory).bring_up(&[to_memory(7)]);
    group.bench_function("trigger to memory, discarded", |bencher| {
        bencher.iter(|| memory.trigger(black_box(0)).unwrap());
    });
    group.finish();
}

/// A trigger on a descriptor is a write to an eventfd and what we add.
fn irqfd_mode(criterion: &mut Criterion) {
    let Some(fixture) = Fixture::new() else { return };
    let mut group = criterion.benchmark_group("unmasked, irqfd mode");
    let msix = open(&fixture, 64);
    let guard = msix.get_irqfd(7).unwrap();
    let producer = Producer::of(&guard).into_eventfd();
    group.bench_function("floor: write to the eventfd", |bencher| {
        bencher.iter(|| producer.write(black_box(1)).unwrap());
    });
    group.bench_function("trigger", |bencher| {
        bencher.iter(|| msix.trigger(black_box(7)).unwrap());
    });
    group.finish();
}

/// A masked trigger is a step of an atomic word.
fn latch(criterion: &mut Criterion) {
    let Some(fixture) = Fixture::new() else { return };
    let mut group = criterion.benchmark_group("masked");
    let word = AtomicU32::new(0);
    group.bench_function("floor: compare_exchange", |bencher| {
        bencher.iter(|| {
            let seen = word.load(Ordering::Relaxed);
            black_box(&word).compare_exchange(seen, seen | 1, Ordering::AcqRel, Ordering::Relaxed)
        });
    });
    let mut msix = open(&fixture, 64);
    guest(&mut msix).mask_function();
    group.bench_function("trigger, collapsing", |bencher| {
        bencher.iter(|| msix.trigger(black_box(7)).unwrap());
    });
    let handle = msix.trigger_handle(7).unwrap();
    group.bench_function("trigger by handle, collapsing", |bencher| {
        bencher.iter(|| handle.trigger().unwrap());
    });
    group.bench_function("trigger and retract", |bencher| {
        bencher.iter(|| {
            msix.trigger(black_box(7)).unwrap();
            msix.retract(black_box(7)).unwrap()
        });
    });
    group.finish();
}

/// A guest's accesses, without the exit that brings them.
fn table(criterion: &mut Criterion) {
    let Some(fixture) = Fixture::new() else { return };
    let mut group = criterion.benchmark_group("table");
    let mut msix = open(&fixture, 64);
    guest(&mut msix).mask(7);
    group.bench_function("read a DWORD", |bencher| {
        bencher.iter(|| {
            let mut data = [0; 4];
            msix.read_msix_table(black_box(7 * 16 + 8), &mut data);
            data
        });
    });
    let mut value = 0_u32;
    group.bench_function("write a DWORD, masked", |bencher| {
        bencher.iter(|| {
            value = value.wrapping_add(1);
            msix.write_msix_table(black_box(7 * 16 + 8), &value.to_le_bytes())
        });
    });
    group.finish();
}

fn pba(criterion: &mut Criterion) {
    let Some(fixture) = Fixture::new() else { return };
    let mut group = criterion.benchmark_group("read a QWORD of the PBA");
    for vectors in [1, 64, 2048] {
        let msix = fixture.function(vectors);
        group.bench_function(format!("{vectors} vectors in signal mode"), |bencher| {
            bencher.iter(|| read_pba(&msix));
        });
    }
    let msix = fixture.function(64);
    let _guards: Vec<_> = (0..64).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
    group.bench_function("64 vectors in irqfd mode", |bencher| {
        bencher.iter(|| read_pba(&msix));
    });
    group.finish();
}

fn read_pba(msix: &Msix) -> u64 {
    let mut data = [0; 8];
    msix.read_pba_entries(black_box(0), &mut data);
    u64::from_le_bytes(data)
}

/// As an affinity change does it, and interrupt handlers that mask.
fn mask_and_unmask(criterion: &mut Criterion) {
    let Some(fixture) = Fixture::new() else { return };
    let mut group = criterion.benchmark_group("mask and unmask");
    let mut pair = |name: &str, msix: &mut Msix| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                msix.write_msix_table(black_box(7 * 16 + 12), &1_u32.to_le_bytes());
                msix.write_msix_table(black_box(7 * 16 + 12), &0_u32.to_le_bytes())
            });
        });
    };
    let mut msix = open(&fixture, 64);
    pair("signal mode", &mut msix);
    let _guard = msix.get_irqfd(7).unwrap();
    pair("irqfd mode", &mut msix);
    group.finish();
}
