//! The device in a process of its own, which can do nothing but its work.
//!
//! The VMM starts this program again, as the device, and leaves it four sockets: one for its interrupts, which vm-msix-tube
//! speaks; one for register accesses and what else a device is asked; and two by which the VMM has it signal. So
//! signals and register accesses meet in the device process as they would in any device that has threads of its own.
//!
//! Before it serves anything it locks itself in: [`confinement`] says how.

mod child;
mod confinement;
mod process;
mod protocol;

pub(crate) use child::run;
pub(crate) use confinement::Forbidden;
pub(crate) use process::{DeviceProcess, StartError};
pub(crate) use protocol::{Counted, Request};
