//! A type 0 PCI configuration space for virtual devices.
//!
//! [`PciConfigSpace`] holds the registers of one function: header, Base Address Registers and capability
//! list, with every bit as writable as the specification says (PCIe Base 7.5.1). A VMM describes the function
//! once, hands over the guest's reads and writes, and acts on what a [`WriteOutcome`] says: map this BAR,
//! bus mastering is on, that capability wants something.
//!
//! A capability can be alive: a [`PciCapConfig`] supplies bits when the guest reads, hears of every write, and
//! changes its registers from any thread through a [`PciCapMapping`].
//!
//! How the guest gets here is decoded by [`ConfigPorts`] (ports 0xCF8 and 0xCFC) and [`EcamWindow`] (memory).
//!
//! # Example
//!
//! ```
//! use vm_pci_config::{
//!     Bar, BarIndex, CapabilityId, ClassCode, EcamWindow, Identity, PciConfigError, PciConfigSpace,
//!     PlainCapability, Prefetchable,
//! };
//!
//! # fn main() -> Result<(), PciConfigError> {
//! let identity = Identity::new(0x1b36, 0x0010)
//!     .class(ClassCode { class: 0x01, subclass: 0x08, prog_if: 0x02 });
//! let mut space = PciConfigSpace::new(identity)?;
//! space.add_bar(BarIndex::Bar0, Bar::memory64(0x4000, Prefetchable::No))?;
//! space.add_capability(&PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &[4, 0]))?;
//!
//! // The guest places BAR 0 above 4 GiB and enables memory space, through the ECAM window.
//! let window = EcamWindow::new(1)?;
//! for (address, value) in [(0x10, 0x0000_0000_u32), (0x14, 0x0000_0001), (0x04, 0x0000_0006)] {
//!     let access = window.decode(address).expect("bus 0");
//!     let outcome = space.write(access.offset, &value.to_le_bytes());
//!     for change in outcome.bars {
//!         // unmap change.before, map change.after
//!         assert_eq!(change.after.map(|bar| bar.start()), Some(0x1_0000_0000));
//!     }
//! }
//!
//! assert!(space.bus_master());
//! assert_eq!(space.decode_memory(0x1_0000_3ffc, 4).map(|hit| hit.offset), Some(0x3ffc));
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! The guest is not trusted: no access panics, allocates without bound or leaves `data` unfilled, and a guest
//! cannot change a capability's ID or links. Errors ([`PciConfigError`]) come only from descriptions by the VMM.
//! The crate is `no_std` with `alloc`, without unsafe code, I/O and logging.
//!
//! # Features
//!
//! - `std`: [`PciCapConfig`] for `Arc<Mutex<T>>`, for a device that shares itself with its BAR handler.
//! - `serde`: [`PciConfigStateV1`] can be stored in any format that serde has.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::as_conversions
    )
)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod bar;
mod capability;
mod command;
mod ecam;
mod error;
mod function;
mod identity;
mod list;
mod live;
mod mapping;
mod outcome;
mod ports;
mod registers;
#[cfg(feature = "std")]
mod shared;
mod space;
mod spec;
mod state;

pub use bar::{AddressSpace, Bar, BarAddress, BarChange, BarHit, BarIndex, BarKind, Prefetchable};
pub use capability::{CapabilityId, PciCapability, PlainCapability};
pub use command::{Command, CommandChange, InterruptStatus, StatusError};
pub use ecam::EcamWindow;
pub use error::PciConfigError;
pub use function::{ConfigAccess, PciFunction};
pub use identity::{ClassCode, Identity, InterruptPin};
pub use live::{PciCapConfig, PciCapConfigWriteResult};
pub use mapping::PciCapMapping;
pub use outcome::{CapabilityWrite, WriteOutcome};
pub use ports::ConfigPorts;
pub use space::PciConfigSpace;
pub use state::PciConfigStateV1;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
