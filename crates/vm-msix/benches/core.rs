//! What the core's own operations cost, beside the least that any of them could: one atomic read-modify-write. The sender
//! does nothing, so that nothing but the core is measured.
//!
//! ```sh
//! cargo bench -p vm-msix --bench core
//! ```

mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{DATA, ENABLE, FUNCTION_MASK, Msix, SIZES, VECTOR_CONTROL};
use support::{bring_up, control, function, mask_all, open, program, timed, unmask, write};
use vm_msix::MsixStateV1;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = floor, trigger, registers, pba, mask_and_unmask, bringing_up, taking_down, saving
}
criterion_main!(benches);

fn floor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("floor");
    let word = AtomicU32::new(0);
    group.bench_function("atomic read-modify-write", |bencher| {
        bencher.iter(|| black_box(&word).fetch_add(1, Ordering::AcqRel));
    });
    group.finish();
}

fn trigger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("trigger");
    let mut bench = |name: &str, msix: &Msix| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| msix.trigger(black_box(7)).unwrap());
        });
        let handle = msix.trigger_handle(7).unwrap();
        group.bench_function(format!("{name}, by handle"), |bencher| {
            bencher.iter(|| black_box(&handle).trigger().unwrap());
        });
    };
    let mut msix = open(64);
    bench("open", &msix);
    control(&mut msix, ENABLE | FUNCTION_MASK);
    bench("function-masked, collapsing", &msix);
    control(&mut msix, ENABLE);
    write(&mut msix, 7, VECTOR_CONTROL, 1);
    bench("masked, collapsing", &msix);
    group.bench_function("masked, and retracted", |bencher| {
        bencher.iter(|| {
            msix.trigger(black_box(7)).unwrap();
            msix.retract(black_box(7)).unwrap()
        });
    });
    group.finish();
}

/// A guest's accesses, without the exit that brings them.
fn registers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("register");
    for vectors in SIZES {
        let mut msix = open(vectors);
        group.bench_function(BenchmarkId::new("read a DWORD of the table", vectors), |bencher| {
            bencher.iter(|| {
                let mut data = [0; 4];
                msix.read_msix_table(black_box(DATA), &mut data);
                data
            });
        });
        write(&mut msix, 0, VECTOR_CONTROL, 1);
        let mut value = 0_u32;
        let name = BenchmarkId::new("write a DWORD of the table, masked", vectors);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                value = value.wrapping_add(1);
                msix.write_msix_table(black_box(DATA), &value.to_le_bytes())
            });
        });
    }
    let msix = open(64);
    group.bench_function("read the capability", |bencher| {
        bencher.iter(|| msix.read_msix_capability(black_box(0x3f_0011)));
    });
    group.finish();
}

fn pba(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read a QWORD of the PBA");
    let mut bench = |name: &str, vectors: u16, msix: &Msix| {
        group.bench_function(BenchmarkId::new(name, vectors), |bencher| {
            bencher.iter(|| {
                let mut data = [0; 8];
                msix.read_pba_entries(black_box(0), &mut data);
                u64::from_le_bytes(data)
            });
        });
    };
    for vectors in SIZES {
        let mut msix = open(vectors);
        bench("nothing pending, open", vectors, &msix);
        control(&mut msix, ENABLE | FUNCTION_MASK);
        bench("nothing pending, masked", vectors, &msix);
        msix.trigger(0).unwrap();
        bench("one pending", vectors, &msix);
        for vector in 0..vectors.min(64) {
            msix.trigger(vector).unwrap();
        }
        bench("all pending", vectors, &msix);
    }
    group.finish();
}

/// As interrupt handlers do it that mask.
fn mask_and_unmask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask and unmask");
    for vectors in SIZES {
        let mut msix = open(vectors);
        group.bench_function(BenchmarkId::from_parameter(vectors), |bencher| {
            bencher.iter(|| {
                msix.write_msix_table(black_box(VECTOR_CONTROL), &1_u32.to_le_bytes());
                msix.write_msix_table(black_box(VECTOR_CONTROL), &0_u32.to_le_bytes())
            });
        });
    }
    let mut msix = open(64);
    group.bench_function("with a signal between", |bencher| {
        bencher.iter(|| {
            msix.write_msix_table(black_box(VECTOR_CONTROL), &1_u32.to_le_bytes());
            msix.trigger(black_box(0)).unwrap();
            msix.write_msix_table(black_box(VECTOR_CONTROL), &0_u32.to_le_bytes())
        });
    });
    group.finish();
}

/// In Linux's order: the entries while masked, then one unmask for each interrupt that a driver requests.
fn bringing_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bring-up in Linux's order");
    for vectors in SIZES {
        // So few that the clock would be what is measured, are brought up several at a time.
        let mut functions: Vec<_> =
            (0..64_u16.div_ceil(vectors)).map(|_| function(vectors)).collect();
        let total = u64::from(vectors) * functions.len() as u64;
        group.throughput(Throughput::Elements(total));
        group.bench_function(BenchmarkId::from_parameter(vectors), |bencher| {
            bencher.iter_custom(|rounds| {
                timed(
                    rounds,
                    &mut functions,
                    |functions| functions.iter_mut().for_each(mask_all),
                    |functions| {
                        for msix in functions {
                            program(msix);
                            unmask(msix);
                        }
                    },
                )
            });
        });
    }
    group.finish();
}

/// With every vector open before.
fn taking_down(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("all open");
    for vectors in SIZES {
        group.throughput(Throughput::Elements(vectors.into()));
        let mut bench = |name: &str, end: fn(&mut Msix)| {
            let mut msix = function(vectors);
            group.bench_function(BenchmarkId::new(name, vectors), |bencher| {
                bencher.iter_custom(|rounds| timed(rounds, &mut msix, bring_up, end));
            });
        };
        bench("disable", |msix| control(msix, 0));
        bench("function mask", |msix| control(msix, ENABLE | FUNCTION_MASK));
        bench("reset", Msix::reset);
    }
    group.finish();
}

fn saving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state");
    for vectors in SIZES {
        group.throughput(Throughput::Elements(vectors.into()));
        let mut msix = open(vectors);
        group.bench_function(BenchmarkId::new("snapshot", vectors), |bencher| {
            bencher.iter(|| msix.snapshot());
        });
        let open = msix.snapshot();
        let mut pending = open.clone();
        pending.vectors.iter_mut().for_each(|vector| vector.pending = true);
        let masked = MsixStateV1 { function_masked: true, ..pending.clone() };
        for (name, state) in [
            ("restore, open", open),
            ("restore, open and all pending", pending),
            ("restore, masked and all pending", masked),
        ] {
            group.bench_function(BenchmarkId::new(name, vectors), |bencher| {
                bencher.iter(|| msix.restore(black_box(&state)).unwrap());
            });
        }
    }
    group.finish();
}
