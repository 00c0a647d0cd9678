//! A VM of KVM, a device in it, its driver, and an APIC that collects what is delivered.

use std::ffi::c_char;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};
use vm_msix_kvm::{Committer, KvmBackend, KvmMsi, Router};

use super::backend::{Backend, Manners};
use crate::vhost_user::kind::BackendAt;
use crate::vhost_user::{VhostUserError, VhostUserPci};
use crate::virtio::tests::driver::{Driver, DriverRing, Line, wait_for};

/// Bytes of guest memory.
const MEMORY: u64 = 1 << 20;
/// Where the buffers of requests are.
const BUFFERS: u64 = 0x8_0000;
/// A backend that is not to be waited for has so long; others have it, and need less.
const LIMIT: Duration = Duration::from_secs(5);

/// A VM whose vCPU never runs.
pub(super) struct Machine {
    vm: Arc<VmFd>,
    committer: Arc<Committer>,
    pub(super) apic: Apic,
}

/// A device in a VM.
pub(super) struct Guest {
    // Dropped before the backend.
    pub(super) device: Arc<VhostUserPci<KvmBackend>>,
    driver: Driver,
    pub(super) line: Arc<Line>,
    pub(super) backend: Backend,
    pub(super) machine: Arc<Machine>,
}

impl Machine {
    /// `None` where there is no KVM.
    pub(super) fn new() -> Option<Arc<Self>> {
        let kvm = match Kvm::new() {
            Ok(kvm) => kvm,
            Err(error) => {
                println!("skipped: /dev/kvm: {error}");
                return None;
            }
        };
        let vm = Arc::new(kvm.create_vm().unwrap());
        vm.create_irq_chip().unwrap();
        let apic = Apic::switched_on(vm.create_vcpu(0).unwrap());
        let router = Arc::new(Router::new(vm.clone(), Router::irqchip_entries()));
        Some(Arc::new(Self { vm, committer: Committer::immediate(router), apic }))
    }

    /// A device on it, with three vectors.
    pub(super) fn connect(
        &self,
        backend: &Backend,
        kind: &str,
    ) -> Result<(VhostUserPci<KvmBackend>, Arc<Line>, GuestMemoryMmap), VhostUserError> {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, MEMORY).unwrap();
        let part = Some(FileOffset::new(file.into(), 0));
        let ranges = [(GuestAddress(0), MEMORY as usize, part)];
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).unwrap();
        let at = BackendAt { kind: kind.parse().unwrap(), socket: backend.path() };
        let line = Arc::new(Line::default());
        let msi = KvmMsi::new(self.vm.clone(), self.committer.clone());
        let device =
            VhostUserPci::connect("test", &at, 3, LIMIT, msi, line.clone(), memory.clone())?;
        Ok((device, line, memory))
    }
}

impl Guest {
    /// A device of a backend that is all it should be.
    pub(super) fn new() -> Option<Self> {
        Self::with(Manners::GOOD)
    }

    pub(super) fn with(manners: Manners) -> Option<Self> {
        Some(Self::on(Machine::new()?, manners))
    }

    pub(super) fn on(machine: Arc<Machine>, manners: Manners) -> Self {
        let backend = Backend::new(manners);
        let (device, line, memory) = machine.connect(&backend, "console").unwrap();
        let device = Arc::new(device);
        let driver = Driver::new(device.clone(), memory);
        Self { device, driver, line, backend, machine }
    }

    /// Vectors for configuration changes and for two queues, all open, and a driver that is ready.
    pub(super) fn with_vectors(&self) -> Vec<DriverRing> {
        self.bring_up(3);
        self.set_config_vector(0);
        self.set_queue_vector(0, 1);
        self.set_queue_vector(1, 2);
        self.start(2)
    }

    /// One request, from its beginning until the backend has signalled.
    pub(super) fn complete(&self, ring: &mut DriverRing, queue: usize) {
        let before = ring.used_index();
        ring.add(&[(BUFFERS, 1, false)]);
        self.driver.kick(queue as u16);
        self.backend.complete(queue);
        assert_eq!(ring.used_index(), before + 1);
    }

    /// Waits until the device has taken what was signalled by an eventfd that it listens to itself, and has done with it.
    pub(super) fn heard(&self, call: &impl AsFd) {
        let owned = call.as_fd().try_clone_to_owned().unwrap();
        wait_for(|| !super::backend::is_signalled(&owned));
        self.device.server.settle();
    }

    pub(super) fn apic(&self) -> &Apic {
        &self.machine.apic
    }

    pub(super) fn needs_reset(&self) -> bool {
        self.status() & 64 != 0
    }
}

impl Deref for Guest {
    type Target = Driver;

    fn deref(&self) -> &Driver {
        &self.driver
    }
}

/// Ends a producer with the test, when that fails, too.
pub(super) struct Stop<'a>(pub(super) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Offset of the Spurious Interrupt Vector Register; its bit 8 switches the APIC on (SDM 3A 12.9).
const SVR: usize = 0xf0;
/// Offset of the first of eight registers of 32 requested vectors each (SDM 3A 12.8.4).
const IRR: usize = 0x200;

/// A vCPU that never runs, and its APIC: what it requests was delivered.
pub(super) struct Apic(VcpuFd);

impl Apic {
    fn switched_on(vcpu: VcpuFd) -> Self {
        let mut state = vcpu.get_lapic().unwrap();
        write(&mut state.regs, SVR, 0x1ff);
        vcpu.set_lapic(&state).unwrap();
        Self(vcpu)
    }

    /// Every vector that is requested.
    pub(super) fn requested(&self) -> Vec<u8> {
        let state = self.0.get_lapic().unwrap();
        let is_set = |vector: &u8| {
            let word = IRR + usize::from(vector / 32) * 0x10 + usize::from(vector % 32 / 8);
            state.regs[word] as u8 & 1 << (vector % 8) != 0
        };
        (0..=255).filter(is_set).collect()
    }

    /// Forgets what was requested.
    pub(super) fn clear(&self) {
        let mut state = self.0.get_lapic().unwrap();
        for word in 0..8 {
            write(&mut state.regs, IRR + word * 0x10, 0);
        }
        self.0.set_lapic(&state).unwrap();
    }

    /// Waits until this has been requested, and nothing else is; then forgets it.
    #[track_caller]
    pub(super) fn expect(&self, vector: u8) {
        wait_for(|| self.requested().contains(&vector));
        assert_eq!(self.requested(), [vector]);
        self.clear();
    }

    #[track_caller]
    pub(super) fn expect_nothing(&self) {
        assert_eq!(self.requested(), [0_u8; 0]);
    }
}

fn write(registers: &mut [c_char], offset: usize, value: u32) {
    let bytes = value.to_le_bytes().map(|byte| byte as c_char);
    registers[offset..offset + 4].copy_from_slice(&bytes);
}
