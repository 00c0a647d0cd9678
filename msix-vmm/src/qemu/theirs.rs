//! QEMU's device, as a guest drives it.

use std::time::Instant;

use vm_msix::Region;

use super::board::{self, BLANK, Board, Delivered, MEMORY};
use super::devices::Device;
use super::error::QemuError;
use super::guest::{self, Found};
use super::ivshmem::{Bells, Event, Vectors};
use super::op::{Access, Op, Width};
use super::oracle::{Oracle, Seen};
use super::process::{Program, Started, start};
use super::qtest::{Answers, HANG, Qtest};

/// A machine with the device.
#[derive(Debug)]
pub(super) struct Theirs {
    machine: Started,
    found: Found,
    board: Board,
}

impl Theirs {
    pub(super) fn start(program: &Program, device: &Device) -> Result<Self, QemuError> {
        let mut machine = start(program, device)?;
        guest::open_bus(&mut machine.qtest)?;
        let mut doorbell = None;
        if let Some((vectors, bells)) = &machine.ivshmem {
            wait_for_vectors(&mut machine.qtest, vectors, bells)?;
            doorbell = Some(guest::place_doorbell(&mut machine.qtest)?);
        }
        let found = guest::find(&mut machine.qtest, device.vectors)?;
        let board = Board::new(device.vectors, doorbell);
        machine.qtest.fill(MEMORY, board.memory_size(), BLANK);
        machine.qtest.answers()?;
        Ok(Self { machine, found, board })
    }

    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    fn address(&self, access: Access) -> u64 {
        match access.region {
            Region::Capability => self.found.capability(access.offset),
            Region::Table => self.found.table + u64::from(access.offset),
            Region::Pba => self.found.pba + u64::from(access.offset),
        }
    }

    fn write(&mut self, access: Access, value: u64) {
        let address = self.address(access);
        self.machine.qtest.write(address, access.width, value);
    }

    fn signal(&mut self, vector: u16) -> Result<(), QemuError> {
        let Some((vectors, _)) = &self.machine.ivshmem else { return Ok(()) };
        match vectors.events.get(usize::from(vector)) {
            Some(event) => signal(&mut self.machine.qtest, event, vector),
            None => Ok(()),
        }
    }

    /// Queues an operation; returns how many answers come before the one that it is done for.
    fn queue(&mut self, op: &Op) -> Result<usize, QemuError> {
        let commands = match op {
            Op::Read(access) => {
                self.machine.qtest.read(self.address(*access), access.width);
                0
            }
            Op::Write(access, value) => {
                self.write(*access, *value);
                1
            }
            Op::Program(vector, dwords) => {
                for (access, value) in Access::programming(*vector, *dwords) {
                    self.write(access, value);
                }
                4
            }
            Op::Trigger(vector) => {
                self.signal(*vector)?;
                0
            }
            Op::BusMaster(allowed) => self.found.set_bus_master(&mut self.machine.qtest, *allowed),
            Op::Reset => self.found.reset(&mut self.machine.qtest),
        };
        Ok(commands)
    }

    /// Queues the reads of what is there to be seen.
    fn queue_looks(&mut self) {
        let size = self.board.memory_size();
        let qtest = &mut self.machine.qtest;
        qtest.read(self.found.capability(2), Width::Word);
        for qword in 0..u64::from(self.found.layout.vectors().pba_qwords()) {
            qtest.read(self.found.pba + 8 * qword, Width::Qword);
        }
        qtest.read_bytes(MEMORY, size);
        qtest.fill(MEMORY, size, BLANK);
    }

    fn look(&self, answers: &mut Answers, answer: u64) -> Result<Seen, QemuError> {
        let control = answers.number()? as u16;
        let qwords = self.found.layout.vectors().pba_qwords();
        let pending = (0..qwords).map(|_| answers.number()).collect::<Result<_, _>>()?;
        let written = board::written(&answers.bytes()?);
        answers.skip(1)?;
        let rung = match &self.machine.ivshmem {
            Some((_, bells)) => bells.take()?.collect(),
            None => Default::default(),
        };
        Ok(Seen { answer, control, pending, delivered: Delivered { rung, written } })
    }
}

impl Oracle for Theirs {
    fn apply(&mut self, op: &Op) -> Result<Seen, QemuError> {
        let before = self.queue(op)?;
        self.queue_looks();
        let mut answers = self.machine.qtest.answers()?;
        answers.skip(before)?;
        let answer = if matches!(op, Op::Read(_)) { answers.number()? } else { 0 };
        self.look(&mut answers, answer)
    }

    fn table(&mut self) -> Result<Vec<u8>, QemuError> {
        let size = 16 * u64::from(self.found.layout.vectors().get());
        self.machine.qtest.read_bytes(self.found.table, size);
        self.machine.qtest.answers()?.bytes()
    }
}

/// Signals a vector, and returns when the device has taken the signal.
///
/// QEMU's main loop takes it when it comes to it. That it did is seen at the eventfd, whose counter is back at zero: QEMU
/// reads it first and then, in the same call, gives the vector its signal. The main loop is one thread, and
/// qtest commands are handled by it too; so whatever is asked after the counter was seen at zero is answered after the
/// signal has had its effect. Nothing is concluded from the order in which QEMU looks at its descriptors.
fn signal(qtest: &mut Qtest, event: &Event, vector: u16) -> Result<(), QemuError> {
    let started = Instant::now();
    event.ring()?;
    while event.is_ringing()? {
        // Gives the main loop a turn, and us a rest until it had one.
        qtest.read_bytes(MEMORY, 1);
        qtest.answers()?;
        if started.elapsed() > HANG {
            return Err(QemuError::NotTaken(vector));
        }
    }
    Ok(())
}

/// Waits until both devices know all their eventfds: they learn of them in order, so the last one stands for all.
fn wait_for_vectors(qtest: &mut Qtest, vectors: &Vectors, bells: &Bells) -> Result<(), QemuError> {
    for events in [&vectors.events, &bells.device.events] {
        if let Some(last) = events.last() {
            signal(qtest, last, events.len() as u16 - 1)?;
        }
    }
    Ok(())
}
