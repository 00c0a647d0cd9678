//! All of a machine but its memory.

use kvm_bindings::kvm_cpuid_entry2;
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vm_pci_config::PciConfigStateV1;
use vm_superio::SerialState;

use super::SnapshotError;
use crate::boot::MOST_CPUS;
use crate::boot::cpuid;
use crate::boot::devices::Plugged;
use crate::boot::error::BootError;
use crate::boot::machine::Machine;
use crate::boot::serial::SerialStateV1;
use crate::kvm_state::{SharedState, VcpuState};

/// A machine as it travels.
#[derive(Serialize, Deserialize)]
pub(in crate::boot) struct MachineState {
    /// Bytes of RAM.
    pub(in crate::boot) memory: u64,
    cpu_kind: CpuKind,
    shared: SharedState,
    vcpus: Vec<VcpuState>,
    #[serde(with = "SerialStateV1")]
    pub(in crate::boot) serial: SerialState,
    bridge: PciConfigStateV1,
    /// What the guest selected by port 0xCF8.
    selected: u32,
    devices: Vec<DeviceState>,
}

/// A device in its slot, and its own state.
#[derive(Serialize, Deserialize)]
struct DeviceState {
    name: String,
    vectors: u16,
    state: ByteBuf,
}

/// What the guest was told of its CPUs, and acts upon: leaves of CPUID, each function, index, and EAX to EDX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::boot) struct CpuKind(Vec<[u32; 6]>);

/// As many as a bus has slots for.
const MOST_DEVICES: usize = 31;

/// Vendor and model, features, what XSAVE saves, KVM's features.
const KIND: [u32; 6] = [0, 1, 7, 0xd, 0x4000_0001, 0x8000_0001];

impl MachineState {
    /// Stops devices and reads everything; the CPUs, which are these, have stopped. The machine does not run again.
    pub(super) fn save(machine: &Machine, cpus: &[VcpuFd]) -> Result<Self, BootError> {
        let Machine { vm, serial, bridge, bus, devices } = machine;
        let kvm = open()?;
        devices.iter().for_each(|plugged| plugged.device.pause());
        let saved = devices.iter().map(DeviceState::save).collect::<Result<_, _>>()?;
        let pins: Vec<_> = devices.iter().map(|plugged| plugged.pin.clone()).collect();
        // While its interrupt still has a way: what is typed later is not the guest's any more.
        let serial = serial.save();
        vm.close(&pins)?;
        let vcpus = cpus.iter().map(|cpu| VcpuState::save(&kvm, cpu));
        Ok(Self {
            memory: vm.memory.iter().map(|region| region.len()).sum(),
            cpu_kind: CpuKind::here(cpus.len() as u32)?,
            vcpus: vcpus.collect::<Result<_, _>>()?,
            shared: SharedState::save(&vm.fd)?,
            serial,
            bridge: bridge.save(),
            selected: bus.selected(),
            devices: saved,
        })
    }

    /// How many CPUs it has.
    pub(in crate::boot) fn cpus(&self) -> Result<u32, BootError> {
        let cpus = u32::try_from(self.vcpus.len()).unwrap_or(u32::MAX);
        let possible = (1..=MOST_CPUS).contains(&cpus);
        possible.then_some(cpus).ok_or(BootError::Cpus { cpus, max: MOST_CPUS })
    }

    /// Whether CPUs and devices here are like those that were saved.
    pub(in crate::boot) fn check(
        &self,
        cpus: &CpuKind,
        devices: &[Plugged],
    ) -> Result<(), SnapshotError> {
        if *cpus != self.cpu_kind {
            return Err(SnapshotError::OtherCpus);
        }
        let saved = list(self.devices.iter().map(|saved| (saved.name.as_str(), saved.vectors)));
        let here = list(devices.iter().map(|plugged| (plugged.name, plugged.vectors)));
        if saved == here { Ok(()) } else { Err(SnapshotError::OtherDevices { saved, here }) }
    }

    /// Puts everything into a new machine, whose memory is there already and which has been [checked](Self::check).
    /// Its devices go on as soon as there are local APICs for their messages; its CPUs do not.
    pub(in crate::boot) fn restore(&self, machine: &Machine) -> Result<(), BootError> {
        let Self {
            memory: _,
            cpu_kind: _,
            shared,
            vcpus,
            serial: _,
            bridge,
            selected,
            devices: saved,
        } = self;
        let Machine { vm, serial: _, bridge: new_bridge, bus, devices } = machine;
        let kvm = open()?;
        shared.restore(&vm.fd)?;
        vcpus.iter().zip(&vm.cpus).try_for_each(|(saved, cpu)| saved.restore(&kvm, cpu))?;
        new_bridge.restore(bridge).map_err(|error| BootError::device("host bridge", error))?;
        bus.select(*selected);
        for (plugged, saved) in devices.iter().zip(saved) {
            let restored = plugged.device.restore(&saved.state);
            restored.map_err(|source| BootError::Device { name: plugged.name, source })?;
        }
        devices.iter().for_each(|plugged| plugged.device.resume());
        Ok(())
    }
}

impl DeviceState {
    fn save(plugged: &Plugged) -> Result<Self, BootError> {
        let state = plugged.device.save();
        let state = state.map_err(|error| BootError::device(plugged.name, error))?;
        let (name, vectors) = (plugged.name.into(), plugged.vectors);
        Ok(Self { name, vectors, state: ByteBuf::from(state) })
    }
}

impl CpuKind {
    /// Of this host, for a guest of so many CPUs.
    pub(in crate::boot) fn here(cpus: u32) -> Result<Self, BootError> {
        let cpuid = cpuid::of_cpu(&open()?, 0, cpus)?;
        let leaves = cpuid.as_slice().iter().filter(|leaf| KIND.contains(&leaf.function));
        let registers = |leaf: &kvm_cpuid_entry2| {
            [leaf.function, leaf.index, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
        };
        Ok(Self(leaves.map(registers).collect()))
    }
}

fn open() -> Result<Kvm, BootError> {
    Kvm::new().map_err(|error| BootError::NoKvm { source: error.into() })
}

/// What devices there are, as a user would say it.
fn list<'a>(devices: impl Iterator<Item = (&'a str, u16)>) -> String {
    // They may be of a file that says anything.
    let devices = devices.take(MOST_DEVICES).map(|(name, vectors)| {
        let name: String = name.chars().take(32).collect();
        format!("{} with {vectors} vectors", name.escape_debug())
    });
    let list = devices.collect::<Vec<_>>().join(", ");
    if list.is_empty() { "none".into() } else { list }
}
