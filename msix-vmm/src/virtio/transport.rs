//! virtio over PCI: a device as the bus sees it (virtio 1.2, section 4.1).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use virtio_queue::QueueT;
use vm_memory::GuestMemoryMmap;
use vm_msix::{Counts, IntoBackend, MsiBackend, MsixLayout};
use vm_pci_config::{BarHit, BarIndex};

use super::VirtioError;
use super::device::VirtioDevice;
use super::engine::Engine;
use super::gate::{Gate, Hold};
use super::layout::{self, Structure};
use super::notifier::Notifier;
use super::registers::{Effect, Registers, View};
use super::spec::feature;
use crate::device::{PciDevice, lock};
use crate::function::{Function, Recording, read_bytes};
use crate::intx::{Intx, IntxCause};

/// What the transport and the queues offer whatever the device is.
const FEATURES: u64 = feature::VERSION_1 | feature::INDIRECT_DESC | feature::EVENT_IDX;

/// A virtio device on the PCI bus.
pub(crate) struct VirtioPci<B: MsiBackend, D> {
    pub(super) function: Function<B>,
    pub(super) engine: Arc<Engine<B, D>>,
    pub(super) registers: Mutex<Registers>,
    /// Offset of the window capability.
    window: u16,
    worker: Option<JoinHandle<()>>,
}

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
        let msix = MsixLayout::propose(vectors, layout::MSIX.number())?;
        let (space, window) = layout::space(&device, &msix)?;
        let function = Function::new(name, space, msix, source, line)?;
        let queues = device.queues();
        let engine = Arc::new(Engine {
            device,
            memory,
            queues: (0..queues).map(|_| Mutex::new(None)).collect(),
            notifier: Notifier::new(Arc::clone(function.interrupts()), queues),
            gate: Gate::new(),
            needs_reset: AtomicBool::new(false),
        });
        let worker = thread::Builder::new().name(name.into()).spawn({
            let engine = Arc::clone(&engine);
            move || engine.work()
        })?;
        let registers = Mutex::new(Registers::new(queues));
        Ok(Self { function, engine, registers, window, worker: Some(worker) })
    }

    /// The device.
    pub(crate) fn device(&self) -> &D {
        &self.engine.device
    }

    /// Has a queue served, when the device has something for it.
    pub(crate) fn kick(&self, queue: usize) {
        self.engine.gate.kick(queue);
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
        FEATURES | self.device().features()
    }

    pub(super) fn registers(&self) -> MutexGuard<'_, Registers> {
        lock(&self.registers)
    }

    fn read_common(&self, offset: u64, data: &mut [u8]) {
        let registers = self.registers();
        let notifier = &self.engine.notifier;
        let view = View {
            offered: self.offered(),
            needs_reset: self.engine.needs_reset(),
            config_vector: notifier.config_vector(),
            queue_vector: notifier.queue_vector(registers.selected()),
        };
        read_bytes(registers.image(&view).bytes(), offset, data);
    }

    fn write_common(&self, offset: u64, data: &[u8]) {
        let mut registers = self.registers();
        let notifier = &self.engine.notifier;
        match registers.write(offset, data, self.offered()) {
            Some(Effect::ConfigVector(vector)) => notifier.set_config_vector(vector),
            Some(Effect::QueueVector(vector)) => {
                notifier.set_queue_vector(registers.selected(), vector);
            }
            Some(Effect::Enable(queue)) => self.enable(&mut registers, queue),
            Some(Effect::Start) => {
                self.engine.gate.kick_all();
                self.engine.gate.release(Hold::Driver);
            }
            Some(Effect::Reset) => self.reset(&mut registers),
            None => {}
        }
    }

    /// Enables a queue, if it lies in memory as it must; else its register stays 0.
    fn enable(&self, registers: &mut Registers, index: usize) {
        let features = registers.driver_features;
        let Some(described) = registers.queues.get_mut(index) else { return };
        let queue = described.queue(features, 0, 0).ok();
        if let Some(queue) = queue.filter(|queue| queue.is_valid(&self.engine.memory)) {
            *lock(&self.engine.queues[index]) = Some(queue);
            described.enabled = true;
            self.kick(index);
        }
    }

    /// As after power-on (2.4): when it returns, no request of before is served any more, and no interrupt of before is
    /// on its way or pending. Those are MSI-X's registers that the driver programmed, and they stay.
    fn reset(&self, registers: &mut Registers) {
        self.engine.gate.hold(Hold::Driver);
        for queue in &self.engine.queues {
            *lock(queue) = None;
        }
        self.engine.device.reset();
        self.engine.needs_reset.store(false, Ordering::SeqCst);
        self.engine.notifier.reset();
        self.function.retract_all();
        *registers = Registers::new(self.engine.queues.len());
    }

    fn bar_read(&self, hit: BarHit, data: &mut [u8]) {
        if self.function.msix_read(hit, data) {
            return;
        }
        match registers_at(hit) {
            Some((Structure::Common, offset)) => self.read_common(offset, data),
            Some((Structure::Isr, 0)) => {
                read_bytes(&[self.engine.notifier.take_isr()], 0, data);
            }
            Some((Structure::Device, offset)) => read_bytes(self.device().config(), offset, data),
            _ => data.fill(0),
        }
    }

    fn bar_write(&self, hit: BarHit, data: &[u8]) {
        if self.function.msix_write(hit, data) {
            return;
        }
        match registers_at(hit) {
            Some((Structure::Common, offset)) => self.write_common(offset, data),
            Some((Structure::Notify, offset)) => self.kick(layout::notified_queue(offset)),
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

impl<B: MsiBackend + 'static, D: VirtioDevice> PciDevice for VirtioPci<B, D> {
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
        self.function.config_write(offset, data, |change| match change.bus_master() {
            Some(true) => self.engine.gate.release(Hold::BusMaster),
            Some(false) => self.engine.gate.hold(Hold::BusMaster),
            None => {}
        });
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

impl<B: MsiBackend, D> Drop for VirtioPci<B, D> {
    fn drop(&mut self) {
        self.engine.gate.end();
        if let Some(worker) = self.worker.take() {
            // It panicked; that has been printed.
            let _ = worker.join();
        }
    }
}

fn registers_at(hit: BarHit) -> Option<(Structure, u64)> {
    if hit.index != layout::REGISTERS {
        return None;
    }
    Structure::locate(hit.offset)
}
