//! A VM before it runs: enough of it to build a device's interrupt backend on.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::areas::Areas;
use super::layout::{CPU_READY, MAX_CPUS, cpu_area};
use super::vcpu::VcpuThread;
use super::{KvmMachine, boot};
use crate::machine::reports::Reports;
use crate::machine::{Bus, CpuStop, MachineError};

/// Where Intel's KVM puts the three pages that real mode needs: above the IOAPIC, below 4 GiB.
const KVM_TSS: usize = 0xfffb_d000;

/// How long a CPU may take to its first halt.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);

/// How the guest reaches its LAPIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    vcpus: Vec<VcpuFd>,
    fd: Arc<VmFd>,
    areas: Areas,
    apic_mode: ApicMode,
}

impl Vm {
    /// Creates a VM with the in-kernel irqchip and `cpus` CPUs, the guest's kernel loaded.
    pub(crate) fn new(apic_mode: ApicMode, cpus: usize) -> Result<Self, MachineError> {
        if !(1..=MAX_CPUS).contains(&cpus) {
            return Err(MachineError::CpuCount { cpus, max: MAX_CPUS });
        }
        let failed = |call| move |source| MachineError::Kvm { call, source };
        let kvm = Kvm::new().map_err(failed("open /dev/kvm"))?;
        let fd = kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
        fd.set_tss_address(KVM_TSS).map_err(failed("KVM_SET_TSS_ADDR"))?;
        // Before the vCPUs: they get their LAPICs from it.
        fd.create_irq_chip().map_err(failed("KVM_CREATE_IRQCHIP"))?;

        let areas = Areas::new()?;
        boot::load(&areas, apic_mode);
        areas.map(&fd)?;

        let create = |cpu| {
            let vcpu = fd.create_vcpu(cpu as u64).map_err(failed("KVM_CREATE_VCPU"))?;
            boot::prepare(&kvm, &vcpu, cpu)?;
            Ok(vcpu)
        };
        let vcpus = (0..cpus).map(create).collect::<Result<_, _>>()?;
        Ok(Self { vcpus, fd: Arc::new(fd), areas, apic_mode })
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
        let mailboxes = threads.iter().map(|_| Mutex::new(0)).collect();
        Ok(KvmMachine { threads, mailboxes, fd, areas, reports, apic_mode })
    }
}
