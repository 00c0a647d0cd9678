//! What a driver does with all vectors of a device that are in the IDT at one time.

use vm_msix::MsiMessage;

use super::message_log::address;
use super::rig::Rig;
use super::verdict::Verdict;
use crate::machine::FIRST_DEVICE_VECTOR;

/// The message that runs this vector's handler on this CPU.
pub(crate) fn message(vector: u16, cpu: usize) -> MsiMessage {
    MsiMessage::new(address(cpu), u32::from(FIRST_DEVICE_VECTOR) + u32::from(vector))
}

/// A driver's first steps: MSI-X enabled, every vector with its handler, every other one on each CPU, and masked.
pub(crate) fn set_up(rig: &Rig) -> Verdict {
    let mut driver = rig.driver(0);
    driver.enable_under_mask();
    for vector in 0..rig.vectors() {
        driver.program(vector, message(vector, usize::from(vector / 2) % rig.machine.cpus()));
    }
    driver.unmask_function();
    rig.intact()
}

/// Lets everything come.
pub(crate) fn unmask_all(rig: &Rig) -> Verdict {
    let mut driver = rig.driver(0);
    driver.unmask_function();
    (0..rig.vectors()).for_each(|vector| driver.unmask(vector));
    rig.intact()
}
