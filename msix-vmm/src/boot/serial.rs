//! The serial line COM1, a 16550 of vm-superio's: what the guest writes is printed, what is typed waits until it listens.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, SerialState, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// The Interrupt Enable Register's bit for received data, and OUT2 of the Modem Control Register, which on a PC connects the
/// interrupt. A driver that probes sets one of them at a time, a driver that is about to read has set both.
const RECEIVED_DATA: u8 = 1 << 0;
const OUT2: u8 = 1 << 3;

/// Where the guest's output goes.
pub(super) type Output = Box<dyn Write + Send>;

/// The line.
pub(super) struct SerialLine {
    uart: Mutex<Serial<Interrupt, NoEvents, Output>>,
    /// The guest has used it: there may be room for input.
    used: Condvar,
}

/// The line as it travels: its registers, and what the guest has not read.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SerialState")]
pub(super) struct SerialStateV1 {
    baud_divisor_low: u8,
    baud_divisor_high: u8,
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    in_buffer: Vec<u8>,
}

/// Its interrupt: an irqfd.
pub(super) struct Interrupt(pub(super) EventFd);

impl Trigger for Interrupt {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        // The counter is full only if KVM does not listen, and then it has an interrupt to see.
        let _ = self.0.write(1);
        Ok(())
    }
}

impl SerialLine {
    pub(super) fn new(interrupt: EventFd, output: Output) -> Self {
        Self { uart: Mutex::new(Serial::new(Interrupt(interrupt), output)), used: Condvar::new() }
    }

    /// A line that goes on; `None` if there is more in its FIFO than a FIFO holds. It interrupts for what it has: once
    /// too often does no harm.
    pub(super) fn restored(
        state: &SerialState,
        interrupt: EventFd,
        output: Output,
    ) -> Option<Self> {
        let uart = Serial::from_state(state, Interrupt(interrupt), NoEvents, output).ok()?;
        Some(Self { uart: Mutex::new(uart), used: Condvar::new() })
    }

    /// The line as it is.
    pub(super) fn save(&self) -> SerialState {
        self.uart().state()
    }

    /// The guest reads a register, 0 to 7.
    pub(super) fn read(&self, register: u8) -> u8 {
        let value = self.uart().read(register);
        self.used.notify_all();
        value
    }

    /// The guest writes a register, 0 to 7.
    pub(super) fn write(&self, register: u8, value: u8) {
        // Output that cannot be printed is lost, as on a line that is unplugged.
        let _ = self.uart().write(register, value);
        self.used.notify_all();
    }

    /// Types: returns when the guest has room for all of it.
    ///
    /// It waits for a driver that listens, for what is in the FIFO when a driver starts is lost. So a script may
    /// be piped in from the beginning.
    pub(super) fn type_in(&self, mut input: &[u8]) {
        let mut uart = self.uart();
        while !input.is_empty() {
            let state = uart.state();
            let listens =
                state.interrupt_enable & RECEIVED_DATA != 0 && state.modem_control & OUT2 != 0;
            let taken = match listens {
                true => uart.enqueue_raw_bytes(input).unwrap_or(0),
                false => 0,
            };
            input = &input[taken..];
            if taken == 0 {
                uart = self.used.wait(uart).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn uart(&self) -> MutexGuard<'_, Serial<Interrupt, NoEvents, Output>> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// Receiver and transmitter, and others (16550, table of registers).
    const DATA: u8 = 0;
    const INTERRUPT_ENABLE: u8 = 1;
    const MODEM_CONTROL: u8 = 4;
    const LINE_STATUS: u8 = 5;

    /// Keeps what is printed.
    #[derive(Clone, Default)]
    struct Printed(Arc<Mutex<Vec<u8>>>);

    impl Write for Printed {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line() -> (Arc<SerialLine>, Printed, EventFd) {
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let printed = Printed::default();
        let line = SerialLine::new(interrupt.try_clone().unwrap(), Box::new(printed.clone()));
        (Arc::new(line), printed, interrupt)
    }

    #[test]
    fn what_the_guest_writes_is_printed() {
        let (line, printed, _) = line();
        b"boot\n".iter().for_each(|byte| line.write(DATA, *byte));
        assert_eq!(*printed.0.lock().unwrap(), b"boot\n");
    }

    #[test]
    fn input_waits_for_a_driver_and_for_room_and_arrives_in_order() {
        let (line, _, interrupt) = line();
        // More than the FIFO holds.
        let typed: Vec<u8> = (0..200).collect();
        let typist = {
            let (line, typed) = (line.clone(), typed.clone());
            thread::spawn(move || line.type_in(&typed))
        };
        // A driver empties the FIFO before it listens, and throws away what it finds.
        let early = line.read(LINE_STATUS) & 1;
        assert_eq!(early, 0, "there is input before anybody listens");
        line.write(INTERRUPT_ENABLE, 1);
        let probed = line.read(LINE_STATUS) & 1;
        assert_eq!(probed, 0, "there is input for a driver that probes");
        line.write(MODEM_CONTROL, 1 << 3);
        let mut read = Vec::new();
        while read.len() < typed.len() {
            match line.read(LINE_STATUS) & 1 {
                1 => read.push(line.read(DATA)),
                _ => thread::yield_now(),
            }
        }
        typist.join().unwrap();
        assert_eq!(read, typed);
        assert!(interrupt.read().unwrap() > 0, "and the driver was told");
    }

    #[derive(Serialize, Deserialize)]
    struct Saved(#[serde(with = "SerialStateV1")] SerialState);

    #[test]
    fn c14_a_saved_line_is_its_registers_and_what_was_not_read() {
        let (line, _, _) = line();
        line.write(INTERRUPT_ENABLE, 1);
        line.write(MODEM_CONTROL, 1 << 3);
        line.type_in(b"abc");
        assert_eq!(line.read(DATA), b'a');
        let bytes = postcard::to_allocvec(&Saved(line.save())).unwrap();
        // Divisor, interrupt enable and identification, line control and status, modem control and status, scratch, FIFO.
        assert_eq!(bytes, [0x0c, 0, 1, 0x01, 3, 0x61, 8, 0xb0, 0, 2, b'b', b'c']);
        let Saved(state) = postcard::from_bytes(&bytes).unwrap();
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let line = SerialLine::restored(&state, interrupt, Box::new(Printed::default())).unwrap();
        assert_eq!([line.read(DATA), line.read(DATA)], *b"bc");
        assert_eq!(line.read(LINE_STATUS) & 1, 0, "there is more");
    }
}
