//! The board: which device answers at which port and which address.

use std::sync::Arc;

use super::end::{End, Ending};
use super::layout::*;
use super::serial::SerialLine;
use crate::bus::PciBus;
use crate::machine::Bus;

/// Bits of the sleep control register (ACPI 6.5, 4.8.3.7): start sleeping, and how deep.
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE: u8 = 7 << 2;

/// Everything that is reached by ports and device memory.
pub(super) struct Board {
    serial: Arc<SerialLine>,
    pci: Arc<PciBus>,
    ending: Ending,
}

impl Board {
    pub(super) fn new(serial: Arc<SerialLine>, pci: Arc<PciBus>, ending: Ending) -> Self {
        Self { serial, pci, ending }
    }

    /// A byte is read from a port that is no PCI port. What nobody answers is all ones.
    fn read(&self, port: u16) -> u8 {
        match port {
            COM1..=COM1_LAST => self.serial.read((port - COM1) as u8),
            // Nothing to read, and ready for a command.
            I8042_COMMAND => 0,
            SLEEP_CONTROL | SLEEP_STATUS => 0,
            _ => 0xff,
        }
    }

    /// A byte is written to a port that is no PCI port.
    fn write(&self, port: u16, value: u8) {
        match port {
            COM1..=COM1_LAST => self.serial.write((port - COM1) as u8, value),
            I8042_COMMAND if value == I8042_RESET => self.ending.tell(End::Reset),
            SLEEP_CONTROL if value & SLEEP_ENABLE != 0 => self.sleep((value & SLEEP_TYPE) >> 2),
            _ => {}
        }
    }

    fn sleep(&self, sleep_type: u8) {
        if sleep_type == SLEEP_TYPE_S5 {
            self.ending.tell(End::PowerOff);
        }
    }
}

impl Bus for Board {
    fn io_read(&self, port: u16, data: &mut [u8]) {
        match (port, data) {
            (PCI_PORTS..=PCI_PORTS_LAST, data) => self.pci.io_read(port, data),
            (_, [byte]) => *byte = self.read(port),
            // Wider accesses go to no device here, and find all ones.
            _ => {}
        }
    }

    fn io_write(&self, port: u16, data: &[u8]) {
        match (port, data) {
            (PCI_PORTS..=PCI_PORTS_LAST, data) => self.pci.io_write(port, data),
            (_, [byte]) => self.write(port, *byte),
            _ => {}
        }
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        self.pci.mmio_read(address, data);
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        self.pci.mmio_write(address, data);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::Receiver;

    use vmm_sys_util::eventfd::EventFd;

    use super::*;

    fn board() -> (Board, Receiver<End>) {
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let serial = Arc::new(SerialLine::new(interrupt, Box::new(io::sink())));
        let (ending, ended) = Ending::channel();
        (Board::new(serial, Arc::new(PciBus::new(Vec::new())), ending), ended)
    }

    #[test]
    fn sleeping_in_s5_is_power_off_and_nothing_shallower_is() {
        let (board, ended) = board();
        board.io_write(0x600, &[3 << 2 | 1 << 5]);
        board.io_write(0x600, &[5 << 2]);
        board.io_write(0x601, &[5 << 2 | 1 << 5]);
        assert!(ended.try_recv().is_err());
        board.io_write(0x600, &[5 << 2 | 1 << 5]);
        assert_eq!(ended.try_recv(), Ok(End::PowerOff));
    }

    #[test]
    fn the_keyboard_controller_resets() {
        let (board, ended) = board();
        let mut status = [0xff];
        board.io_read(0x64, &mut status);
        assert_eq!(status[0] & 3, 0, "no input, and ready for a command");
        board.io_write(0x64, &[0xfe]);
        assert_eq!(ended.try_recv(), Ok(End::Reset));
    }

    #[test]
    fn nobody_answers_all_ones() {
        let (board, _ended) = board();
        for width in [1, 2, 4] {
            let mut data = vec![0xff; width];
            board.io_read(0x80, &mut data);
            board.io_read(0xcfc, &mut data);
            board.mmio_read(0xc000_0000, &mut data);
            assert_eq!(data, vec![0xff; width]);
        }
    }
}
