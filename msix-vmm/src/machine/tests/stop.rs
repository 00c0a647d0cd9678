//! How a machine ends, well or badly.

use std::sync::Weak;
use std::time::Instant;

use super::fake::Config;
use super::*;
use crate::machine::{Access, CpuStop, MachineError, Width};

fn read(address: u64) -> Access {
    Access::MmioRead { address, width: Width::Dword }
}

/// Every call that can say so says that CPU 0 stopped.
fn stopped(machine: &dyn Machine) -> CpuStop {
    let reason = match machine.execute(0, &[read(0xc000_0000)]) {
        Err(MachineError::CpuStopped { cpu: 0, reason }) => reason,
        other => panic!("{other:?}"),
    };
    let waited = machine.wait_for_runs(0, 1, PATIENCE);
    for result in [machine.settle(0), machine.settle(1), waited] {
        assert!(matches!(result, Err(MachineError::CpuStopped { cpu: 0, .. })), "{result:?}");
    }
    reason
}

#[test]
fn a_guest_that_faults() {
    if !have_kvm() {
        return;
    }
    for mode in [ApicMode::Xapic, ApicMode::X2apic] {
        let rig = Rig::kvm(mode, 2, &Config::device());
        // Nothing is mapped there.
        assert!(rig.machine.execute(0, &[read(1 << 32)]).is_err());
        let reason = stopped(&*rig.machine);
        let page_fault =
            matches!(reason, CpuStop::Exception { vector: 14, error_code: Some(0), rip: 1.. });
        assert!(page_fault, "{reason}");
    }
}

#[test]
fn a_bus_that_panics() {
    if !have_kvm() {
        return;
    }
    let rig = Rig::kvm(ApicMode::Xapic, 2, &Config::device());
    rig.bus.on_mmio_write(|_| panic!("this panic belongs to the test"));
    let write = Access::MmioWrite { address: 0xc000_0000, width: Width::Byte, value: 0 };
    assert!(rig.machine.execute(0, &[write]).is_err());
    assert_eq!(stopped(&*rig.machine), CpuStop::Panicked);
}

#[test]
fn numbers_of_cpus_that_cannot_be() {
    for cpus in [0, 256] {
        let refused = HostApics::new(cpus);
        assert!(matches!(refused, Err(MachineError::CpuCount { .. })), "{cpus}");
    }
    for cpus in [0, 9] {
        let refused = Vm::new(ApicMode::Xapic, cpus);
        assert!(matches!(refused, Err(MachineError::CpuCount { .. })), "{cpus}");
    }
}

#[test]
fn dropping_leaves_nothing() {
    for rig in Rig::all(2, &Config::device()) {
        let Rig { machine, bus, deliver } = rig;
        for cpu in 0..2 {
            machine.execute(cpu, &[read(0xc000_0000)]).unwrap();
        }
        let here = std::fs::read_link("/proc/thread-self").unwrap();
        let threads = bus.threads();
        let others = threads.iter().filter(|thread| !thread.ends_with(&here));
        drop((machine, deliver));
        for thread in others {
            // A thread that was joined leaves /proc a moment later.
            let start = Instant::now();
            while thread.exists() {
                assert!(start.elapsed() < PATIENCE, "{thread:?} is still there");
                std::thread::yield_now();
            }
        }
        let bus = Arc::into_inner(bus);
        assert!(bus.is_some(), "somebody still has the bus");
    }
}

#[test]
fn a_vm_that_never_runs() {
    if !have_kvm() {
        return;
    }
    let vm = Vm::new(ApicMode::X2apic, 2).unwrap();
    let fd: Weak<_> = Arc::downgrade(&vm.vm_fd());
    drop(vm);
    assert!(fd.upgrade().is_none());
}
