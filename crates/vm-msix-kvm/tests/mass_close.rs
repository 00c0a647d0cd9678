//! 2048 irqfds that close at once while their producers write: nothing comes after, and nothing is lost or doubled (C3, C4).
//! A program of its own, because it counts threads.
//!
//! Ten APICs tell 2048 interrupts apart, so that for each signal it is known whether it was delivered.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;

use support::fixture::{Fixture, function};
use support::lapic::Lapic;
use support::long::{allow_descriptors, times};
use support::producer::Producer;
use support::wait::until;
use support::{Msix, guest, to_apic};
use vm_msix::{Counters, MsixObserver};
use vm_msix_kvm::{Committer, Irqfd};

const VECTORS: u16 = 2048;
const CPUS: u16 = 10;
const PRODUCERS: usize = 4;

type Observed = Msix<Arc<Counters>>;

/// A vector's APIC and interrupt; none is below 32.
fn place(vector: u16) -> (u8, u8) {
    ((vector % CPUS) as u8, 32 + (vector / CPUS) as u8)
}

/// One test at a time: KVM's work items want a CPU too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All vectors on descriptors and open.
fn rig() -> Option<(Fixture, Observed, Vec<Irqfd>)> {
    if !allow_descriptors(8192) {
        return None;
    }
    let fixture = Fixture::with_cpus(CPUS.into())?;
    let committer = Committer::spawn(fixture.router.clone()).unwrap();
    let mut msix = function(VECTORS, fixture.delivery_by(committer))
        .with_observer(Arc::new(Counters::default()));
    let guards = (0..VECTORS).map(|vector| msix.get_irqfd(vector.into()).unwrap()).collect();
    guest(&mut msix).enable_under_mask();
    for vector in 0..VECTORS {
        let (cpu, interrupt) = place(vector);
        guest(&mut msix).program(vector, to_apic(cpu, interrupt));
        guest(&mut msix).unmask(vector);
    }
    Some((fixture, msix, guards))
}

fn pending<O: MsixObserver>(msix: &Msix<O>) -> Vec<bool> {
    let mut bytes = vec![0; usize::from(VECTORS) / 8];
    for (offset, qword) in (0_u64..).step_by(8).zip(bytes.chunks_mut(8)) {
        msix.read_pba_entries(offset, qword);
    }
    (0..usize::from(VECTORS)).map(|vector| bytes[vector / 8] & 1 << (vector % 8) != 0).collect()
}

fn delivered(fixture: &Fixture) -> Vec<bool> {
    let requested: Vec<_> = fixture.cpus.iter().map(Lapic::requested).collect();
    (0..VECTORS)
        .map(|vector| {
            let (cpu, interrupt) = place(vector);
            requested[usize::from(cpu)].contains(&interrupt)
        })
        .collect()
}

fn clear(fixture: &Fixture) {
    fixture.cpus.iter().for_each(Lapic::clear);
}

fn helpers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).filter(|name| name.trim() == "msix-close").count()
}

/// The ways to close them all, and to open them again.
type Way = (fn(&mut Observed), fn(&mut Observed));
const WAYS: [Way; 3] = [
    (|msix| guest(msix).mask_function(), |msix| guest(msix).unmask_function()),
    (|msix| guest(msix).disable(), |msix| guest(msix).enable()),
    (|msix| msix.set_bus_master(false), |msix| msix.set_bus_master(true)),
];

/// Each eventfd is written once, at some moment of the close: it was delivered, or it is pending, and not both.
#[test]
fn c3_c4_each_signal_during_a_mass_close_is_delivered_or_pending() {
    let (_alone, Some((fixture, mut msix, guards))) = (alone(), rig()) else { return };
    let producers: Vec<_> = guards.iter().map(Producer::of).collect();
    guest(&mut msix).unmask_function();
    msix.flush().unwrap();
    let (mut some_delivered, mut some_pending) = (false, false);
    for round in 0..times(6, 200) {
        let (close, open) = WAYS[round % WAYS.len()];
        let start = Barrier::new(PRODUCERS + 1);
        thread::scope(|scope| {
            for share in producers.chunks(producers.len() / PRODUCERS) {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    for producer in share {
                        // Spread over as long as the close takes, or so.
                        (0..round % 8 * 1000).for_each(|_| std::hint::spin_loop());
                        producer.signal();
                    }
                });
            }
            start.wait();
            close(&mut msix);
        });
        let (came, kept) = (delivered(&fixture), pending(&msix));
        for vector in 0..usize::from(VECTORS) {
            assert!(
                came[vector] != kept[vector],
                "round {round}, vector {vector}: delivered {}, pending {}",
                came[vector],
                kept[vector],
            );
        }
        some_delivered |= came.contains(&true);
        some_pending |= kept.contains(&true);
        clear(&fixture);
        // What was pending comes, and nothing else. The second close waits for what KVM has on its way.
        open(&mut msix);
        msix.flush().unwrap();
        close(&mut msix);
        assert_eq!(delivered(&fixture), kept, "round {round}");
        assert!(!pending(&msix).contains(&true), "round {round}");
        clear(&fixture);
        open(&mut msix);
        msix.flush().unwrap();
    }
    assert!(some_delivered && some_pending, "signals came before the close and after it");
    until("the helpers to be gone", || helpers() == 0);
}

/// Producers that never rest: after the close nothing comes, and each of them shows as pending.
#[test]
fn c4_nothing_comes_after_a_mass_close_though_all_are_written_all_the_while() {
    let (_alone, Some((fixture, mut msix, guards))) = (alone(), rig()) else { return };
    let producers: Vec<_> = guards.iter().map(Producer::of).collect();
    guest(&mut msix).unmask_function();
    let (done, rounds) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; PRODUCERS]);
    thread::scope(|scope| {
        for (share, rounds) in producers.chunks(producers.len() / PRODUCERS).zip(&rounds) {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    share.iter().for_each(Producer::signal);
                    rounds.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                }
            });
        }
        let _stop = StopOnDrop(&done);
        for round in 0..times(3, 50) {
            let (close, open) = WAYS[round % WAYS.len()];
            msix.flush().unwrap();
            until("interrupts", || delivered(&fixture).contains(&true));
            close(&mut msix);
            clear(&fixture);
            let before: Vec<_> =
                rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect();
            for (rounds, before) in rounds.iter().zip(before) {
                // The second began after the close.
                until("the producers", || rounds.load(Ordering::Relaxed) >= before + 2);
            }
            assert!(!delivered(&fixture).contains(&true), "round {round}");
            assert!(!pending(&msix).contains(&false), "round {round}");
            open(&mut msix);
        }
    });
    msix.reset();
    clear(&fixture);
    until("the helpers to be gone", || helpers() == 0);
    assert!(!pending(&msix).contains(&true));
    assert!(!delivered(&fixture).contains(&true));
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// Whoever helps with a close may be late; what has been opened again meanwhile stays open. Busy threads make it late.
#[test]
fn c3_a_helper_that_comes_late_closes_nothing_that_was_opened_again() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let committer = Committer::spawn(fixture.router.clone()).unwrap();
    let mut msix = function(24, fixture.delivery_by(committer));
    let guards: Vec<_> = (0..24).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
    let messages: Vec<_> = (0..24).map(|vector| to_apic(0, 0x40 + vector)).collect();
    guest(&mut msix).bring_up(&messages);
    msix.flush().unwrap();
    let producers: Vec<_> = guards.iter().map(Producer::of).collect();
    let interrupts: Vec<u8> = (0x40..0x58).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&done);
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for _ in 0..times(60, 2000) {
            // The same routes: KVM has them again when this returns.
            guest(&mut msix).mask_function();
            guest(&mut msix).unmask_function();
            producers.iter().for_each(Producer::signal);
            until("all of them", || fixture.apic().requested() == interrupts);
            fixture.apic().clear();
        }
    });
}

/// Lets the producers go home also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
