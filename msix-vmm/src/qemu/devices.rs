//! The devices of QEMU that we are compared with.

/// A device, as QEMU's command line has it.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: &'static str,
    /// Options of the device.
    options: &'static str,
    /// What it needs beside it.
    needs: &'static [&'static str],
    /// How many vectors it must show.
    pub(super) vectors: u16,
    pub(super) signals: Signals,
    /// Its share of the operations.
    pub(super) share: u64,
}

/// Whether vectors can be signalled from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signals {
    /// By the eventfds of an ivshmem server.
    Ivshmem,
    /// Not at all: only its registers are compared.
    No,
}

/// The bus that the device is on: behind a bridge, so that the guest can reset it without the rest of the machine.
pub(super) const BRIDGE_SLOT: u8 = 0x10;
/// Where on that bus.
pub(super) const DEVICE_SLOT: u8 = 1;
/// The doorbell that counts is on the root bus.
pub(super) const DOORBELL_SLOT: u8 = 0x11;
/// Sockets that QEMU connects to, in its working directory.
pub(super) const QTEST_SOCKET: &str = "qtest";
pub(super) const VECTORS_SOCKET: &str = "vectors";
pub(super) const BELLS_SOCKET: &str = "bells";

/// Those whose registers differ in table, PBA, BAR and place of the capability; the first has the signals.
pub(super) const DEVICES: [Device; 7] = [
    Device {
        name: "ivshmem-doorbell",
        options: "chardev=vectors,vectors=67",
        needs: &["-chardev", "socket,id=vectors,path=vectors"],
        vectors: 67,
        signals: Signals::Ivshmem,
        share: 10,
    },
    Device { name: "virtio-rng-pci", options: "vectors=1", vectors: 1, ..REGISTERS },
    Device { name: "virtio-net-pci", options: "vectors=33", vectors: 33, ..REGISTERS },
    Device { name: "virtio-serial-pci", options: "vectors=2048", vectors: 2048, ..REGISTERS },
    Device {
        name: "nvme",
        options: "serial=1,drive=disk",
        needs: &["-drive", "if=none,id=disk,driver=null-co,read-zeroes=on"],
        vectors: 65,
        ..REGISTERS
    },
    Device { name: "nec-usb-xhci", options: "msix=on", vectors: 16, ..REGISTERS },
    Device { name: "e1000e", options: "", vectors: 5, ..REGISTERS },
];

const REGISTERS: Device =
    Device { name: "", options: "", needs: &[], vectors: 0, signals: Signals::No, share: 1 };

impl Device {
    /// QEMU's arguments for a machine with this device and nothing else.
    pub(super) fn arguments(&self) -> Vec<String> {
        let machine = "-machine q35 -accel tcg -m 64 -S -display none -nodefaults -qtest-log none";
        let mut arguments: Vec<_> = machine.split(' ').map(String::from).collect();
        let mut push = |option: &str, value: String| {
            arguments.extend([option.to_owned(), value]);
        };
        push("-qtest", format!("unix:{QTEST_SOCKET}"));
        push("-device", format!("pci-bridge,id=under,chassis_nr=1,shpc=off,addr={BRIDGE_SLOT:#x}"));
        if self.signals == Signals::Ivshmem {
            push("-chardev", format!("socket,id=bells,path={BELLS_SOCKET}"));
            let bells = super::board::BELLS;
            let doorbell = format!("ivshmem-doorbell,chardev=bells,vectors={bells}");
            push("-device", format!("{doorbell},addr={DOORBELL_SLOT:#x}"));
        }
        for pair in self.needs.chunks(2) {
            arguments.extend(pair.iter().map(|argument| String::from(*argument)));
        }
        let comma = if self.options.is_empty() { "" } else { "," };
        let Self { name, options, .. } = self;
        let device = format!("{name}{comma}{options},bus=under,addr={DEVICE_SLOT:#x}");
        arguments.extend(["-device".to_owned(), device]);
        arguments
    }
}
