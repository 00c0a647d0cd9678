//! A VM that has nothing but what interrupts need: an irqchip, and an APIC that takes them.

use std::ffi::c_char;
use std::sync::Arc;

use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::measure::Outcome;

/// The VM. Its vCPU never runs: what is sent to its APIC stays there.
pub(super) struct BareVm {
    pub(super) fd: Arc<VmFd>,
    _vcpu: VcpuFd,
}

/// Spurious Interrupt Vector Register (Intel SDM volume 3, 12.9): bit 8 switches the APIC on.
const SVR: usize = 0xf0;
const SWITCHED_ON: u32 = 0x1ff;

impl BareVm {
    pub(super) fn new() -> Outcome<Self> {
        let fd = Kvm::new()?.create_vm()?;
        fd.create_irq_chip()?;
        let vcpu = fd.create_vcpu(0)?;
        let mut apic = vcpu.get_lapic()?;
        let bytes = SWITCHED_ON.to_le_bytes().map(|byte| byte as c_char);
        apic.regs[SVR..SVR + 4].copy_from_slice(&bytes);
        vcpu.set_lapic(&apic)?;
        Ok(Self { fd: Arc::new(fd), _vcpu: vcpu })
    }
}
