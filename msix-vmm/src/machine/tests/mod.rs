//! The same tests on every machine there is here.

mod accesses;
mod enumeration;
mod fake;
mod interrupts;
mod saving;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use kvm_bindings::kvm_msi;
use kvm_ioctls::Kvm;

use super::host::{HostApics, HostMachine};
use super::kvm::{ApicMode, Vm};
use super::{FIRST_DEVICE_VECTOR, Machine};
use fake::{Config, FakeBus};

/// For finding hangs only: nothing here takes a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine, its bus, and a way past the device to its LAPICs.
struct Rig {
    machine: Box<dyn Machine>,
    bus: Arc<FakeBus>,
    deliver: Arc<dyn Fn(u64, u32) -> bool + Send + Sync>,
}

impl Rig {
    fn host(cpus: usize, config: &Config) -> Self {
        let bus = Arc::new(FakeBus::new(config.clone()));
        let apics = Arc::new(HostApics::new(cpus).unwrap());
        let machine = Box::new(HostMachine::new(apics.clone(), bus.clone()));
        let deliver = Arc::new(move |address, data| apics.deliver(address, data));
        Self { machine, bus, deliver }
    }

    fn kvm(apic_mode: ApicMode, cpus: usize, config: &Config) -> Self {
        let bus = Arc::new(FakeBus::new(config.clone()));
        let vm = Vm::new(apic_mode, cpus).unwrap();
        let fd = vm.vm_fd();
        let machine = Box::new(vm.start(bus.clone()).unwrap());
        let deliver = Arc::new(move |address: u64, data| {
            let message = kvm_msi {
                address_lo: address as u32,
                address_hi: (address >> 32) as u32,
                data,
                ..Default::default()
            };
            fd.signal_msi(message).unwrap() > 0
        });
        Self { machine, bus, deliver }
    }

    /// All machines that run here.
    fn all(cpus: usize, config: &Config) -> Vec<Self> {
        let mut rigs = vec![Self::host(cpus, config)];
        if have_kvm() {
            rigs.push(Self::kvm(ApicMode::Xapic, cpus, config));
            rigs.push(Self::kvm(ApicMode::X2apic, cpus, config));
        }
        rigs
    }

    /// Sends the interrupt of the wave's entry number `offset` to a CPU.
    fn interrupt(&self, cpu: usize, offset: u16) {
        let vector = u32::from(FIRST_DEVICE_VECTOR) + u32::from(offset);
        assert!((self.deliver)(doorbell(cpu), vector));
    }
}

/// The address of a CPU's LAPIC for messages.
fn doorbell(cpu: usize) -> u64 {
    0xfee0_0000 | (cpu as u64) << 12
}

/// Whether KVM works here. Without it the test says so, and fails where KVM is demanded.
fn have_kvm() -> bool {
    let Err(error) = Kvm::new() else { return true };
    assert!(std::env::var_os("REQUIRE_KVM").is_none_or(|set| set != "1"), "no KVM: {error}");
    eprintln!("skipped: the guest's part of this test, there is no KVM: {error}");
    false
}
