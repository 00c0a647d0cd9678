//! What carries the interrupts of the measured functions, as far as the workloads know it.

use std::convert::Infallible;

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsiBackend, MsiMessage, MsixConfig, SignalBackend, SignalMode, VectorIndex};

use super::ioctls::Ioctls;
use super::measure::Outcome;
use super::plan::Mode;

/// Makes functions.
pub(super) trait Host {
    type Backend: MsiBackend;
    /// What keeps a vector on a descriptor.
    type Descriptor: Send;

    /// A function as it is after reset.
    fn function(&self, vectors: u16) -> Outcome<MsixConfig<Self::Backend>>;

    /// Puts a vector on a descriptor.
    fn descriptor(
        &self,
        msix: &MsixConfig<Self::Backend>,
        vector: u16,
    ) -> Outcome<Self::Descriptor>;

    /// Does what concerns many functions, with one commit for all of them.
    fn together<T>(&self, work: impl FnOnce() -> T) -> T;

    /// The ioctls of all its functions so far, if it counts them.
    fn ioctls(&self) -> Ioctls;

    /// Ends everything that could still make an ioctl, and tells how many there were.
    fn finish(self) -> Ioctls;

    /// Whether there is KVM behind it.
    fn is_kvm(&self) -> bool;
}

/// A function, and the descriptors that its vectors are on.
pub(super) struct Function<H: Host> {
    pub(super) msix: MsixConfig<H::Backend>,
    descriptors: Vec<H::Descriptor>,
}

impl<H: Host> Function<H> {
    /// As it is after reset; in irqfd mode every vector has its descriptor.
    pub(super) fn new(host: &H, mode: Mode, vectors: u16) -> Outcome<Self> {
        let mut function = Self::without_descriptors(host, vectors)?;
        function.take_descriptors(host, mode)?;
        Ok(function)
    }

    /// As it is after reset.
    pub(super) fn without_descriptors(host: &H, vectors: u16) -> Outcome<Self> {
        let descriptors = Vec::with_capacity(vectors.into());
        Ok(Self { msix: host.function(vectors)?, descriptors })
    }

    /// In irqfd mode, puts every vector on a descriptor.
    pub(super) fn take_descriptors(&mut self, host: &H, mode: Mode) -> Outcome {
        if mode == Mode::Irqfd {
            for vector in 0..self.msix.num_vectors() {
                self.descriptors.push(host.descriptor(&self.msix, vector)?);
            }
        }
        Ok(())
    }

    /// The guest's driver.
    pub(super) fn driver(&mut self) -> GuestDriver<&mut MsixConfig<H::Backend>> {
        GuestDriver::new(&mut self.msix)
    }

    /// Waits until KVM listens to every vector that is open.
    pub(super) fn settle(&mut self) -> Outcome {
        Ok(self.msix.flush()?)
    }
}

/// The message of a vector, to APIC 0. Another salt makes another message.
pub(super) fn message(vector: u16, salt: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 0x41 + (u32::from(vector) + salt) % 64)
}

/// A host without KVM: messages go nowhere.
pub(super) struct NoHost;

type Nowhere = fn(VectorIndex, MsiMessage) -> Result<(), Infallible>;

impl Host for NoHost {
    type Backend = SignalBackend<Nowhere>;
    type Descriptor = Infallible;

    fn function(&self, vectors: u16) -> Outcome<MsixConfig<Self::Backend>> {
        let nowhere: Nowhere = |_, _| Ok(());
        Ok(MsixConfig::new(vectors, SignalMode::new(nowhere), 0, "bench")?)
    }

    fn descriptor(&self, _: &MsixConfig<Self::Backend>, _: u16) -> Outcome<Infallible> {
        Err("descriptors need KVM".into())
    }

    fn together<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    fn ioctls(&self) -> Ioctls {
        Ioctls::default()
    }

    fn finish(self) -> Ioctls {
        self.ioctls()
    }

    fn is_kvm(&self) -> bool {
        false
    }
}
