//! The thread of a CPU: runs it, and hands its accesses to the board.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvm_ioctls::{VcpuExit, VcpuFd};
use libc::{c_int, c_void, siginfo_t};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use super::end::{End, Ending};
use super::error::{BootError, lacks};
use crate::machine::Bus;

/// How long after a kick a thread that is still there gets the next one.
const KICK_AGAIN: Duration = Duration::from_millis(1);

/// A running CPU. Dropping it stops the CPU and waits for its thread.
pub(super) struct RunningCpu {
    thread: Option<JoinHandle<Option<VcpuFd>>>,
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

/// What the thread owns. The memory is in here so that it outlives the CPU's last instruction.
pub(super) struct Cpu {
    pub(super) fd: VcpuFd,
    pub(super) index: usize,
    pub(super) board: Arc<dyn Bus>,
    #[expect(dead_code, reason = "it is there to be dropped last")]
    pub(super) memory: GuestMemoryMmap,
    pub(super) ending: Ending,
}

impl Cpu {
    /// Starts the thread.
    pub(super) fn run(self) -> Result<RunningCpu, BootError> {
        register_kick().map_err(lacks("a signal"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name(format!("vcpu{}", self.index)).spawn({
            let stop = stop.clone();
            move || self.run_until(&stop)
        });
        Ok(RunningCpu { thread: Some(thread.map_err(lacks("a thread"))?), stop })
    }

    /// Returns the CPU if it was stopped, and did not end before.
    fn run_until(mut self, stop: &AtomicBool) -> Option<VcpuFd> {
        // Heard if nothing else was told before: then this thread has panicked.
        let _last_word = LastWord { ending: self.ending.clone(), cpu: self.index };
        match self.run_until_stopped(stop) {
            Ok(()) => Some(self.fd),
            Err(end) => {
                self.ending.tell(end);
                None
            }
        }
    }

    fn run_until_stopped(&mut self, stop: &AtomicBool) -> Result<(), End> {
        while !stop.load(Ordering::Relaxed) {
            self.run_once()?;
        }
        // What the last exit read reaches the guest's registers when KVM_RUN is entered again, and an instruction may have
        // more accesses to make. With this set KVM does that, and runs no further instruction.
        self.fd.set_kvm_immediate_exit(1);
        while self.run_once()? == Ran::Exit {}
        self.fd.set_kvm_immediate_exit(0);
        Ok(())
    }

    /// Runs the CPU up to its next exit and serves that.
    fn run_once(&mut self) -> Result<Ran, End> {
        let failed = |reason| Err(End::CpuFailed { cpu: self.index, reason });
        match self.fd.run() {
            Ok(VcpuExit::IoOut(port, data)) => self.board.io_write(port, data),
            Ok(VcpuExit::IoIn(port, data)) => {
                data.fill(0xff);
                self.board.io_read(port, data);
            }
            Ok(VcpuExit::MmioWrite(address, data)) => self.board.mmio_write(address, data),
            Ok(VcpuExit::MmioRead(address, data)) => {
                data.fill(0xff);
                self.board.mmio_read(address, data);
            }
            Ok(VcpuExit::Intr) => return Ok(Ran::Interrupted),
            Ok(VcpuExit::Shutdown) => return Err(End::TripleFault { cpu: self.index }),
            Ok(VcpuExit::InternalError) => {
                let place = self.place();
                return failed(format!("KVM has no way to execute the instruction {place}"));
            }
            Ok(exit) => {
                let exit = format!("{exit:?}");
                return failed(format!("KVM exit {exit} {}", self.place()));
            }
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Ok(Ran::Interrupted);
            }
            Err(error) => return failed(format!("KVM_RUN: {error}")),
        }
        Ok(Ran::Exit)
    }

    fn place(&self) -> String {
        self.fd.get_regs().map_or_else(|_| "somewhere".into(), |regs| format!("at {:#x}", regs.rip))
    }
}

impl RunningCpu {
    /// Has the CPU stop soon, so that several do at once.
    pub(super) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops the CPU between two instructions, with nothing of an access left to do; `None` if it had ended before.
    pub(super) fn stop(mut self) -> Option<VcpuFd> {
        self.end()
    }

    fn end(&mut self) -> Option<VcpuFd> {
        let thread = self.thread.take()?;
        self.ask_to_stop();
        // A signal that comes after the thread looked at `stop` and before KVM_RUN is lost on it: hence again until it has ended.
        while !thread.is_finished() {
            let _ = thread.kill(SIGRTMIN());
            thread::sleep(KICK_AGAIN);
        }
        // What a panic had to say was printed.
        thread.join().ok().flatten()
    }
}

impl Drop for RunningCpu {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Says that a CPU's thread has panicked.
struct LastWord {
    ending: Ending,
    cpu: usize,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "its thread panicked, an error of this program".into();
            self.ending.tell(End::CpuFailed { cpu: self.cpu, reason });
        }
    }
}

/// Makes the signal that ends KVM_RUN harmless otherwise.
fn register_kick() -> Result<(), vmm_sys_util::errno::Error> {
    extern "C" fn nothing(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}
    register_signal_handler(SIGRTMIN(), nothing)
}
