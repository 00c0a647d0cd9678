//! The transport and the devices, as a driver sees them: by configuration space, BARs and guest memory.

mod devices;
pub(crate) mod driver;
mod hostile;
mod in_flight;
mod intx;
mod masks;
mod negotiation;
mod rig;
mod saving;
mod vectors;
mod window;
