//! The VM in the process that hosts it: how it comes, and how it goes.

use std::error::Error;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vm_msix::MsixStateV1;
use vm_msix_kvm::KvmBackend;

use super::load::Stopped;
use super::messages::Departure;
use crate::bus::PciBus;
use crate::check::configuration::Configuration;
use crate::check::message_log::MessageLog;
use crate::check::parts::KvmFunction;
use crate::check::rig::Rig;
use crate::device::TestDevice;
use crate::function::FunctionStateV1;
use crate::machine::kvm::{KvmMachine, Vm, VmState};

/// All that travels.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    vm: VmState,
    device: FunctionStateV1,
    /// What the guest selected by port 0xCF8.
    selected: u32,
    /// How often the device has signalled each vector: it goes on counting.
    pub(super) signals: Vec<u64>,
}

/// A VM that runs here.
pub(super) struct Hosted {
    pub(super) rig: Rig,
    pub(super) machine: Arc<KvmMachine>,
    device: Arc<TestDevice<KvmBackend>>,
    bus: Arc<PciBus>,
}

impl Hosted {
    /// A VM that goes on where another process saved it.
    ///
    /// The function comes while it is paused, into a VM that has its local APICs already: what it delivers when it is resumed
    /// finds them as they were.
    pub(super) fn arrive(
        state: &State,
        configuration: Configuration,
        seed: u64,
    ) -> Result<Self, Box<dyn Error>> {
        if state.signals.len() != usize::from(configuration.vectors) {
            return Err(
                format!("the state counts signals of {} vectors", state.signals.len()).into()
            );
        }
        let vm = Vm::restored(&state.vm)?;
        let log = Arc::new(MessageLog::new());
        let function = KvmFunction::new(&vm, configuration, &log)?;
        function.device.restore_suspended(&state.device)?;
        function.bus.select(state.selected);
        function.device.resume();

        let (device, bus) = (function.device.clone(), function.bus.clone());
        let machine = Arc::new(vm.start(bus.clone())?);
        let found = machine.enumerated(0)?;
        let parts = function.on(machine.clone());
        let rig = Rig::assemble(parts, found, log, configuration, seed);
        Ok(Self { rig, machine, device, bus })
    }

    /// A new VM, whose driver has not yet enabled MSI-X.
    pub(super) fn boot(configuration: Configuration, seed: u64) -> Result<Self, Box<dyn Error>> {
        let vm = Vm::new(configuration.apic, configuration.cpus)?;
        let log = Arc::new(MessageLog::new());
        let function = KvmFunction::new(&vm, configuration, &log)?;
        let (device, bus) = (function.device.clone(), function.bus.clone());
        let machine = Arc::new(vm.start(bus.clone())?);
        let rig = Rig::set_up(function.on(machine.clone()), log, configuration, seed)?;
        Ok(Self { rig, machine, device, bus })
    }

    /// Saves the VM: its CPUs, which write registers, and its producers have stopped.
    ///
    /// First the function is paused and saved: then all that it sent has reached a local APIC, and what an eventfd has counted is
    /// in its Pending Bits. Local APICs and memory come after it.
    pub(super) fn leave(self, stopped: Stopped) -> Result<(State, Departure), Box<dyn Error>> {
        let Stopped { signals, held, since: _ } = stopped;
        let Self { rig, machine, device, bus } = self;
        let kept_on_their_descriptors = rig.into_producers();
        let machine = Arc::into_inner(machine).ok_or("somebody else has the machine")?;
        let vm = machine.into_vm()?;
        let device = device.suspend();
        drop(kept_on_their_descriptors);

        let driving = vm.cpus_with_a_command();
        let vm = vm.save()?;
        let departure = Departure {
            signals: signals.clone(),
            held,
            pending: masked_and_pending(&device.msix),
            in_apics: vm.interrupts_in_apics(),
            at_work: vm.cpus_at_work(),
            driving,
        };
        Ok((State { vm, device, selected: bus.selected(), signals }, departure))
    }
}

fn masked_and_pending(state: &MsixStateV1) -> usize {
    state
        .vectors
        .iter()
        .filter(|vector| vector.pending && (vector.masked || state.function_masked))
        .count()
}
