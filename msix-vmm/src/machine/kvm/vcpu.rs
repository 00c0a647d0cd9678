//! The thread of a vCPU: runs it, and serves its exits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvm_ioctls::{VcpuExit, VcpuFd};
use libc::{c_int, c_void, siginfo_t};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use super::areas::Areas;
use super::guest::{PORT_DONE, PORT_FATAL, PORT_HANDLED, PORT_UNEXPECTED};
use crate::machine::reports::Reports;
use crate::machine::{Bus, CpuStop, MachineError};

/// How long after a kick a thread that is still there gets the next one.
const KICK_AGAIN: Duration = Duration::from_millis(10);

/// A running vCPU. Dropping it stops the vCPU and waits for its thread.
#[derive(Debug)]
pub(super) struct VcpuThread {
    thread: Option<JoinHandle<Result<VcpuFd, CpuStop>>>,
    cpu: usize,
    stop: Arc<AtomicBool>,
    reports: Arc<Reports>,
}

/// What the thread owns. The memory is in here so that it outlives the vCPU's last instruction.
struct Vcpu {
    fd: VcpuFd,
    cpu: usize,
    areas: Areas,
    bus: Arc<dyn Bus>,
    reports: Arc<Reports>,
    stop: Arc<AtomicBool>,
}

/// Why KVM_RUN came back.
#[derive(PartialEq, Eq)]
enum Ran {
    /// The guest wanted something, and has it.
    Exit,
    /// Somebody else did.
    Interrupted,
}

impl VcpuThread {
    /// Starts the thread of a vCPU that is ready to run.
    pub(super) fn spawn(
        fd: VcpuFd,
        cpu: usize,
        areas: Areas,
        bus: Arc<dyn Bus>,
        reports: Arc<Reports>,
    ) -> Result<Self, MachineError> {
        let host = |what| move |source| MachineError::Host { what, source };
        register_kick().map_err(io::Error::from).map_err(Box::from).map_err(host("signal"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let vcpu = Vcpu { fd, cpu, areas, bus, reports: reports.clone(), stop: stop.clone() };
        let thread = thread::Builder::new()
            .name(format!("vcpu{cpu}"))
            .spawn(move || vcpu.run())
            .map_err(Box::from)
            .map_err(host("vCPU thread"))?;
        Ok(Self { thread: Some(thread), cpu, stop, reports })
    }

    /// Stops the vCPU between two instructions, with nothing of an access left to do. It does not run again here.
    pub(super) fn freeze(&self) {
        let Some(thread) = &self.thread else { return };
        self.stop.store(true, Ordering::Relaxed);
        if thread.thread().id() == thread::current().id() {
            // The bus held the last of the machine: this thread ends when the bus returns.
            return;
        }
        // A signal that comes after the thread looked at `stop` and before KVM_RUN is lost on it:
        // hence again until it has ended.
        loop {
            let _ = thread.kill(SIGRTMIN());
            if self.reports.wait_for_end(self.cpu, KICK_AGAIN) {
                break;
            }
        }
    }

    /// The frozen vCPU; an error if it had stopped for another reason.
    pub(super) fn into_vcpu(mut self) -> Result<VcpuFd, MachineError> {
        self.end().map_err(|reason| MachineError::CpuStopped { cpu: self.cpu, reason })
    }

    fn end(&mut self) -> Result<VcpuFd, CpuStop> {
        self.freeze();
        match self.thread.take() {
            Some(thread) if thread.thread().id() != thread::current().id() => {
                // What a panic had to say was printed.
                thread.join().unwrap_or(Err(CpuStop::Panicked))
            }
            _ => Err(CpuStop::Dropped),
        }
    }
}

impl Drop for VcpuThread {
    fn drop(&mut self) {
        // Why it ended was reported, and who drops it does not ask.
        let _ = self.end();
    }
}

impl Vcpu {
    fn run(mut self) -> Result<VcpuFd, CpuStop> {
        // Told even when the bus panics, or somebody would wait for this CPU in vain.
        let mut last_word =
            LastWord { reports: self.reports.clone(), cpu: self.cpu, reason: CpuStop::Panicked };
        let ended = self.run_until_stopped();
        last_word.reason = ended.clone().err().unwrap_or(CpuStop::Dropped);
        ended.map(|()| self.fd)
    }

    fn run_until_stopped(&mut self) -> Result<(), CpuStop> {
        while !self.stop.load(Ordering::Relaxed) {
            self.run_once()?;
        }
        // What the last exit read reaches the guest's registers when KVM_RUN is entered again, and an instruction
        // may have more accesses to make. With this set KVM does that, and runs no further instruction.
        self.fd.set_kvm_immediate_exit(1);
        while self.run_once()? == Ran::Exit {}
        self.fd.set_kvm_immediate_exit(0);
        Ok(())
    }

    /// Runs the vCPU up to its next exit and serves that.
    fn run_once(&mut self) -> Result<Ran, CpuStop> {
        match self.fd.run() {
            Ok(VcpuExit::IoOut(port, data)) if is_report_port(port) => {
                let value = u32::from_le_bytes(data.try_into().unwrap_or_default());
                self.report(port, value)?;
            }
            Ok(VcpuExit::IoOut(port, data)) => self.bus.io_write(port, data),
            Ok(VcpuExit::IoIn(port, data)) => {
                data.fill(0xff);
                self.bus.io_read(port, data);
            }
            Ok(VcpuExit::MmioWrite(address, data)) => self.bus.mmio_write(address, data),
            Ok(VcpuExit::MmioRead(address, data)) => {
                data.fill(0xff);
                self.bus.mmio_read(address, data);
            }
            Ok(VcpuExit::Intr) => return Ok(Ran::Interrupted),
            Ok(exit) => return Err(CpuStop::Exit { exit: format!("{exit:?}") }),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Ok(Ran::Interrupted);
            }
            Err(error) => return Err(CpuStop::Run { error }),
        }
        Ok(Ran::Exit)
    }

    fn report(&self, port: u16, value: u32) -> Result<(), CpuStop> {
        match port {
            PORT_UNEXPECTED => self.reports.unexpected(self.cpu, value as u8),
            PORT_FATAL => return Err(self.exception(value as u8)),
            _ => self.reports.notify(),
        }
        Ok(())
    }

    /// Reads what the CPU pushed when it took the exception: error code, if any, and RIP.
    fn exception(&self, vector: u8) -> CpuStop {
        let has_error_code = matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30);
        let stack = self.fd.get_regs().map(|regs| regs.rsp).unwrap_or_default();
        let pushed = |index| self.areas.load_anywhere(stack + 8 * index).unwrap_or_default();
        CpuStop::Exception {
            vector,
            error_code: has_error_code.then(|| pushed(0)),
            rip: pushed(u64::from(has_error_code)),
        }
    }
}

/// Says when a CPU's thread ends, however it ends.
struct LastWord {
    reports: Arc<Reports>,
    cpu: usize,
    reason: CpuStop,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.reports.ended(self.cpu, self.reason.clone());
    }
}

/// Whether the guest's kernel reports by this port.
pub(in crate::machine) fn is_report_port(port: u16) -> bool {
    matches!(port, PORT_HANDLED | PORT_DONE | PORT_UNEXPECTED | PORT_FATAL)
}

/// Makes the signal that ends KVM_RUN harmless otherwise.
fn register_kick() -> Result<(), kvm_ioctls::Error> {
    extern "C" fn nothing(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = register_signal_handler(SIGRTMIN(), nothing));
    result
}
