//! A VM that is saved and goes on in another one.

use super::fake::{Config, Seen, pattern};
use super::*;
use crate::machine::kvm::{KvmMachine, VmState};
use crate::machine::{Access, MAX_ENTRIES, Width};

const BAR: u64 = 0xc000_0000;

/// Saves a VM, and continues it in a new one, which has nothing but the bytes.
fn moved(machine: KvmMachine, bus: &Arc<FakeBus>) -> KvmMachine {
    machine.freeze();
    let state = machine.into_vm().unwrap().save().unwrap();
    let bytes = postcard::to_stdvec(&state).unwrap();
    let state: VmState = postcard::from_bytes(&bytes).unwrap();
    Vm::restored(&state).unwrap().start(bus.clone()).unwrap()
}

/// A write, a read and a port in turn, each at a place of its own; with what the bus sees, and what is read.
fn program() -> (Vec<Access>, Vec<Seen>, Vec<u64>) {
    let mut expected = (Vec::new(), Vec::new(), Vec::new());
    for (index, width) in
        (0..3000).zip([Width::Dword, Width::Qword, Width::Byte].into_iter().cycle())
    {
        let (address, port) = (BAR + 16 * index, 0x1000 + index as u16);
        let (access, seen, read) = match index % 3 {
            0 => {
                let value = index.to_le_bytes()[..width.bytes()].to_vec();
                let write = Access::MmioWrite { address, width, value: index };
                (write, Seen::MmioWrite(address, value), 0)
            }
            1 => {
                let read = Access::MmioRead { address, width };
                (read, Seen::MmioRead(address, width.bytes()), pattern(address, width))
            }
            _ => {
                let read = Access::IoRead { port, width };
                (read, Seen::IoRead(port, width.bytes()), pattern(port.into(), width))
            }
        };
        expected.0.push(access);
        expected.1.push(seen);
        expected.2.push(read);
    }
    expected
}

/// Every access is made once and has its result, wherever the CPU was stopped.
#[test]
fn a_cpu_goes_on_in_the_middle_of_its_accesses() {
    if !have_kvm() {
        return;
    }
    for mode in [ApicMode::Xapic, ApicMode::X2apic] {
        let bus = Arc::new(FakeBus::new(Config::device()));
        let mut machine = Vm::new(mode, 2).unwrap().start(bus.clone()).unwrap();
        let (accesses, expected, results) = program();
        machine.begin(0, &accesses).unwrap();
        let mut seen = Vec::new();
        for step in 1..=10 {
            while seen.len() < step * accesses.len() / 11 {
                seen.extend(bus.take_seen());
            }
            machine = moved(machine, &bus);
        }
        assert_eq!(machine.end(0, &accesses).unwrap(), results, "{mode}");
        seen.extend(bus.take_seen());
        assert!(seen == expected, "{mode}: accesses were lost, repeated or changed places");
    }
}

/// What local APICs have accepted when the CPUs are stopped already is handled where they go on; counts go on counting.
#[test]
fn interrupts_wait_in_local_apics() {
    if !have_kvm() {
        return;
    }
    for mode in [ApicMode::Xapic, ApicMode::X2apic] {
        let bus = Arc::new(FakeBus::new(Config::device()));
        let vm = Vm::new(mode, 2).unwrap();
        let mut fd = vm.vm_fd();
        let mut machine = vm.start(bus.clone()).unwrap();
        for moves in 1..=3 {
            machine.freeze();
            for (cpu, entry) in [(0, 3_u16), (1, 4), (1, 199)] {
                let data = u32::from(FIRST_DEVICE_VECTOR) + u32::from(entry);
                let address_lo = doorbell(cpu) as u32;
                let message = kvm_msi { address_lo, data, ..Default::default() };
                assert!(fd.signal_msi(message).unwrap() > 0);
            }
            let vm = machine.into_vm().unwrap();
            let state = vm.save().unwrap();
            assert_eq!(state.interrupts_in_apics(), 3);
            let vm = Vm::restored(&state).unwrap();
            fd = vm.vm_fd();
            machine = vm.start(bus.clone()).unwrap();
            for (cpu, entry) in [(0, 3_u16), (1, 4), (1, 199)] {
                machine.wait_for_runs(entry, moves, PATIENCE).unwrap();
                machine.settle(cpu).unwrap();
                assert_eq!(machine.runs_on(cpu, entry), moves, "{mode}");
            }
        }
        let runs: u32 = (0..MAX_ENTRIES).map(|entry| machine.runs(entry)).sum();
        assert_eq!((runs, machine.unexpected_interrupts()), (9, vec![]));
    }
}
