//! The VM that soaks.

use std::error::Error;
use std::sync::Arc;

use vm_msix::MsixStateV1;

use crate::check::configuration::{Configuration, Delivery};
use crate::check::descriptors::{DescriptorAction, Holders};
use crate::check::device_side::Done;
use crate::check::driving;
use crate::check::ledger::Ledger;
use crate::check::message_log::MessageLog;
use crate::check::parts::KvmFunction;
use crate::check::rig::Rig;
use crate::check::verdict::Verdict;
use crate::machine::kvm::Vm;

/// Does something with the descriptors of the device's vectors.
pub(super) type Descriptors = Box<dyn Fn(DescriptorAction) -> Done<()>>;

/// A VM, and what is known of it from round to round.
pub(super) struct Subject {
    pub(super) rig: Rig,
    pub(super) descriptors: Descriptors,
    pub(super) ledger: Ledger,
    /// A state that the function was in at some time.
    pub(super) saved: Option<MsixStateV1>,
}

impl Subject {
    /// One whose driver has unmasked every vector, and that nobody has signalled.
    pub(super) fn new(configuration: Configuration, seed: u64) -> Result<Self, Box<dyn Error>> {
        let (rig, descriptors) = match configuration.delivery {
            Delivery::DeviceProcess => in_a_process(configuration, seed)?,
            Delivery::Signal | Delivery::Irqfd | Delivery::Host => in_the_vmm(configuration, seed)?,
        };
        driving::set_up(&rig)?;
        driving::unmask_all(&rig)?;
        let ledger = Ledger::new(configuration.vectors);
        Ok(Self { rig, descriptors, ledger, saved: None })
    }
}

/// Lets the driver open everything, whatever it has closed.
pub(super) fn open_all(rig: &Rig) -> Verdict {
    let mut driver = rig.driver(0);
    // Both: a restored function may not be as its Command register says, which was not restored with it.
    driver.access().set_bus_master(false);
    driver.access().set_bus_master(true);
    driver.enable();
    driving::unmask_all(rig)
}

fn in_the_vmm(
    configuration: Configuration,
    seed: u64,
) -> Result<(Rig, Descriptors), Box<dyn Error>> {
    let vm = Vm::new(configuration.apic, configuration.cpus)?;
    let log = Arc::new(MessageLog::new());
    let function = KvmFunction::new(&vm, configuration, &log)?;
    let device = Arc::clone(&function.device);
    let machine = vm.start(function.bus.clone())?;
    let rig = Rig::set_up(function.on(Arc::new(machine)), log, configuration, seed)?;
    let holders = Holders::new();
    Ok((rig, Box::new(move |action| holders.act(&device, action))))
}

fn in_a_process(
    configuration: Configuration,
    seed: u64,
) -> Result<(Rig, Descriptors), Box<dyn Error>> {
    let rig = Rig::build(configuration, seed)?;
    let remote = Arc::clone(rig.remote()?);
    Ok((rig, Box::new(move |action| remote.act_on_descriptors(action))))
}
