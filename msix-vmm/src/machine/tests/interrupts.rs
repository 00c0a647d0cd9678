//! Interrupts are taken, counted and attributed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use super::fake::Config;
use super::*;
use crate::machine::{
    Access, DEVICE_VECTORS, MAX_ENTRIES, MachineError, UnexpectedInterrupt, Width,
};

#[test]
fn every_vector_of_every_wave() {
    for rig in Rig::all(1, &Config::device()) {
        let machine = &rig.machine;
        for first in [0, DEVICE_VECTORS, MAX_ENTRIES - DEVICE_VECTORS] {
            machine.set_wave(first);
            for offset in 0..DEVICE_VECTORS {
                rig.interrupt(0, offset);
                machine.wait_for_runs(first + offset, 1, PATIENCE).unwrap();
            }
            machine.settle(0).unwrap();
            for entry in 0..MAX_ENTRIES {
                let expected = u32::from((first..first + DEVICE_VECTORS).contains(&entry));
                assert_eq!(machine.runs(entry), expected, "{entry}: {}", machine.describe());
            }
            machine.reset();
        }
        assert_eq!(machine.unexpected_interrupts(), []);
    }
}

#[test]
fn settling_leaves_nothing_pending() {
    for rig in Rig::all(1, &Config::device()) {
        for round in 1..=20 {
            (0..DEVICE_VECTORS).for_each(|offset| rig.interrupt(0, offset));
            rig.machine.settle(0).unwrap();
            for entry in 0..DEVICE_VECTORS {
                assert_eq!(rig.machine.runs(entry), round, "{}", rig.machine.describe());
            }
        }
    }
}

#[test]
fn each_cpu_takes_its_own() {
    for rig in Rig::all(2, &Config::device()) {
        let machine = &rig.machine;
        for (cpu, count) in [(0, 3), (1, 5)] {
            for run in 1..=count {
                rig.interrupt(cpu, 7);
                machine.settle(cpu).unwrap();
                assert_eq!(machine.runs_on(cpu, 7), run, "{}", machine.describe());
            }
        }
        assert_eq!((machine.runs_on(0, 7), machine.runs_on(1, 7), machine.runs(7)), (3, 5, 8));
        assert!((rig.deliver)(doorbell(0xff), FIRST_DEVICE_VECTOR.into()));
        machine.wait_for_runs(0, 2, PATIENCE).unwrap();
        assert!(!(rig.deliver)(doorbell(2), FIRST_DEVICE_VECTOR.into()));
    }
}

#[test]
fn the_handler_sees_what_the_device_wrote() {
    for rig in Rig::all(2, &Config::device()) {
        let machine = &rig.machine;
        // A number that was written but not signalled is not seen.
        machine.set_sequence(9, 1);
        assert_eq!(machine.last_seen(9), 0);
        for (run, sequence) in (1..=600).chain([1 << 40, u64::MAX]).enumerate() {
            machine.set_sequence(9, sequence);
            rig.interrupt(run % 2, 9);
            machine.wait_for_runs(9, run as u32 + 1, PATIENCE).unwrap();
            assert_eq!(machine.last_seen(9), sequence, "{}", machine.describe());
        }
        machine.reset();
        assert_eq!((machine.last_seen(9), machine.runs(9)), (0, 0));
    }
}

/// A flood collapses in the LAPIC, but at rest the last number written has been seen.
#[test]
fn a_storm_from_two_threads() {
    const STORM: u64 = 5000;
    for rig in Rig::all(2, &Config::device()) {
        let machine = &rig.machine;
        thread::scope(|scope| {
            for cpu in 0..2 {
                let rig = &rig;
                scope.spawn(move || {
                    for sequence in 1..=STORM {
                        rig.machine.set_sequence(cpu, sequence);
                        rig.interrupt(cpu.into(), cpu);
                    }
                });
            }
            let access = Access::MmioRead { address: 0xc000_0000, width: Width::Dword };
            for cpu in [0, 1, 0, 1] {
                machine.execute(cpu, &[access; 1000]).unwrap();
            }
        });
        for cpu in 0..2 {
            machine.settle(cpu.into()).unwrap();
            assert_eq!(machine.last_seen(cpu), STORM, "{}", machine.describe());
        }
    }
}

/// The device signals while the CPU is inside an access to it.
#[test]
fn an_access_that_interrupts_its_own_cpu() {
    for rig in Rig::all(1, &Config::device()) {
        let (deliver, sent) = (rig.deliver.clone(), AtomicU32::new(0));
        rig.bus.on_mmio_write(move |_| {
            let offset = sent.fetch_add(1, Ordering::Relaxed) % u32::from(DEVICE_VECTORS);
            assert!(deliver(doorbell(0), u32::from(FIRST_DEVICE_VECTOR) + offset));
        });
        let write = Access::MmioWrite { address: 0xc000_0000, width: Width::Dword, value: 1 };
        rig.machine.execute(0, &[write; 3 * DEVICE_VECTORS as usize]).unwrap();
        rig.machine.settle(0).unwrap();
        let runs: Vec<_> = (0..DEVICE_VECTORS).map(|entry| rig.machine.runs(entry)).collect();
        assert_eq!(runs, [3; DEVICE_VECTORS as usize], "{}", rig.machine.describe());
    }
}

#[test]
fn what_no_entry_accounts_for_is_counted() {
    for rig in Rig::all(2, &Config::device()) {
        let machine = &rig.machine;
        machine.set_wave(MAX_ENTRIES - 1);
        // The ends of both ranges that are not the device's, and one past the table.
        let vectors = [0x21, 0x2f, 0x31, 0xf8, 0xff];
        let mut expected = Vec::new();
        for (cpu, count) in [(0, 1), (1, 2)] {
            for vector in vectors {
                for _ in 0..count {
                    assert!((rig.deliver)(doorbell(cpu), vector.into()));
                    machine.settle(cpu).unwrap();
                }
                expected.push(UnexpectedInterrupt { cpu, vector, count });
            }
        }
        let seen = machine.unexpected_interrupts();
        assert_eq!(seen, expected, "{}", machine.describe());
        assert!((0..MAX_ENTRIES).all(|entry| machine.runs(entry) == 0));
        machine.reset();
        assert_eq!(machine.unexpected_interrupts(), []);
    }
}

/// A message with the vector of the machine's own wake-ups: seen unless it collapses with one.
#[test]
fn a_wake_up_that_nobody_asked_for() {
    for rig in Rig::all(1, &Config::device()) {
        let start = Instant::now();
        while rig.machine.unexpected_interrupts().is_empty() {
            assert!((rig.deliver)(doorbell(0), 0x20));
            assert!(start.elapsed() < PATIENCE, "{}", rig.machine.describe());
            thread::yield_now();
        }
        let seen = rig.machine.unexpected_interrupts();
        assert_eq!((seen.len(), seen[0].cpu, seen[0].vector), (1, 0, 0x20));
        rig.machine.settle(0).unwrap();
    }
}

#[test]
fn waiting_in_vain_ends() {
    for rig in Rig::all(1, &Config::device()) {
        rig.interrupt(0, 4);
        rig.machine.settle(0).unwrap();
        let waited = rig.machine.wait_for_runs(4, 2, Duration::ZERO);
        let expected =
            matches!(waited, Err(MachineError::RunsTimeout { entry: 4, wanted: 2, seen: 1 }));
        assert!(expected, "{waited:?}");
    }
}

#[test]
fn only_a_lapics_messages_are_delivered() {
    let apics = HostApics::new(2).unwrap();
    for (address, data) in [
        (0x1_fee0_0000, 0x30), // above 4 GiB
        (0xfed0_0000, 0x30),   // memory
        (0xfee0_2000, 0x30),   // no such CPU
        (0xfee0_0004, 0x30),   // logical destination
        (0xfee0_0000, 0x430),  // NMI
        (0xfee0_0000, 0x0f),   // no such vector
    ] {
        assert!(!apics.deliver(address, data), "{address:#x} {data:#x}");
    }
    for (address, data) in [(0xfee0_0000, 0x30), (0xfee0_1008, 0x130), (0xfeef_f000, 0x30)] {
        assert!(apics.deliver(address, data), "{address:#x} {data:#x}");
    }
}
