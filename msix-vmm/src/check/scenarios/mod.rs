//! What is checked. Each scenario is a function of a rig; what it returns is what the report shows.

mod access;
mod bring_up;
mod closing;
mod delivery;
mod device_process;
mod saving;
mod storm;

use super::configuration::{Configuration, Delivery, Extent};
use super::rig::Rig;
use super::verdict::Failure;

/// A scenario: its name, and what does it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Rig) -> Result<String, Failure>,
}

const fn scenario(name: &'static str, run: fn(&Rig) -> Result<String, Failure>) -> Scenario {
    Scenario { name, run }
}

/// The scenarios of a configuration, in order.
pub(crate) fn of(
    configuration: &Configuration,
    extent: Extent,
) -> impl Iterator<Item = &'static Scenario> {
    let of_every_delivery = match extent {
        Extent::Everything => EVERYTHING,
        Extent::Delivery => DELIVERY,
    };
    let of_this = match configuration.delivery {
        Delivery::DeviceProcess => DEVICE_PROCESS,
        Delivery::Signal | Delivery::Irqfd | Delivery::Host => &[],
    };
    of_every_delivery.iter().chain(of_this)
}

const DELIVERY: &[Scenario] = &[
    scenario("enumerate", bring_up::enumerate),
    scenario("deliver-every-entry", delivery::every_entry),
    scenario("function-mask", closing::function_mask),
    scenario("reset", bring_up::reset),
];

const EVERYTHING: &[Scenario] = &[
    scenario("enumerate", bring_up::enumerate),
    scenario("deliver-every-entry", delivery::every_entry),
    scenario("handshake", delivery::handshake),
    scenario("mask-pending-unmask", closing::mask),
    scenario("function-mask", closing::function_mask),
    scenario("first-unmask-while-pending", closing::first_unmask_while_pending),
    scenario("unmask-under-function-mask", closing::unmask_under_function_mask),
    scenario("poll-pba-masked-for-ever", closing::poll_pba),
    scenario("disable-enable", closing::disable_enable),
    scenario("bus-master-off-on", closing::bus_master),
    scenario("non-doorbell", closing::non_doorbell),
    scenario("reset", bring_up::reset),
    scenario("save-and-restore", saving::save_and_restore),
    scenario("control-as-dword", access::control_as_dword),
    scenario("odd-accesses", access::odd_accesses),
    scenario("affinity-under-storm", storm::affinity),
    scenario("masks-under-storm", storm::masks),
];

const DEVICE_PROCESS: &[Scenario] = &[
    scenario("device-process-confined", device_process::confined),
    scenario("device-process-killed", device_process::killed),
];
