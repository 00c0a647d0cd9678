//! The PCI endpoint test device, as the kernel's `pci_endpoint_test` driver expects it: interrupts on command, DMA with
//! checksums, and BARs that are memory.

mod dma;
mod registers;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use vm_memory::GuestMemoryMmap;
use vm_msix::{Counts, IntoBackend, MsiBackend, MsixLayout};
use vm_pci_config::{
    Bar, BarHit, BarIndex, ClassCode, Identity, InterruptPin, PciConfigSpace, Prefetchable,
};

use crate::device::{DeviceError, PciDevice, lock};
use crate::function::{Function, FunctionStateV1, Recording, read_bytes};
use crate::intx::{Intx, IntxCause};
use dma::Extent;
use registers::{Command, Effect, Irq, Registers, offset::STATUS, status};

/// Vendor and Device ID, for which the driver looks for its registers in BAR 0.
const VENDOR: u16 = 0x1912;
const DEVICE: u16 = 0x0028;
/// Table and PBA lie behind the registers, so that every other BAR is memory for the driver to test.
const REGISTERS: BarIndex = BarIndex::Bar0;
const TABLE: u32 = 0x1000;
/// Bytes of the BARs from 1 on.
const MEMORY: [u64; 5] = [0x200, 0x400, 0x1000, 0x800, 0x2000];
/// Why the pin is held up: there is one reason only.
const RAISED: u8 = 1;

/// The device.
pub(crate) struct EndpointTest<B: MsiBackend> {
    function: Function<B>,
    registers: Mutex<Registers>,
    bars: [Mutex<Vec<u8>>; MEMORY.len()],
    memory: GuestMemoryMmap,
}

/// The device as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointTestStateV1 {
    function: FunctionStateV1,
    registers: Registers,
    intx: bool,
    bars: Vec<ByteBuf>,
}

/// Why a state was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Function(#[from] DeviceError),
    #[error("the memory of its BARs is not as large as here")]
    Bars,
}

impl<B: MsiBackend + 'static> EndpointTest<B> {
    pub(crate) fn new(
        name: &str,
        vectors: u16,
        source: impl IntoBackend<Backend = B>,
        line: Arc<dyn Intx>,
        memory: GuestMemoryMmap,
    ) -> Result<Self, DeviceError> {
        let identity = Identity::new(VENDOR, DEVICE)
            .class(ClassCode { class: 0xff, subclass: 0, prog_if: 0 })
            .interrupt_pin(InterruptPin::IntA);
        let mut space = PciConfigSpace::new(identity)?;
        let layout = layout(vectors)?;
        let size = layout.min_bar_size(REGISTERS.number());
        space.add_bar(REGISTERS, Bar::memory32(size, Prefetchable::No))?;
        for (index, size) in BarIndex::ALL.into_iter().skip(1).zip(MEMORY) {
            space.add_bar(index, Bar::memory32(size, Prefetchable::No))?;
        }
        Ok(Self {
            function: Function::new(name, space, layout, source, line)?,
            registers: Mutex::default(),
            bars: MEMORY.map(|size| Mutex::new(vec![0; size as usize])),
            memory,
        })
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

    /// Stops the device: no interrupt is on its way any more. The CPUs, which do its work, have stopped before.
    pub(crate) fn pause(&self) {
        self.function.pause();
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.function.resume();
    }

    /// The state of a paused device.
    pub(crate) fn save(&self) -> EndpointTestStateV1 {
        EndpointTestStateV1 {
            function: self.function.save(),
            registers: *self.registers(),
            intx: self.function.interrupts().pin().causes() != 0,
            bars: self.bars.iter().map(|bar| ByteBuf::from(lock(bar).clone())).collect(),
        }
    }

    /// Takes a saved state over, into a new device, and stays paused.
    ///
    /// # Errors
    ///
    /// The state is not one of such a device. Do not go on with the device then.
    pub(crate) fn restore(&self, state: EndpointTestStateV1) -> Result<(), RestoreError> {
        let EndpointTestStateV1 { function, registers, intx, bars } = state;
        if !bars.iter().map(|bar| bar.len() as u64).eq(MEMORY) {
            return Err(RestoreError::Bars);
        }
        self.function.restore(&function)?;
        *self.registers() = registers;
        if intx {
            self.function.interrupts().pin().assert(RAISED);
        }
        for (bar, saved) in self.bars.iter().zip(bars) {
            *lock(bar) = saved.into_vec();
        }
        Ok(())
    }

    fn execute(&self, registers: &mut Registers, command: Command) {
        registers.status = 0;
        let irq = match command {
            Command::Raise(irq) => irq,
            Command::Read | Command::Write | Command::Copy => {
                registers.status = self.transfer(registers, command);
                registers.irq()
            }
        };
        registers.status |= status::IRQ_RAISED;
        self.raise(irq, registers.irq_number);
    }

    /// Moves data; gives the bits of STATUS that say how it went.
    fn transfer(&self, registers: &mut Registers, command: Command) -> u32 {
        let Registers { src, dst, size, checksum, .. } = *registers;
        let extent = |address| {
            let allowed = self.function.bus_master();
            Extent::new(&self.memory, address, size).filter(|_| allowed)
        };
        let (src, dst) = (extent(src), extent(dst));
        let (done, success, fail, invalid) = match command {
            Command::Write => {
                let written = dst.and_then(Extent::fill);
                registers.checksum = written.unwrap_or(checksum);
                let invalid = if dst.is_none() { status::DST_ADDR_INVALID } else { 0 };
                (written.is_some(), status::WRITE_SUCCESS, status::WRITE_FAIL, invalid)
            }
            Command::Copy => {
                let copied = src.zip(dst).and_then(|(src, dst)| dst.copy_from(src));
                let invalid = match (src, dst) {
                    (None, _) => status::SRC_ADDR_INVALID,
                    (_, None) => status::DST_ADDR_INVALID,
                    _ => 0,
                };
                (copied.is_some(), status::COPY_SUCCESS, status::COPY_FAIL, invalid)
            }
            _ => {
                let same = src.and_then(Extent::checksum) == Some(checksum);
                let invalid = if src.is_none() { status::SRC_ADDR_INVALID } else { 0 };
                (same, status::READ_SUCCESS, status::READ_FAIL, invalid)
            }
        };
        invalid | if done { success } else { fail }
    }

    /// Interrupts: the driver counts vectors from 1.
    fn raise(&self, irq: Irq, number: u32) {
        let interrupts = self.function.interrupts();
        match irq {
            Irq::Intx => interrupts.pin().assert(RAISED),
            Irq::Msix => {
                if let Some(Ok(vector)) = number.checked_sub(1).map(u16::try_from) {
                    interrupts.trigger(vector);
                }
            }
            Irq::Other => {}
        }
    }

    fn bar_read(&self, hit: BarHit, data: &mut [u8]) {
        if self.function.msix_read(hit, data) {
            return;
        }
        match self.bar(hit) {
            None => self.read_registers(hit.offset, data),
            Some(bar) => read_bytes(&lock(bar), hit.offset, data),
        }
    }

    fn bar_write(&self, hit: BarHit, data: &[u8]) {
        if self.function.msix_write(hit, data) {
            return;
        }
        let Some(bar) = self.bar(hit) else { return self.write_registers(hit.offset, data) };
        let mut bar = lock(bar);
        let to = usize::try_from(hit.offset).ok().and_then(|start| bar.get_mut(start..));
        for (to, from) in to.unwrap_or_default().iter_mut().zip(data) {
            *to = *from;
        }
    }

    /// Who reads STATUS has seen the interrupt: drivers since Linux 6.12 at the latest do not write it.
    fn read_registers(&self, offset: u64, data: &mut [u8]) {
        let registers = self.registers();
        if offset == STATUS {
            self.function.interrupts().pin().deassert(RAISED);
        }
        read_bytes(&registers.image(), offset, data);
    }

    fn write_registers(&self, offset: u64, data: &[u8]) {
        let mut registers = self.registers();
        match registers.write(offset, data) {
            Some(Effect::Do(command)) => self.execute(&mut registers, command),
            Some(Effect::Acknowledged) => self.function.interrupts().pin().deassert(RAISED),
            None => {}
        }
    }

    /// The memory behind a BAR other than that of the registers.
    fn bar(&self, hit: BarHit) -> Option<&Mutex<Vec<u8>>> {
        self.bars.get(usize::from(hit.index.number()).checked_sub(1)?)
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        lock(&self.registers)
    }
}

impl<B: MsiBackend + 'static> PciDevice for EndpointTest<B> {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.function.config_read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.function.config_write(offset, data, |_| {});
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

/// The table behind the registers, and the PBA behind it, in pages of their own.
fn layout(vectors: u16) -> Result<MsixLayout, DeviceError> {
    let bar = REGISTERS.number();
    let pba = TABLE + (u32::from(vectors) * 16).next_multiple_of(TABLE);
    Ok(MsixLayout::new(vectors, bar, TABLE, bar, pba)?)
}
