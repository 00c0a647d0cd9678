//! What a rig is made of, by what delivers its interrupts.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use vm_msix::{MsiMessage, SignalMode, VectorIndex, Yield};
use vm_msix_kvm::{Committer, KvmBackend, KvmMsi, RequesterId, Router};
use vm_pci_config::PciFunction;

use super::configuration::{Configuration, Delivery};
use super::device_side::{DeviceSide, Producer, triggers, writers_and_triggers};
use super::message_log::{MessageLog, Tap};
use super::remote::RemoteDevice;
use crate::bus::PciBus;
use crate::device::{PciDevice, TestDevice};
use crate::machine::Machine;
use crate::machine::host::{HostApics, HostMachine};
use crate::machine::kvm::Vm;

/// Where the device is: not at the first place that the guest looks.
const DEVICE_NUMBER: u8 = 3;

/// The parts that differ between machines.
pub(crate) struct Parts {
    pub(super) machine: Arc<dyn Machine>,
    pub(super) device: Arc<dyn DeviceSide>,
    pub(super) producers: Vec<Producer>,
    pub(super) routing: Option<Routing>,
    pub(super) remote: Option<Arc<RemoteDevice>>,
}

/// What the functions of a VM have their GSIs from.
pub(super) struct Routing {
    pub(super) router: Arc<Router>,
    pub(super) committer: Arc<Committer>,
}

/// The device on a VM that does not run yet.
pub(crate) struct KvmFunction {
    pub(crate) device: Arc<TestDevice<KvmBackend>>,
    pub(crate) bus: Arc<PciBus>,
    producers: Vec<Producer>,
    routing: Routing,
}

impl KvmFunction {
    pub(crate) fn new(
        vm: &Vm,
        configuration: Configuration,
        log: &Arc<MessageLog>,
    ) -> Result<Self, Box<dyn Error>> {
        let (source, routing) = delivery(vm, log)?;
        let device = Arc::new(TestDevice::new(configuration.vectors, source)?);
        let bus = bus_with(device.clone())?;
        let producers = match configuration.delivery {
            Delivery::Irqfd => writers_and_triggers(&device)?,
            Delivery::Signal | Delivery::Host | Delivery::DeviceProcess => triggers(&device)?,
        };
        Ok(Self { device, bus, producers, routing })
    }

    /// With the machine that its bus is on.
    pub(crate) fn on(self, machine: Arc<dyn Machine>) -> Parts {
        let Self { device, bus: _, producers, routing } = self;
        Parts { machine, device, producers, routing: Some(routing), remote: None }
    }
}

impl Parts {
    /// In one process, without KVM.
    pub(super) fn on_host(
        configuration: Configuration,
        log: &Arc<MessageLog>,
    ) -> Result<Self, Box<dyn Error>> {
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
        Ok(Self {
            machine: Arc::new(HostMachine::new(apics, bus)),
            producers: triggers(&device)?,
            device,
            routing: None,
            remote: None,
        })
    }

    /// On KVM, with the device in a process of its own.
    pub(super) fn with_device_process(
        configuration: Configuration,
        log: &Arc<MessageLog>,
    ) -> Result<Self, Box<dyn Error>> {
        let vm = Vm::new(configuration.apic, configuration.cpus)?;
        let (source, routing) = delivery(&vm, log)?;
        let remote = Arc::new(RemoteDevice::new(configuration.vectors, source)?);
        Ok(Self {
            machine: Arc::new(vm.start(bus_with(remote.clone())?)?),
            producers: remote.producers(),
            device: remote.clone(),
            routing: Some(routing),
            remote: Some(remote),
        })
    }
}

/// How KVM delivers the interrupts of a function.
fn delivery(vm: &Vm, log: &Arc<MessageLog>) -> Result<(KvmMsi, Routing), Box<dyn Error>> {
    let router = Arc::new(Router::new(vm.vm_fd(), Router::irqchip_entries()));
    let memory = log.clone();
    let committer = Committer::spawn(router.clone())?;
    let source = KvmMsi::new(vm.vm_fd(), committer.clone())
        .with_requester(RequesterId::pci(0, DEVICE_NUMBER, 0))
        .with_translate(Tap(log.clone()))
        .with_memory_write(move |_requester, _message| memory.memory_write());
    Ok((source, Routing { router, committer }))
}

fn bus_with(device: Arc<dyn PciDevice>) -> Result<Arc<PciBus>, Box<dyn Error>> {
    let function = PciFunction::new(0, DEVICE_NUMBER, 0)?;
    Ok(Arc::new(PciBus::new(vec![(function, device)])))
}
