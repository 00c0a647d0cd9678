//! A VM with an in-kernel interrupt controller and vCPUs that never run: their APICs collect what comes.

use std::sync::Arc;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_enable_cap};
use kvm_ioctls::{Cap, Kvm, VmFd};
use vm_msix::MsixConfig;
use vm_msix_kvm::{Committer, DestinationIds, KvmMsi, RouteTable, Router};

use super::lapic::Lapic;
use super::{Msix, open};

/// `KVM_X2APIC_API_USE_32BIT_IDS`, and no quirk of broadcasts.
const X2APIC_API_FLAGS: u64 = 0x3;

/// A VM, its router, and its APICs.
pub(crate) struct Fixture {
    pub(crate) vm: Arc<VmFd>,
    pub(crate) router: Arc<Router>,
    pub(crate) cpus: Vec<Lapic>,
    destination_ids: DestinationIds,
}

impl Fixture {
    /// Two vCPUs, APIC IDs 0 and 1, 8-bit destination IDs; `None` where there is no KVM.
    pub(crate) fn new() -> Option<Self> {
        Self::with_cpus(2)
    }

    /// The same with more vCPUs, for tests that want more interrupts than two APICs tell apart.
    pub(crate) fn with_cpus(count: u64) -> Option<Self> {
        let vm = vm_with_irqchip(&open::kvm()?);
        let cpus = (0..count).map(|id| Lapic::switched_on(vm.create_vcpu(id).unwrap())).collect();
        Some(Self::of(vm, cpus, DestinationIds::Bits8))
    }

    /// The same with 32-bit destination IDs: the VM has `KVM_CAP_X2APIC_API`.
    pub(crate) fn with_32_bit_ids() -> Option<Self> {
        let vm = vm_with_32_bit_ids(&open::kvm()?);
        let cpus = (0..2).map(|id| Lapic::switched_on(vm.create_vcpu(id).unwrap())).collect();
        Some(Self::of(vm, cpus, DestinationIds::Bits32))
    }

    /// One vCPU with a high APIC ID, in x2APIC mode, which comes after vCPU 0; `None` where this cannot be.
    pub(crate) fn with_high_id(id: u64) -> Option<Self> {
        let kvm = open::kvm()?;
        let vm = vm_with_32_bit_ids(&kvm);
        let first = Lapic::switched_on(vm.create_vcpu(0).unwrap());
        let high = || {
            let vcpu = vm.create_vcpu(id)?;
            vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
            Lapic::enter_x2apic(&vcpu)?;
            Ok::<_, kvm_ioctls::Error>(vcpu)
        };
        match high() {
            Ok(vcpu) => {
                let cpus = vec![first, Lapic::switched_on(vcpu)];
                Some(Self::of(vm, cpus, DestinationIds::Bits32))
            }
            Err(error) => {
                open::skipped(&format!("KVM has no vCPU with x2APIC ID {id} ({error})"));
                None
            }
        }
    }

    fn of(vm: Arc<VmFd>, cpus: Vec<Lapic>, destination_ids: DestinationIds) -> Self {
        let router = Arc::new(Router::new(vm.clone(), Router::irqchip_entries()));
        Self { vm, router, cpus, destination_ids }
    }

    /// The APIC with ID 0.
    pub(crate) fn apic(&self) -> &Lapic {
        &self.cpus[0]
    }

    /// Delivery to this VM, with its router.
    pub(crate) fn delivery(&self) -> KvmMsi {
        self.delivery_with(self.router.clone())
    }

    /// Delivery to this VM, with another table, each route committed at once.
    pub(crate) fn delivery_with(&self, routes: Arc<dyn RouteTable>) -> KvmMsi {
        self.delivery_by(Committer::immediate(routes))
    }

    /// Delivery to this VM, with a committer.
    pub(crate) fn delivery_by(&self, committer: Arc<Committer>) -> KvmMsi {
        KvmMsi::new(self.vm.clone(), committer).with_destination_ids(self.destination_ids)
    }

    /// A function of this VM.
    pub(crate) fn function(&self, vectors: u16) -> Msix {
        function(vectors, self.delivery())
    }
}

/// A function with this delivery.
pub(crate) fn function(vectors: u16, delivery: KvmMsi) -> Msix {
    MsixConfig::new(vectors, delivery, 0x1041_1af4, "test").unwrap()
}

fn vm_with_irqchip(kvm: &Kvm) -> Arc<VmFd> {
    let vm = kvm.create_vm().unwrap();
    vm.create_irq_chip().unwrap();
    Arc::new(vm)
}

fn vm_with_32_bit_ids(kvm: &Kvm) -> Arc<VmFd> {
    let vm = vm_with_irqchip(kvm);
    let mut cap = kvm_enable_cap { cap: Cap::X2ApicApi as u32, ..Default::default() };
    cap.args[0] = X2APIC_API_FLAGS;
    vm.enable_cap(&cap).unwrap();
    vm
}
