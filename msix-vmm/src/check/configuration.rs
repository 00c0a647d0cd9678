//! What is run on what: the combinations of machine, delivery, APIC and number of vectors.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::machine::kvm::ApicMode;

/// How interrupts get from the device to the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    /// KVM, the latch in memory and `KVM_SIGNAL_MSI`; x86's APIC in this mode.
    Signal,
    /// KVM, an eventfd for every vector, written by a producer that knows nothing of MSI-X.
    Irqfd,
    /// KVM, an eventfd for every vector, written by the device process that has the registers and the latches.
    #[value(skip)]
    DeviceProcess,
    /// No KVM: a function call.
    #[value(skip)]
    Host,
}

/// What runs the guest, and where the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// KVM, and the device in the VMM.
    Kvm,
    /// KVM, and the device in a process of its own.
    DeviceProcess,
    /// No KVM.
    Host,
}

/// One machine to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    pub(crate) delivery: Delivery,
    pub(crate) apic: ApicMode,
    pub(crate) cpus: usize,
    pub(crate) vectors: u16,
}

/// Which scenarios a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of them.
    Everything,
    /// Delivery on every vector.
    Delivery,
}

/// Numbers of vectors when the user asks for none: the extremes, and one QWORD of the PBA.
const VECTORS: [u16; 3] = [1, 64, 2048];
/// The number that runs everything.
const EVERYTHING: u16 = 64;

impl Setting {
    /// What the report calls the machine.
    pub(crate) fn machine(self) -> &'static str {
        match self {
            Self::Kvm | Self::DeviceProcess => "kvm",
            Self::Host => "host",
        }
    }
}

impl Configuration {
    /// All that a check in this setting does.
    pub(crate) fn all(setting: Setting, vectors: Option<u16>) -> Vec<(Self, Extent)> {
        let kinds: &[_] = match setting {
            Setting::Kvm => &[
                (Delivery::Signal, ApicMode::Xapic),
                (Delivery::Signal, ApicMode::X2apic),
                (Delivery::Irqfd, ApicMode::Xapic),
                (Delivery::Irqfd, ApicMode::X2apic),
            ],
            Setting::DeviceProcess => &[
                (Delivery::DeviceProcess, ApicMode::Xapic),
                (Delivery::DeviceProcess, ApicMode::X2apic),
            ],
            Setting::Host => &[(Delivery::Host, ApicMode::Xapic)],
        };
        let sizes = vectors.map_or(VECTORS.to_vec(), |vectors| vec![vectors]);
        let mut all = Vec::new();
        for &(delivery, apic) in kinds {
            for &vectors in &sizes {
                let everything = sizes.len() == 1 || vectors == EVERYTHING;
                let extent = if everything { Extent::Everything } else { Extent::Delivery };
                let cpus = if extent == Extent::Everything { 2 } else { 1 };
                all.push((Self { delivery, apic, cpus, vectors }, extent));
            }
        }
        all
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivery, apic, cpus, vectors } = self;
        match delivery {
            Delivery::Signal => write!(f, "signal, {apic}")?,
            Delivery::Irqfd => write!(f, "irqfd, {apic}")?,
            Delivery::DeviceProcess => write!(f, "device process, {apic}")?,
            Delivery::Host => write!(f, "in process")?,
        }
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        write!(f, ", {cpus} CPU{}, {vectors} vector{}", plural(*cpus), plural((*vectors).into()))
    }
}
