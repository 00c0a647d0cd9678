//! How the host gives a CPU something to do: a command in its area, and an interrupt to wake it.
//!
//! The guest takes a command only when the wake-up's handler has run. The wake-up has the lowest
//! priority there is, so all interrupts that the LAPIC had accepted before are handled by then.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use kvm_bindings::kvm_msi;

use super::KvmMachine;
use super::guest::{
    COMMAND_ENUMERATE, COMMAND_EXECUTE, COMMAND_NOTHING, COMMAND_PROGRAM, STATUS_LOOP,
    STATUS_NO_MSIX, STATUS_NOT_FOUND, STATUS_OK, STATUS_WINDOW_FULL,
};
use super::layout::*;
use crate::machine::enumeration::{RawEnumeration, ScanFailure};
use crate::machine::vectors::WAKE_VECTOR;
use crate::machine::{
    Access, CpuStop, EnumerateRequest, MachineError, MaskBit, ProgramTable, Width,
};

/// How long a command may take: a batch of 4096 accesses takes a tenth of a second.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// What a CPU is told to do.
pub(super) enum Command<'a> {
    /// Make these accesses, [`MAX_BATCH`] at most, and store what they read.
    Execute(&'a [Access], &'a mut Vec<u64>),
    /// Find a device and set it up.
    Enumerate(&'a EnumerateRequest, &'a mut RawEnumeration),
    /// Program table entries.
    Program(&'a ProgramTable),
    /// Nothing.
    Nothing,
}

impl Command<'_> {
    /// Its number for the guest, and its arguments.
    fn encode(&self) -> (u32, [u64; 6]) {
        match self {
            Self::Execute(accesses, _) => (COMMAND_EXECUTE, [accesses.len() as u64, 0, 0, 0, 0, 0]),
            Self::Enumerate(request, _) => {
                let id = u64::from(request.device) << 16 | u64::from(request.vendor);
                let (base, end) = (request.window.base.into(), request.window.end.into());
                (COMMAND_ENUMERATE, [id, base, end, 0, 0, 0])
            }
            Self::Program(request) => {
                let mask = match request.mask {
                    MaskBit::Clear => 0,
                    MaskBit::Set => 1,
                    MaskBit::Keep => 2,
                };
                let arguments = [
                    request.table_address,
                    request.first_entry.into(),
                    request.count.into(),
                    request.message_address().into(),
                    request.first_vector.into(),
                    mask,
                ];
                (COMMAND_PROGRAM, arguments)
            }
            Self::Nothing => (COMMAND_NOTHING, [0; 6]),
        }
    }
}

impl KvmMachine {
    /// Has `cpu` carry out `command`, and waits for it.
    pub(super) fn command(&self, cpu: usize, command: Command<'_>) -> Result<(), MachineError> {
        let mut number = self.mailbox(cpu)?;
        self.join(cpu, *number)?;
        *number = number.wrapping_add(1);
        self.post(cpu, *number, &command)?;
        self.join(cpu, *number)?;
        self.finish(cpu, command)
    }

    /// Has `cpu` carry out `command` when it has done what it was told before, and does not wait for it: the next command
    /// does, here or where the VM continues.
    pub(super) fn begin_command(
        &self,
        cpu: usize,
        command: &Command<'_>,
    ) -> Result<(), MachineError> {
        let mut number = self.mailbox(cpu)?;
        self.join(cpu, *number)?;
        *number = number.wrapping_add(1);
        self.post(cpu, *number, command)
    }

    /// Waits for the command that was begun, which was this one.
    #[cfg(test)]
    pub(super) fn end_command(&self, cpu: usize, command: Command<'_>) -> Result<(), MachineError> {
        let number = self.mailbox(cpu)?;
        self.join(cpu, *number)?;
        self.finish(cpu, command)
    }

    fn mailbox(&self, cpu: usize) -> Result<MutexGuard<'_, u32>, MachineError> {
        let cpus = self.mailboxes.len();
        let mailbox = self.mailboxes.get(cpu).ok_or(MachineError::NoSuchCpu { cpu, cpus })?;
        Ok(mailbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a command into the mailbox, and wakes the CPU.
    fn post(&self, cpu: usize, number: u32, command: &Command<'_>) -> Result<(), MachineError> {
        let area = cpu_area(cpu);
        let (code, arguments) = command.encode();
        self.areas.write(area + CPU_ARGUMENTS, arguments.map(u64::to_le_bytes).as_flattened());
        if let Command::Execute(accesses, _) = command {
            let encoded: Vec<[u8; 8]> =
                accesses.iter().flat_map(|&access| encode(access)).map(u64::to_le_bytes).collect();
            self.areas.write(area + CPU_ACCESSES, encoded.as_flattened());
        }
        self.areas.store(area + CPU_COMMAND, code);
        self.areas.store(area + CPU_REQUESTED, number);
        self.wake(cpu)
    }

    /// Waits until a command is done.
    fn join(&self, cpu: usize, number: u32) -> Result<(), MachineError> {
        self.reports.check()?;
        let done = || self.areas.load::<u32>(cpu_area(cpu) + CPU_DONE) == number;
        if !self.reports.wait_until(COMMAND_TIMEOUT, done)? {
            // The mailbox is in nobody's hands now; nothing more can be asked of this CPU.
            self.reports.stopped(cpu, CpuStop::NoAnswer);
        }
        self.reports.check()
    }

    /// Reads a finished command's results, while the mailbox is still this caller's.
    fn finish(&self, cpu: usize, command: Command<'_>) -> Result<(), MachineError> {
        let status = self.areas.load(cpu_area(cpu) + CPU_STATUS);
        match command {
            Command::Execute(accesses, results) if status == STATUS_OK => {
                let mut bytes = vec![0; accesses.len() * ACCESS_BYTES as usize];
                self.areas.read(cpu_area(cpu) + CPU_ACCESSES, &mut bytes);
                let (qwords, _) = bytes.as_chunks();
                let values = qwords.iter().copied().map(u64::from_le_bytes).skip(2).step_by(3);
                let read = |(access, value)| if reads(access) { value } else { 0 };
                results.extend(accesses.iter().copied().zip(values).map(read));
                Ok(())
            }
            Command::Enumerate(request, raw) => {
                *raw = self.areas.enumeration(cpu);
                match scan_failure(status) {
                    Some(failure) => Err(failure.into_error(request)),
                    None if status == STATUS_OK => Ok(()),
                    None => Err(MachineError::GuestStatus { status }),
                }
            }
            _ if status == STATUS_OK => Ok(()),
            _ => Err(MachineError::GuestStatus { status }),
        }
    }

    /// Sends the wake-up interrupt, past the device.
    fn wake(&self, cpu: usize) -> Result<(), MachineError> {
        let message = kvm_msi {
            address_lo: XAPIC as u32 | (cpu as u32) << 12,
            data: WAKE_VECTOR.into(),
            ..Default::default()
        };
        let sent = self.fd.signal_msi(message);
        match sent.map_err(|source| MachineError::Kvm { call: "KVM_SIGNAL_MSI", source })? {
            0 => Err(MachineError::WakeRefused { cpu }),
            _ => Ok(()),
        }
    }
}

fn scan_failure(status: u32) -> Option<ScanFailure> {
    match status {
        STATUS_NOT_FOUND => Some(ScanFailure::NotFound),
        STATUS_WINDOW_FULL => Some(ScanFailure::WindowFull),
        STATUS_NO_MSIX => Some(ScanFailure::NoMsix),
        STATUS_LOOP => Some(ScanFailure::Loop),
        _ => None,
    }
}

fn reads(access: Access) -> bool {
    matches!(access, Access::IoRead { .. } | Access::MmioRead { .. })
}

/// Operation, address and value, as the guest's table of operations numbers them.
fn encode(access: Access) -> [u64; 3] {
    let step = |width| match width {
        Width::Byte => 0,
        Width::Word => 1,
        Width::Dword => 2,
        Width::Qword => 3,
    };
    match access {
        Access::IoRead { port, width } => [step(width), port.into(), 0],
        Access::IoWrite { port, width, value } => [3 + step(width), port.into(), value.into()],
        Access::MmioRead { address, width } => [6 + step(width), address, 0],
        Access::MmioWrite { address, width, value } => [10 + step(width), address, value],
    }
}
