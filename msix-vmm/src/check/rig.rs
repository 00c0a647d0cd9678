//! A machine with the device on its bus, brought up far enough for a scenario to begin.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsiMessage, Signal, SignalMode, VectorIndex, Yield};
use vm_msix_kvm::{Committer, KvmMsi, RequesterId, Router};
use vm_pci_config::PciFunction;

use super::configuration::{Configuration, Delivery};
use super::device_side::{DeviceSide, Producer, triggers, writers_and_triggers};
use super::guest_registers::GuestRegisters;
use super::message_log::{MessageLog, Tap};
use super::remote::RemoteDevice;
use super::verdict::{Failure, Verdict, equal};
use crate::bus::PciBus;
use crate::device::{DEVICE, PciDevice, TestDevice, VENDOR};
use crate::machine::host::{HostApics, HostMachine};
use crate::machine::kvm::Vm;
use crate::machine::{
    Access, DEVICE_VECTORS, EnumerateRequest, Enumeration, FIRST_DEVICE_VECTOR, Machine,
    MachineError, MaskBit, ProgramTable, Window,
};

/// Where the device is: not at the first place that the guest looks.
const DEVICE_NUMBER: u8 = 3;
/// What the guest looks for.
const WHAT: EnumerateRequest =
    EnumerateRequest { vendor: VENDOR, device: DEVICE, window: Window::PC };
/// After this, something hangs.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Everything a scenario needs.
pub(crate) struct Rig {
    pub(crate) machine: Box<dyn Machine>,
    /// The device as the guest's own enumeration found it.
    pub(crate) found: Enumeration,
    pub(crate) device: Arc<dyn DeviceSide>,
    pub(crate) log: Arc<MessageLog>,
    pub(crate) configuration: Configuration,
    pub(crate) seed: u64,
    routing: Option<Routing>,
    remote: Option<Arc<RemoteDevice>>,
    producers: Vec<Producer>,
    /// The first access of the guest that failed; what came after it has no meaning.
    broken: Mutex<Option<MachineError>>,
}

/// The parts that differ between machines.
struct Parts {
    machine: Box<dyn Machine>,
    device: Arc<dyn DeviceSide>,
    producers: Vec<Producer>,
    routing: Option<Routing>,
    remote: Option<Arc<RemoteDevice>>,
}

/// What the functions of a VM have their GSIs from.
struct Routing {
    router: Arc<Router>,
    committer: Arc<Committer>,
}

impl Rig {
    /// Builds the machine, and lets its guest find the device and set it up.
    pub(crate) fn build(configuration: Configuration, seed: u64) -> Result<Self, Box<dyn Error>> {
        let log = Arc::new(MessageLog::new());
        let parts = match configuration.delivery {
            Delivery::Host => host_parts(configuration, &log)?,
            Delivery::Signal | Delivery::Irqfd | Delivery::DeviceProcess => {
                kvm_parts(configuration, &log)?
            }
        };
        let Parts { machine, device, producers, routing, remote } = parts;
        let found = machine.enumerate(0, &WHAT)?;
        Ok(Self {
            machine,
            found,
            device,
            log,
            configuration,
            seed,
            routing,
            remote,
            producers,
            broken: Mutex::new(None),
        })
    }

    /// Lets the guest find the device again, and set it up.
    pub(crate) fn enumerate_again(&self) -> Result<Enumeration, Failure> {
        Ok(self.machine.enumerate(0, &WHAT)?)
    }

    /// How many vectors the device has.
    pub(crate) fn vectors(&self) -> u16 {
        self.configuration.vectors
    }

    /// The vectors that the IDT has room for at one time, from 0.
    pub(crate) fn wave(&self) -> u16 {
        self.vectors().min(DEVICE_VECTORS)
    }

    /// Starts over: the device reset, nothing on its way, and the guest's driver has enabled MSI-X and
    /// programmed the first wave, every vector masked.
    pub(crate) fn start_over(&self) -> Result<(), Failure> {
        self.device.reset()?;
        self.settle()?;
        self.machine.reset();
        self.machine.set_wave(0);
        self.driver(0).enable_under_mask();
        // A reset leaves the Mask Bits set.
        self.program(0, self.wave(), 0, MaskBit::Keep)?;
        self.driver(0).unmask_function();
        self.intact()
    }

    /// Lets the guest program entries for vectors of one CPU, the first with the first IDT vector.
    pub(crate) fn program(
        &self,
        first_entry: u16,
        count: u16,
        cpu: usize,
        mask: MaskBit,
    ) -> Result<(), Failure> {
        let request = ProgramTable {
            table_address: self.found.table_address(),
            first_entry,
            count,
            first_vector: FIRST_DEVICE_VECTOR,
            destination: cpu as u8,
            mask,
        };
        Ok(self.machine.program_table(0, &request)?)
    }

    /// The guest's driver, on this CPU.
    pub(crate) fn driver(&self, cpu: usize) -> GuestDriver<GuestRegisters<'_>> {
        GuestDriver::new(GuestRegisters::new(self, cpu))
    }

    /// One access of the guest. If it fails, [`intact`](Self::intact) tells.
    pub(crate) fn access(&self, cpu: usize, accesses: &[Access]) -> u64 {
        match self.machine.execute(cpu, accesses) {
            Ok(results) => results.last().copied().unwrap_or_default(),
            Err(error) => {
                let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
                broken.get_or_insert(error);
                u64::MAX
            }
        }
    }

    /// Whether every access so far was made.
    pub(crate) fn intact(&self) -> Result<(), Failure> {
        match self.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Lets every CPU handle what it has.
    pub(crate) fn settle(&self) -> Result<(), Failure> {
        (0..self.machine.cpus()).try_for_each(|cpu| Ok(self.machine.settle(cpu)?))
    }

    /// Signals a vector.
    pub(crate) fn trigger(&self, vector: u16) -> Result<Signal, Failure> {
        (self.producers[usize::from(vector)])().map_err(|error| Failure::Seen(error.to_string()))
    }

    /// Signals a vector, and sees that the device is told this, as far as it can know.
    pub(crate) fn trigger_expecting(&self, vector: u16, wanted: Signal) -> Result<(), Failure> {
        let wanted = match (self.configuration.delivery, wanted) {
            // A device process has the latches. What it sends, it hands to KVM.
            (Delivery::DeviceProcess, Signal::Sent) => Signal::HandedOver,
            // A writer of a descriptor is told nothing.
            (Delivery::Irqfd, _) if !self.is_trigger(vector) => Signal::HandedOver,
            _ => wanted,
        };
        equal(format_args!("signal on vector {vector}"), self.trigger(vector)?, wanted)
    }

    /// Signals an open vector and waits until its handler has run so many times in all.
    pub(crate) fn handshake(&self, vector: u16, runs: u32) -> Result<(), Failure> {
        self.trigger_expecting(vector, Signal::Sent)?;
        Ok(self.machine.wait_for_runs(vector, runs, HANG)?)
    }

    /// Waits until the handler of each vector has run, then shows by a further handshake, which comes
    /// behind anything that was still on its way, that it ran exactly once before.
    pub(crate) fn ran_exactly_once(&self, vectors: impl IntoIterator<Item = u16>) -> Verdict {
        for vector in vectors {
            self.machine.wait_for_runs(vector, 1, HANG)?;
            self.handshake(vector, 2)?;
            self.settle()?;
            let what = format_args!("handler runs of vector {vector} after one more signal");
            equal(what, self.machine.runs(vector), 2)?;
        }
        Ok(())
    }

    /// Shows that no handler of these vectors ran.
    pub(crate) fn silent(&self, vectors: impl IntoIterator<Item = u16>) -> Verdict {
        self.settle()?;
        for vector in vectors {
            let what = format_args!("handler runs of closed vector {vector}");
            equal(what, self.machine.runs(vector), 0)?;
        }
        Ok(())
    }

    /// GSIs that the device has from the VM, if the VM has any to give.
    pub(crate) fn gsis_in_use(&self) -> usize {
        self.routing.as_ref().map_or(0, |Routing { router, committer }| {
            // What is given back during a commit is back when it has ended.
            committer.flush();
            router.gsis_in_use()
        })
    }

    /// The place of the device process.
    pub(crate) fn remote(&self) -> Result<&RemoteDevice, Failure> {
        self.remote.as_deref().ok_or_else(|| Failure::Seen("the device has no process".into()))
    }

    /// Whether a vector is signalled by a trigger in the VMM, whose messages all pass the log, and not by a descriptor.
    pub(crate) fn is_trigger(&self, vector: u16) -> bool {
        match self.configuration.delivery {
            Delivery::Signal | Delivery::Host => true,
            Delivery::Irqfd => !vector.is_multiple_of(2),
            Delivery::DeviceProcess => false,
        }
    }
}

fn host_parts(
    configuration: Configuration,
    log: &Arc<MessageLog>,
) -> Result<Parts, Box<dyn Error>> {
    let apics = Arc::new(HostApics::new(configuration.cpus)?);
    let (sink, log) = (apics.clone(), log.clone());
    let sender = SignalMode::new(move |_vector: VectorIndex, message: MsiMessage| {
        match message.address >> 20 {
            0xfee => log.interrupt(message),
            _ => log.memory_write(),
        }
        sink.deliver(message.address, message.data);
        Ok::<(), Infallible>(())
    })
    .with_relax(Yield);
    let device = Arc::new(TestDevice::new(configuration.vectors, sender)?);
    let bus = bus_with(device.clone())?;
    Ok(Parts {
        machine: Box::new(HostMachine::new(apics, bus)),
        producers: triggers(&device)?,
        device,
        routing: None,
        remote: None,
    })
}

fn kvm_parts(configuration: Configuration, log: &Arc<MessageLog>) -> Result<Parts, Box<dyn Error>> {
    let vm = Vm::new(configuration.apic, configuration.cpus)?;
    let router = Arc::new(Router::new(vm.vm_fd(), Router::irqchip_entries()));
    let memory = log.clone();
    let committer = Committer::spawn(router.clone())?;
    let source = KvmMsi::new(vm.vm_fd(), committer.clone())
        .with_requester(RequesterId::pci(0, DEVICE_NUMBER, 0))
        .with_translate(Tap(log.clone()))
        .with_memory_write(move |_requester, _message| memory.memory_write());
    let routing = Some(Routing { router, committer });
    if configuration.delivery == Delivery::DeviceProcess {
        let remote = Arc::new(RemoteDevice::new(configuration.vectors, source)?);
        let machine = Box::new(vm.start(bus_with(remote.clone())?)?);
        let (device, producers) = (remote.clone(), remote.producers());
        return Ok(Parts { machine, device, producers, routing, remote: Some(remote) });
    }
    let device = Arc::new(TestDevice::new(configuration.vectors, source)?);
    let machine = Box::new(vm.start(bus_with(device.clone())?)?);
    let producers = match configuration.delivery {
        Delivery::Irqfd => writers_and_triggers(&device)?,
        Delivery::Signal | Delivery::Host | Delivery::DeviceProcess => triggers(&device)?,
    };
    Ok(Parts { machine, device, producers, routing, remote: None })
}

fn bus_with(device: Arc<dyn PciDevice>) -> Result<Arc<PciBus>, Box<dyn Error>> {
    let function = PciFunction::new(0, DEVICE_NUMBER, 0)?;
    Ok(Arc::new(PciBus::new(vec![(function, device)])))
}
