//! virtio over PCI: a device as the bus sees it (virtio 1.2, section 4.1).

use std::sync::{Arc, Mutex, MutexGuard};

use virtio_queue::QueueT;
use vm_memory::GuestMemoryMmap;
use vm_msix::{Counts, IntoBackend, MsiBackend, MsixLayout};
use vm_pci_config::{BarHit, BarIndex};

use super::VirtioError;
use super::device::VirtioDevice;
use super::engine::Local;
use super::layout::{self, Structure};
use super::notifier::Notifier;
use super::registers::{Effect, Registers, View};
use super::serve::{Model, Serve};
use crate::device::{DeviceError, PciDevice, lock};
use crate::function::{Function, Recording, read_bytes};
use crate::intx::{Intx, IntxCause};

/// A virtio device on the PCI bus, whoever serves its queues.
pub(crate) struct Transport<B: MsiBackend, S: Serve<B>> {
    pub(super) function: Function<B>,
    pub(crate) server: S,
    pub(super) registers: Mutex<Registers>,
    /// Offset of the window capability.
    window: u16,
}

/// A virtio device whose queues a worker of this process serves.
pub(crate) type VirtioPci<B, D> = Transport<B, Local<B, D>>;

impl<B: MsiBackend + 'static, D: VirtioDevice> VirtioPci<B, D> {
    /// A device with so many vectors: one for each queue and one for configuration changes is what drivers like best.
    pub(crate) fn new(
        name: &str,
        device: D,
        vectors: u16,
        source: impl IntoBackend<Backend = B>,
        line: Arc<dyn Intx>,
        memory: GuestMemoryMmap,
    ) -> Result<Self, VirtioError> {
        let model = Model { id: device.id(), class: device.class(), queues: device.queues() };
        Self::served(name, &model, vectors, source, line, |_, notifier| {
            Local::new(name, device, memory, notifier)
        })
    }

    /// The device.
    pub(crate) fn device(&self) -> &D {
        &self.server.engine.device
    }

    /// Has a queue served, when the device has something for it.
    pub(crate) fn kick(&self, queue: usize) {
        self.server.kick(queue);
    }
}

impl<B: MsiBackend + 'static, S: Serve<B>> Transport<B, S> {
    /// A device of a model; `server` is made for the function that it signals with.
    pub(crate) fn served<E: From<DeviceError>>(
        name: &str,
        model: &Model,
        vectors: u16,
        source: impl IntoBackend<Backend = B>,
        line: Arc<dyn Intx>,
        server: impl FnOnce(&Function<B>, Notifier<B>) -> Result<S, E>,
    ) -> Result<Self, E> {
        let msix =
            MsixLayout::propose(vectors, layout::MSIX.number()).map_err(DeviceError::from)?;
        let (space, window) = layout::space(model, &msix).map_err(DeviceError::from)?;
        let function = Function::new(name, space, msix, source, line)?;
        let notifier = Notifier::new(Arc::clone(function.interrupts()), model.queues);
        let server = server(&function, notifier)?;
        let registers = Mutex::new(Registers::new(model.queues));
        Ok(Self { function, server, registers, window })
    }

    /// For whoever is asked whether the pin is still held up.
    pub(crate) fn intx_cause(&self) -> Arc<dyn IntxCause> {
        self.function.intx_cause()
    }

    /// What became of its signals.
    pub(crate) fn counts(&self) -> Counts {
        self.function.counts()
    }

    /// Has everything that happens to its MSI-X written down.
    pub(crate) fn record(&self, recording: Recording) {
        self.function.record(recording);
    }

    pub(super) fn offered(&self) -> u64 {
        self.server.features()
    }

    pub(super) fn registers(&self) -> MutexGuard<'_, Registers> {
        lock(&self.registers)
    }

    fn read_common(&self, offset: u64, data: &mut [u8]) {
        let registers = self.registers();
        let notifier = self.server.notifier();
        let view = View {
            offered: self.offered(),
            needs_reset: self.server.needs_reset(),
            config_vector: notifier.config_vector(),
            queue_vector: notifier.queue_vector(registers.selected()),
        };
        read_bytes(registers.image(&view).bytes(), offset, data);
    }

    fn write_common(&self, offset: u64, data: &[u8]) {
        let mut registers = self.registers();
        let notifier = self.server.notifier();
        match registers.write(offset, data, self.offered()) {
            Some(Effect::ConfigVector(vector)) => notifier.set_config_vector(vector),
            Some(Effect::QueueVector(vector)) => {
                self.server.set_queue_vector(registers.selected(), vector);
            }
            Some(Effect::Enable(queue)) => self.enable(&mut registers, queue),
            Some(Effect::Start) => self.server.start(registers.driver_features),
            Some(Effect::Reset) => self.reset(&mut registers),
            None => {}
        }
    }

    /// Enables a queue, if it lies in memory as it must; else its register stays 0.
    fn enable(&self, registers: &mut Registers, index: usize) {
        let features = registers.driver_features;
        let Some(described) = registers.queues.get_mut(index) else { return };
        let queue = described.queue(features, 0, 0).ok();
        if let Some(queue) = queue.filter(|queue| queue.is_valid(self.server.memory())) {
            described.enabled = true;
            self.server.enable(index, queue);
        }
    }

    /// As after power-on (2.4): when it returns, no request of before is served any more, and no interrupt of before is
    /// on its way or pending. Those are MSI-X's registers that the driver programmed, and they stay.
    fn reset(&self, registers: &mut Registers) {
        self.server.reset();
        self.server.notifier().reset();
        self.function.retract_all();
        *registers = Registers::new(registers.queues.len());
    }

    fn bar_read(&self, hit: BarHit, data: &mut [u8]) {
        if self.function.msix_read(hit, data) {
            return;
        }
        match registers_at(hit) {
            Some((Structure::Common, offset)) => self.read_common(offset, data),
            Some((Structure::Isr, 0)) => {
                read_bytes(&[self.server.notifier().take_isr()], 0, data);
            }
            Some((Structure::Device, offset)) => read_bytes(self.server.config(), offset, data),
            _ => data.fill(0),
        }
    }

    fn bar_write(&self, hit: BarHit, data: &[u8]) {
        if self.function.msix_write(hit, data) {
            return;
        }
        match registers_at(hit) {
            Some((Structure::Common, offset)) => self.write_common(offset, data),
            Some((Structure::Notify, offset)) => self.server.kick(layout::notified_queue(offset)),
            _ => {}
        }
    }

    /// What the window looks at, if it is straight, and its length.
    fn window(&self) -> Option<(BarHit, usize)> {
        let read = |at: u16| {
            let mut data = [0; 4];
            self.function.config_read(self.window + at, &mut data);
            u32::from_le_bytes(data)
        };
        let (bar, offset, length) = (read(4), read(8), read(12));
        let straight = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        let index = BarIndex::try_from(bar as u8).ok().filter(|_| straight)?;
        Some((BarHit { index, offset: offset.into() }, length as usize))
    }

    /// Reads the window's data: the BAR is read for every access to it (4.1.4.9.1).
    fn window_read(&self, within: u16, data: &mut [u8]) {
        let mut bytes = [0; 4];
        if let Some((hit, length)) = self.window() {
            self.bar_read(hit, &mut bytes[..length]);
        }
        read_bytes(&bytes, within.into(), data);
    }

    fn window_write(&self, within: u16, data: &[u8]) {
        if let Some((hit, length)) = self.window()
            && within == 0
            && let Some(data) = data.get(..length)
        {
            self.bar_write(hit, data);
        }
    }

    /// Where in the window's data an access of configuration space is.
    fn in_window(&self, offset: u16) -> Option<u16> {
        offset.checked_sub(self.window + layout::WINDOW_DATA).filter(|within| *within < 4)
    }
}

impl<B: MsiBackend + 'static, S: Serve<B>> PciDevice for Transport<B, S> {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        match self.in_window(offset) {
            Some(within) => self.window_read(within, data),
            None => self.function.config_read(offset, data),
        }
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        if let Some(within) = self.in_window(offset) {
            return self.window_write(within, data);
        }
        self.function.config_write(offset, data, |change| {
            if let Some(allowed) = change.bus_master() {
                self.server.set_bus_master(allowed);
            }
        });
        self.server.msix_changed();
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) -> bool {
        let hit = self.function.decode(address, data.len());
        hit.inspect(|hit| self.bar_read(*hit, data)).is_some()
    }

    fn mmio_write(&self, address: u64, data: &[u8]) -> bool {
        let hit = self.function.decode(address, data.len());
        hit.inspect(|hit| self.bar_write(*hit, data)).is_some()
    }
}

fn registers_at(hit: BarHit) -> Option<(Structure, u64)> {
    if hit.index != layout::REGISTERS {
        return None;
    }
    Structure::locate(hit.offset)
}
