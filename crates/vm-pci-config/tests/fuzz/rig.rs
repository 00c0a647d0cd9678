//! A real configuration space and the ways to it, driven by the operations that drive the chip, and compared with it.

use vm_pci_config::{
    AddressSpace, BarAddress, BarIndex, ConfigAccess, ConfigPorts, EcamWindow, Identity,
    InterruptStatus, PciConfigSpace, PciConfigStateV1, PciFunction, StatusError, WriteOutcome,
};

use super::chip::{self, Chip, Placed};
use super::device::{Device, Heard};
use super::ops::{CapabilitySpec, Op};

const VENDOR: u16 = 0x1af4;
const DEVICE: u16 = 0x1041;
const PCI_ID: u32 = 0x1041_1af4;

/// Buses of the ECAM window.
const BUSES: u16 = 3;

/// A state, and the bytes of the chip when it was saved.
type Saved = (PciConfigStateV1, [u8; 256]);

pub(super) struct Rig {
    space: PciConfigSpace,
    ports: ConfigPorts,
    chip: Chip,
    devices: Vec<Device>,
    saved: Option<Saved>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self {
            space: PciConfigSpace::new(Identity::new(VENDOR, DEVICE)).unwrap(),
            ports: ConfigPorts::new(),
            chip: Chip::new(PCI_ID),
            devices: Vec::new(),
            saved: None,
        }
    }

    pub(super) fn run(&mut self, op: &Op) {
        match *op {
            Op::AddBar(mut spec) => {
                spec.index %= 6;
                let index = BarIndex::try_from(spec.index).unwrap();
                let added = self.space.add_bar(index, spec.bar());
                assert_eq!(added.is_ok(), self.chip.add_bar(spec), "{spec:x?}: {added:?}");
            }
            Op::AddCapability(ref spec) => self.add_capability(spec),
            Op::Read(offset, len) => self.read(near(offset), usize::from(len % 9)),
            Op::Write(offset, ref data) => self.write(near(offset), data),
            Op::Ports(address, port, ref data) => self.by_ports(address, port, data),
            Op::Ecam(offset, ref data) => self.by_memory(offset, data),
            Op::Size(bar) => self.size(usize::from(bar % 6)),
            Op::Place(bar, address) => self.place(usize::from(bar % 6), address),
            Op::Decode(address, len) => self.decode(address, len.into()),
            Op::Device { device, register, data, mask } => {
                self.device(device.into(), register.into(), data, mask);
            }
            Op::Reset => {
                let before = self.chip.clone();
                self.chip.reset();
                let outcome = self.space.reset();
                self.told(&before, outcome, &[]);
            }
            Op::Save => self.saved = Some((self.space.snapshot(), self.chip.save())),
            Op::Restore => {
                if let Some((state, bytes)) = self.saved.clone() {
                    self.restore(&state, &bytes);
                }
            }
            Op::Forge { register, bits, pci_id } => self.forge(register.into(), bits, pci_id),
            Op::Error => {
                self.space.set_status_error(StatusError::ReceivedMasterAbort);
                self.chip.stored[7] |= 0x20;
            }
            Op::Interrupt(pending) => {
                let status =
                    if pending { InterruptStatus::Pending } else { InterruptStatus::Clear };
                self.space.set_interrupt_status(status);
                self.chip.stored[6] = self.chip.stored[6] & !0x08 | u8::from(pending) << 3;
            }
        }
    }

    /// Every byte and every BAR is as the chip has it.
    pub(super) fn compare(&self, op: &Op) {
        for offset in (0..256).step_by(4) {
            let mut data = [0xa5; 4];
            self.space.read(offset, &mut data);
            assert_eq!(data[..], self.chip.read(offset, 4), "{offset:#x} after {op:x?}");
        }
        let decoded = self.chip.decoded();
        let plain = |bar: BarAddress| {
            let first = u128::from(bar.start());
            let size = u128::from(bar.last()) - first + 1;
            assert_eq!(u128::from(bar.size()), size);
            Placed { io: bar.space() == AddressSpace::Io, first, size }
        };
        assert_eq!(BarIndex::ALL.map(|index| self.space.bar(index).map(plain)), decoded, "{op:x?}");
        for bar in decoded.into_iter().flatten() {
            let first = u64::try_from(bar.first).unwrap();
            let last = u64::try_from(bar.first + bar.size - 1).unwrap();
            for address in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                self.decode(address, 1);
                self.decode(address, 4);
            }
        }
    }

    fn add_capability(&mut self, spec: &CapabilitySpec) {
        let capability = spec.capability();
        let device = spec.live.map(chip::device);
        let added = match device.clone() {
            None => self.space.add_capability(&capability),
            Some(device) => self.space.add_capability_with_config(&capability, Box::new(device)),
        };
        let expected = self.chip.add_capability(spec);
        assert_eq!(added.ok().map(usize::from), expected, "{spec:x?}: {added:?}");
        self.devices.extend(device.filter(|_| added.is_ok()));
    }

    fn read(&self, offset: u16, len: usize) {
        let mut data = vec![0xa5; len];
        self.space.read(offset, &mut data);
        assert_eq!(data, self.chip.read(offset, len), "{len} bytes at {offset:#x}");
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        let before = self.chip.clone();
        let heard = self.chip.write(offset, data);
        let outcome = self.space.write(offset, data);
        self.told(&before, outcome, &heard);
    }

    /// Of a write or a reset the VMM is told what became different in the chip.
    fn told(&self, before: &Chip, outcome: WriteOutcome, heard: &[Heard]) {
        let (old, new) = (before.command(), self.chip.command());
        let command = outcome.command.map(|change| (change.before.bits(), change.after.bits()));
        assert_eq!(command, (old != new).then_some((old, new)));
        let moved = before.decoded().into_iter().zip(self.chip.decoded());
        let moved = (0..).zip(moved).filter(|(_, (old, new))| old != new);
        let first = |bar: BarAddress| u128::from(bar.start());
        let told: Vec<_> = outcome
            .bars
            .iter()
            .map(|bar| (bar.index.number(), bar.before.map(first), bar.after.map(first)))
            .collect();
        let expected: Vec<_> = moved
            .map(|(at, (old, new))| (at, old.map(|bar| bar.first), new.map(|bar| bar.first)))
            .collect();
        assert_eq!(told, expected);
        let results = outcome.capabilities.into_iter();
        let results: Vec<Heard> = results.map(|of| *of.result.downcast().unwrap()).collect();
        assert_eq!(results, heard);
    }

    fn by_ports(&mut self, address: u32, port: u16, data: &[u8]) {
        let port = 0xcf0 + port % 32;
        assert_eq!(self.ports.write(0xcf8, &address.to_le_bytes()), None);
        let selected = self.ports.write(port, data);
        let mut answer = vec![0xa5; data.len()];
        let asked = self.ports.read(port, &mut answer);
        // A DWORD at 0xCF8 selects anew.
        let address = match <[u8; 4]>::try_from(data) {
            Ok(bytes) if port == 0xcf8 => u32::from_le_bytes(bytes),
            _ => address,
        };
        let lane = port.wrapping_sub(0xcfc);
        let inside =
            lane < 4 && [1, 2, 4].contains(&data.len()) && usize::from(lane) + data.len() <= 4;
        let [register, function, bus, enable] = address.to_le_bytes();
        let expected = (inside && enable >= 0x80).then(|| ConfigAccess {
            function: PciFunction::new(bus, function / 8, function % 8).unwrap(),
            offset: u16::from(register) / 4 * 4 + lane,
        });
        assert_eq!((selected, asked), (expected, expected), "{address:#x} {port:#x} {data:x?}");
        match expected {
            Some(access) => self.access(access, data),
            None if (port, data.len()) == (0xcf8, 4) => {
                assert_eq!(answer, (address & 0x80ff_fffc).to_le_bytes());
            }
            None => assert!(answer.iter().all(|byte| *byte == 0xff)),
        }
    }

    fn by_memory(&mut self, offset: u64, data: &[u8]) {
        let access = EcamWindow::new(BUSES).unwrap().decode(offset);
        let expected = (offset / 0x10_0000 < BUSES.into()).then(|| {
            let [bus, device, function] = [(offset >> 20), offset >> 15 & 31, offset >> 12 & 7]
                .map(|number| u8::try_from(number).unwrap());
            let function = PciFunction::new(bus, device, function).unwrap();
            ConfigAccess { function, offset: (offset % 0x1000).try_into().unwrap() }
        });
        assert_eq!(access, expected, "{offset:#x}");
        if let Some(access) = access {
            self.access(access, data);
        }
    }

    /// The function is 00:00.0; others are not there.
    fn access(&mut self, access: ConfigAccess, data: &[u8]) {
        if access.function == PciFunction::new(0, 0, 0).unwrap() {
            self.write(access.offset, data);
            self.read(access.offset, data.len());
        }
    }

    fn size(&mut self, bar: usize) {
        let Some((sized, len)) = self.chip.sized(bar) else { return };
        self.place(bar, u64::MAX);
        let mut data = [0; 8];
        for (offset, dword) in (bar_offset(bar)..).step_by(4).zip(data[..len].chunks_mut(4)) {
            self.space.read(offset, dword);
        }
        assert_eq!(data[..len], sized.to_le_bytes()[..len], "BAR {bar}");
    }

    /// Both DWORDs, of which the other one can be another BAR.
    fn place(&mut self, bar: usize, address: u64) {
        let [a, b, c, d, high @ ..] = address.to_le_bytes();
        self.write(bar_offset(bar), &[a, b, c, d]);
        self.write(bar_offset(bar) + 4, &high);
    }

    fn decode(&self, address: u64, len: usize) {
        let plain = |hit: vm_pci_config::BarHit| (hit.index.number().into(), hit.offset.into());
        let hit = self.space.decode_memory(address, len).map(plain);
        assert_eq!(hit, self.chip.hit(false, address, len), "{len} bytes at {address:#x}");
        let Ok(port) = u32::try_from(address) else { return };
        let hit = self.space.decode_io(port, len).map(plain);
        assert_eq!(hit, self.chip.hit(true, address, len), "{len} bytes at port {port:#x}");
    }

    /// A device can set anything in its own capability, but for ID and link.
    fn device(&mut self, device: usize, register: usize, data: u32, mask: u32) {
        let (Some(device), Some(live)) = (self.devices.get(device), self.chip.live.get(device))
        else {
            return;
        };
        let at = live.first + 4 * register;
        let set = device.mapping().set_reg(register, data, mask);
        assert_eq!(set.is_ok(), at < live.end, "register {register}");
        if set.is_err() {
            return;
        }
        let header = if register == 0 { 2 } else { 0 };
        for lane in header..4 {
            let (data, mask) = (data.to_le_bytes()[lane], mask.to_le_bytes()[lane]);
            self.chip.stored[at + lane] = self.chip.stored[at + lane] & !mask | data & mask;
        }
    }

    /// What is, with some bits changed.
    fn forge(&mut self, register: usize, bits: u32, pci_id: u32) {
        let (register, mut state, mut bytes) =
            (register % 64, self.space.snapshot(), self.chip.save());
        state.pci_id ^= pci_id;
        state.registers.as_flattened_mut()[register] ^= bits;
        for (byte, bits) in bytes[4 * register..].iter_mut().zip(bits.to_le_bytes()) {
            *byte ^= bits;
        }
        self.restore(&state, &bytes);
    }

    /// A state is taken whole or refused whole.
    fn restore(&mut self, state: &PciConfigStateV1, bytes: &[u8; 256]) {
        let saved: Vec<u8> =
            state.registers.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(saved, bytes);
        let before = self.chip.clone();
        let taken = state.pci_id == PCI_ID && self.chip.restore(bytes);
        match self.space.restore(state) {
            Ok(outcome) => {
                assert!(taken, "{state:x?}");
                self.told(&before, outcome, &[]);
            }
            Err(error) => assert!(!taken, "{error}"),
        }
    }
}

/// Mostly in the first 256 bytes, where something is.
fn near(offset: u16) -> u16 {
    if offset < 0x8000 { offset % 0x108 } else { offset }
}

fn bar_offset(bar: usize) -> u16 {
    (0x10 + 4 * bar).try_into().unwrap()
}
