//! A device and a backend, by KVM's irqfds. The backend speaks the protocol by its specification, and well or badly as it is told.

mod backend;
mod calls;
mod hostile;
mod life;
mod pin;
mod rig;
mod signals;
