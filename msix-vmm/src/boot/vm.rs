//! The VM of KVM: memory, interrupt controllers, CPUs, and what delivers the devices' messages.

use std::sync::Arc;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vm_msix_kvm::{Committer, KvmMsi, RequesterId, Router};
use vm_pci_config::PciFunction;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::end::Ending;
use super::error::{BootError, lacks, refused};
use super::intx::Pin;
use super::layout::{COM1_GSI, KVM_TSS};
use super::vcpu::{Cpu, RunningCpu};
use super::{cpuid, start};
use crate::machine::Bus;

/// A VM that does not run yet.
pub(super) struct Vm {
    // Dropped in this order: the CPUs go before the memory they run in.
    pub(super) cpus: Vec<VcpuFd>,
    pub(super) fd: Arc<VmFd>,
    pub(super) memory: GuestMemoryMmap,
    committer: Arc<Committer>,
    /// The serial line's interrupt: an irqfd.
    serial: EventFd,
}

/// A VM that runs. Dropping it stops its CPUs.
pub(super) struct Running {
    cpus: Vec<RunningCpu>,
    /// CPUs would run on without it, but KVM takes all irqfds away when it is closed.
    _fd: Arc<VmFd>,
}

impl Vm {
    /// A VM of `cpus` CPUs, which do not know yet where to begin.
    pub(super) fn new(memory: GuestMemoryMmap, cpus: u32) -> Result<Self, BootError> {
        let kvm = Kvm::new().map_err(|error| BootError::NoKvm { source: error.into() })?;
        if std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| !has_virtualization(&text)) {
            return Err(BootError::NoHardwareVirtualization);
        }
        let max = kvm.get_max_vcpus() as u32;
        if cpus > max {
            return Err(BootError::Cpus { cpus, max });
        }
        let fd = Arc::new(kvm.create_vm().map_err(refused("KVM_CREATE_VM"))?);
        fd.set_tss_address(KVM_TSS).map_err(refused("KVM_SET_TSS_ADDR"))?;
        // Before the CPUs: they get their local APICs from it.
        fd.create_irq_chip().map_err(refused("KVM_CREATE_IRQCHIP"))?;
        map(&fd, &memory)?;

        let router = Arc::new(Router::new(fd.clone(), Router::irqchip_entries()));
        let committer = Committer::spawn(router).map_err(lacks("the committer"))?;
        let cpu = |index| cpu(&kvm, &fd, index, cpus);
        let cpus = (0..cpus).map(cpu).collect::<Result<Vec<_>, _>>()?;
        let serial = EventFd::new(EFD_NONBLOCK).map_err(lacks("an eventfd"))?;
        fd.register_irqfd(&serial, COM1_GSI).map_err(refused("KVM_IRQFD"))?;
        Ok(Self { cpus, fd, memory, committer, serial })
    }

    /// Has the first CPU begin at `entry`.
    pub(super) fn enter(&self, entry: u64) -> Result<(), BootError> {
        start::write_firmware(&self.memory)?;
        start::write_tables(&self.memory)?;
        start::enter(&self.cpus[0], entry)
    }

    /// Lets the CPUs run.
    pub(super) fn start(
        &mut self,
        board: &Arc<dyn Bus>,
        ending: &Ending,
    ) -> Result<Running, BootError> {
        let run = |(index, fd)| {
            let (board, memory, ending) = (board.clone(), self.memory.clone(), ending.clone());
            Cpu { fd, index, board, memory, ending }.run()
        };
        let cpus = std::mem::take(&mut self.cpus).into_iter().enumerate().map(run);
        Ok(Running { cpus: cpus.collect::<Result<_, _>>()?, _fd: self.fd.clone() })
    }

    /// What a function's MSI-X is made on.
    pub(super) fn msi(&self, function: PciFunction) -> KvmMsi {
        let requester = RequesterId::pci(0, function.device(), function.function());
        KvmMsi::new(self.fd.clone(), self.committer.clone()).with_requester(requester)
    }

    /// The serial line's interrupt.
    pub(super) fn serial_interrupt(&self) -> Result<EventFd, BootError> {
        self.serial.try_clone().map_err(lacks("an eventfd"))
    }

    /// Ends the way of interrupts to the CPUs, but for those of functions that are paused: what was on it is in the
    /// interrupt controllers when this returns.
    pub(super) fn close(&self, pins: &[Arc<Pin>]) -> Result<(), BootError> {
        self.committer.flush();
        pins.iter().try_for_each(|pin| pin.close(&self.fd))?;
        self.fd.unregister_irqfd(&self.serial, COM1_GSI).map_err(refused("KVM_IRQFD"))
    }
}

impl Running {
    /// Stops the CPUs, each between two instructions; `None` if one of them had ended for another reason, which it has told.
    pub(super) fn stop(self) -> Option<Vec<VcpuFd>> {
        let Self { cpus, _fd } = self;
        cpus.iter().for_each(RunningCpu::ask_to_stop);
        // Each is waited for, whatever became of those before.
        let stopped: Vec<_> = cpus.into_iter().map(RunningCpu::stop).collect();
        stopped.into_iter().collect()
    }
}

fn cpu(kvm: &Kvm, vm: &VmFd, index: u32, cpus: u32) -> Result<VcpuFd, BootError> {
    let vcpu = vm.create_vcpu(index.into()).map_err(refused("KVM_CREATE_VCPU"))?;
    let cpuid = cpuid::of_cpu(kvm, index, cpus)?;
    vcpu.set_cpuid2(&cpuid).map_err(refused("KVM_SET_CPUID2"))?;
    start::set_msrs(&vcpu)?;
    Ok(vcpu)
}

/// Whether a host has VMX or SVM, from its `/proc/cpuinfo`.
///
/// Without, there may still be a KVM: one that executes the kernel instruction by instruction, so slowly that it seems to hang.
fn has_virtualization(cpuinfo: &str) -> bool {
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags.any(|line| line.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm")))
}

/// Gives the memory to a VM.
pub(super) fn map(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), BootError> {
    for (slot, region) in memory.iter().enumerate() {
        let region = kvm_userspace_memory_region {
            slot: slot as u32,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the range is one mapping of ours, and it stays mapped while CPUs run: the thread of each, the only one that
        // runs it, holds a clone of `memory`.
        let mapped = unsafe { vm.set_user_memory_region(region) };
        mapped.map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::has_virtualization;

    #[test]
    fn virtualization_is_a_flag_of_its_own() {
        assert!(has_virtualization("processor : 0\nflags\t\t: fpu vmx sse\n"));
        assert!(has_virtualization("flags\t\t: fpu sse svm"));
        assert!(!has_virtualization("flags\t\t: fpu sse\nvmx flags\t: vnmi\nmodel name\t: svm"));
        assert!(!has_virtualization("flags\t\t: svm_lock svmx"));
    }
}
