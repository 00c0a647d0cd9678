//! A VM before it runs: enough of it to build a device's interrupt backend on.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::areas::Areas;
use super::layout::{CPU_DONE, CPU_READY, CPU_REQUESTED, MAX_CPUS, cpu_area};
use super::state::VmState;
use super::vcpu::VcpuThread;
use super::{KvmMachine, boot};
use crate::kvm_state::{SharedState, VcpuState};
use crate::machine::reports::Reports;
use crate::machine::{Bus, CpuStop, MachineError};

/// Where Intel's KVM puts the three pages that real mode needs: above the IOAPIC, below 4 GiB.
const KVM_TSS: usize = 0xfffb_d000;

/// How long a CPU may take to its first halt.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);

/// How the guest reaches its LAPIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ApicMode {
    /// By MMIO.
    Xapic,
    /// By MSRs.
    X2apic,
}

impl fmt::Display for ApicMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xapic => "xAPIC",
            Self::X2apic => "x2APIC",
        })
    }
}

/// A VM with its memory, LAPICs and vCPUs, which do not run yet.
#[derive(Debug)]
pub(crate) struct Vm {
    // Dropped in this order: the vCPUs go before the memory they run in.
    pub(super) vcpus: Vec<VcpuFd>,
    pub(super) fd: Arc<VmFd>,
    pub(super) areas: Areas,
    pub(super) apic_mode: ApicMode,
}

impl Vm {
    /// Creates a VM with the in-kernel irqchip and `cpus` CPUs, the guest's kernel loaded.
    pub(crate) fn new(apic_mode: ApicMode, cpus: usize) -> Result<Self, MachineError> {
        let (kvm, vm) = Self::bare(apic_mode, cpus)?;
        boot::load(&vm.areas, apic_mode);
        for (cpu, vcpu) in vm.vcpus.iter().enumerate() {
            boot::prepare(&kvm, vcpu, cpu)?;
        }
        Ok(vm)
    }

    /// Creates a VM that goes on where another one was saved.
    pub(crate) fn restored(state: &VmState) -> Result<Self, MachineError> {
        let VmState { apic_mode, memory, shared, vcpus } = state;
        let (kvm, vm) = Self::bare(*apic_mode, vcpus.len())?;
        vm.areas.restore(memory)?;
        shared.restore(&vm.fd)?;
        for (cpu, (vcpu, state)) in vm.vcpus.iter().zip(vcpus).enumerate() {
            boot::set_cpuid(&kvm, vcpu, cpu)?;
            state.restore(&kvm, vcpu)?;
        }
        Ok(vm)
    }

    /// What [`restored`](Self::restored) takes. Functions are paused before: what they sent is in the local APICs then.
    pub(crate) fn save(&self) -> Result<VmState, MachineError> {
        let kvm = Kvm::new().map_err(failed("open /dev/kvm"))?;
        let vcpus = self.vcpus.iter().map(|vcpu| VcpuState::save(&kvm, vcpu));
        Ok(VmState {
            apic_mode: self.apic_mode,
            vcpus: vcpus.collect::<Result<_, _>>()?,
            shared: SharedState::save(&self.fd)?,
            memory: self.areas.save(),
        })
    }

    /// CPUs that have not done all that they were told to do.
    pub(crate) fn cpus_with_a_command(&self) -> usize {
        let number = |cpu, place| self.areas.load::<u32>(cpu_area(cpu) + place);
        let busy = |&cpu: &usize| number(cpu, CPU_REQUESTED) != number(cpu, CPU_DONE);
        (0..self.vcpus.len()).filter(busy).count()
    }

    /// With empty memory and new vCPUs.
    fn bare(apic_mode: ApicMode, cpus: usize) -> Result<(Kvm, Self), MachineError> {
        if !(1..=MAX_CPUS).contains(&cpus) {
            return Err(MachineError::CpuCount { cpus, max: MAX_CPUS });
        }
        let kvm = Kvm::new().map_err(failed("open /dev/kvm"))?;
        let fd = kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
        fd.set_tss_address(KVM_TSS).map_err(failed("KVM_SET_TSS_ADDR"))?;
        // Before the vCPUs: they get their LAPICs from it.
        fd.create_irq_chip().map_err(failed("KVM_CREATE_IRQCHIP"))?;

        let areas = Areas::new()?;
        areas.map(&fd)?;
        let create = |cpu| fd.create_vcpu(cpu as u64).map_err(failed("KVM_CREATE_VCPU"));
        let vcpus = (0..cpus).map(create).collect::<Result<_, _>>()?;
        Ok((kvm, Self { vcpus, fd: Arc::new(fd), areas, apic_mode }))
    }

    /// The VM's descriptor, for routes, irqfds and messages.
    pub(crate) fn vm_fd(&self) -> Arc<VmFd> {
        self.fd.clone()
    }

    /// Starts the vCPUs on `bus`, and returns when all of them wait for work.
    ///
    /// The machine keeps `bus` until it is dropped. A device on it that keeps the machine too
    /// would keep both for ever: give it a [`Weak`](std::sync::Weak).
    pub(crate) fn start(self, bus: Arc<dyn Bus>) -> Result<KvmMachine, MachineError> {
        let Self { vcpus, fd, areas, apic_mode } = self;
        let reports = Arc::new(Reports::default());
        let spawn =
            |(cpu, vcpu)| VcpuThread::spawn(vcpu, cpu, areas.clone(), bus.clone(), reports.clone());
        let threads: Vec<_> = vcpus.into_iter().enumerate().map(spawn).collect::<Result<_, _>>()?;
        for cpu in 0..threads.len() {
            let ready = || areas.load::<u32>(cpu_area(cpu) + CPU_READY) != 0;
            if !reports.wait_until(BOOT_TIMEOUT, ready)? {
                return Err(MachineError::CpuStopped { cpu, reason: CpuStop::NoAnswer });
            }
        }
        let newest = |cpu| Mutex::new(areas.load(cpu_area(cpu) + CPU_REQUESTED));
        let mailboxes = (0..threads.len()).map(newest).collect();
        Ok(KvmMachine { threads, mailboxes, fd, areas, reports, apic_mode })
    }
}

fn failed(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> MachineError {
    move |source| MachineError::Kvm { call, source }
}
