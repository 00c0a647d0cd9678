//! A local APIC as the oracle: what its IRR holds was delivered to it.

use std::ffi::c_char;

use kvm_bindings::kvm_lapic_state;
use kvm_ioctls::VcpuFd;

use super::wait::until;

/// Offset of the Spurious Interrupt Vector Register; its bit 8 switches the APIC on (SDM 3A 12.9).
const SVR: usize = 0xf0;
/// Offset of the first of eight registers of 32 requested vectors each (SDM 3A 12.8.4).
const IRR: usize = 0x200;
/// Offset of the Logical Destination Register; its top eight bits are the logical ID (SDM 3A 12.6.2.2).
const LDR: usize = 0xd0;
/// Offset of the Destination Format Register; its top four bits are the model.
const DFR: usize = 0xe0;
/// APIC_BASE: globally enabled, and in x2APIC mode.
const BASE_ENABLED: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;

/// A vCPU that never runs, and its APIC, which collects what is sent to it.
pub(crate) struct Lapic {
    vcpu: VcpuFd,
}

/// How an APIC reads logical destinations.
#[derive(Clone, Copy)]
pub(crate) enum LogicalModel {
    Cluster = 0x0,
    Flat = 0xf,
}

impl Lapic {
    /// Switched on, nothing requested.
    pub(crate) fn switched_on(vcpu: VcpuFd) -> Self {
        let lapic = Self { vcpu };
        lapic.set_software_enable(true);
        lapic
    }

    pub(crate) fn set_software_enable(&self, on: bool) {
        let mut state = self.state();
        write(&mut state, SVR, 0xff | u32::from(on) << 8);
        self.vcpu.set_lapic(&state).unwrap();
    }

    /// Gives it a logical ID in a model.
    pub(crate) fn set_logical_id(&self, model: LogicalModel, id: u8) {
        let mut state = self.state();
        write(&mut state, DFR, (model as u32) << 28 | 0x0fff_ffff);
        write(&mut state, LDR, u32::from(id) << 24);
        self.vcpu.set_lapic(&state).unwrap();
    }

    /// Puts it into x2APIC mode, which alone has IDs above 255.
    pub(crate) fn enter_x2apic(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        let mut sregs = vcpu.get_sregs()?;
        sregs.apic_base |= BASE_ENABLED | BASE_X2APIC;
        vcpu.set_sregs(&sregs)
    }

    /// Whether this vector is requested.
    pub(crate) fn has(&self, vector: u8) -> bool {
        let word = read(&self.state(), IRR + usize::from(vector / 32) * 0x10);
        word & 1 << (vector % 32) != 0
    }

    /// Every vector that is requested.
    pub(crate) fn requested(&self) -> Vec<u8> {
        let state = self.state();
        let is_set = |vector: &u8| {
            read(&state, IRR + usize::from(vector / 32) * 0x10) & 1 << (vector % 32) != 0
        };
        (0..=255).filter(is_set).collect()
    }

    /// Forgets what was requested.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        for word in 0..8 {
            write(&mut state, IRR + word * 0x10, 0);
        }
        self.vcpu.set_lapic(&state).unwrap();
    }

    /// Waits for a vector, then forgets it.
    #[track_caller]
    pub(crate) fn expect(&self, vector: u8) {
        until(&format!("interrupt {vector:#x}"), || self.has(vector));
        self.clear();
    }

    /// Nothing was requested, and where the caller has seen to it, nothing can be on its way.
    #[track_caller]
    pub(crate) fn expect_nothing(&self) {
        assert_eq!(self.requested(), [] as [u8; 0]);
    }

    fn state(&self) -> kvm_lapic_state {
        self.vcpu.get_lapic().unwrap()
    }
}

fn read(state: &kvm_lapic_state, offset: usize) -> u32 {
    let bytes: [c_char; 4] = state.regs[offset..offset + 4].try_into().unwrap();
    u32::from_le_bytes(bytes.map(|byte| byte as u8))
}

fn write(state: &mut kvm_lapic_state, offset: usize, value: u32) {
    state.regs[offset..offset + 4].copy_from_slice(&value.to_le_bytes().map(|byte| byte as c_char));
}
