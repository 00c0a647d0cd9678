//! How a guest addresses configuration space: ports (PCI Local Bus 3.0, 3.2.2.3.2) and memory (PCIe Base 7.2.2).

use vm_pci_config::{
    ConfigAccess, ConfigPorts, EcamWindow, Identity, PciConfigError, PciConfigSpace, PciFunction,
};

fn function(bus: u8, device: u8, function: u8) -> PciFunction {
    PciFunction::new(bus, device, function).unwrap()
}

fn read(ports: &ConfigPorts, port: u16, len: usize) -> (Option<ConfigAccess>, Vec<u8>) {
    let mut data = vec![0xaa; len];
    (ports.read(port, &mut data), data)
}

/// Ports with this address, written as a guest does.
fn selected(address: u32) -> ConfigPorts {
    let mut ports = ConfigPorts::new();
    assert_eq!(ports.write(0xcf8, &address.to_le_bytes()), None);
    ports
}

#[test]
fn the_probe_of_linux_finds_mechanism_1() {
    // pci_check_type1: a byte to 0xCFB, then 0x80000000 must read back.
    let mut ports = ConfigPorts::new();
    assert_eq!(ports.write(0xcfb, &[0x01]), None);
    assert_eq!(ports.write(0xcf8, &0x8000_0000_u32.to_le_bytes()), None);
    assert_eq!(read(&ports, 0xcf8, 4), (None, vec![0x00, 0x00, 0x00, 0x80]));
}

#[test]
fn address_register_keeps_enable_bus_device_function_and_register() {
    let ports = selected(0xffff_ffff);
    assert_eq!(ports.address(), 0x80ff_fffc);
    assert_eq!(read(&ports, 0xcf8, 4).1, [0xfc, 0xff, 0xff, 0x80]);
}

#[test]
fn only_a_dword_at_cf8_is_the_address_register() {
    let mut ports = selected(0x8000_1234);
    for port in 0xcf8..0xcfc {
        for len in 0..=9 {
            if (port, len) == (0xcf8, 4) {
                continue;
            }
            // 0xCF9 is a chipset's reset control.
            assert_eq!(ports.write(port, &vec![0xff; len]), None, "{port:#x} {len}");
            assert_eq!(read(&ports, port, len), (None, vec![0xff; len]), "{port:#x} {len}");
        }
    }
    assert_eq!(ports.address(), 0x8000_1234);
}

#[test]
fn the_data_window_is_the_selected_dword() {
    // Bus 0x12, device 0x1f, function 5, register 0x48.
    let mut ports = selected(0x8012_fd48);
    for lane in 0..4 {
        for len in 0..=9 {
            let inside = [1, 2, 4].contains(&len) && usize::from(lane) + len <= 4;
            let expected = inside
                .then(|| ConfigAccess { function: function(0x12, 0x1f, 5), offset: 0x48 + lane });
            let port = 0xcfc + lane;
            assert_eq!(read(&ports, port, len), (expected, vec![0xff; len]), "{port:#x} {len}");
            assert_eq!(ports.write(port, &vec![0; len]), expected, "{port:#x} {len}");
        }
    }
    assert_eq!(ports.address(), 0x8012_fd48);
}

#[test]
fn without_enable_nobody_answers() {
    let mut ports = selected(0x0012_fd48);
    assert_eq!(read(&ports, 0xcfc, 4), (None, vec![0xff; 4]));
    assert_eq!(ports.write(0xcfc, &[0; 4]), None);
    assert_eq!(read(&ConfigPorts::new(), 0xcfc, 1).0, None);
}

#[test]
fn no_port_and_no_length_panics() {
    let mut ports = selected(0x8000_0000);
    for port in (0..=0x0d10).chain([0xfffc, 0xffff]) {
        for len in 0..=9 {
            let (access, _) = read(&ports, port, len);
            assert_eq!(access.is_some(), ports.write(port, &vec![0; len]).is_some());
            if !(0xcfc..=0xcff).contains(&port) {
                assert_eq!(access, None);
            }
            ports = selected(0x8000_0000);
        }
    }
}

#[test]
fn base_7_2_2_ecam_address_bits() {
    let window = EcamWindow::new(2).unwrap();
    assert_eq!(window.size(), 0x20_0000);
    for (offset, bdf, register) in [
        (0x00_0000, (0, 0, 0), 0x000),
        (0x00_0fff, (0, 0, 0), 0xfff),
        (0x00_1000, (0, 0, 1), 0x000),
        (0x00_7044, (0, 0, 7), 0x044),
        (0x00_8000, (0, 1, 0), 0x000),
        (0x0f_f100, (0, 31, 7), 0x100),
        (0x10_0004, (1, 0, 0), 0x004),
        (0x1f_ffff, (1, 31, 7), 0xfff),
    ] {
        let expected = ConfigAccess { function: function(bdf.0, bdf.1, bdf.2), offset: register };
        assert_eq!(window.decode(offset), Some(expected), "{offset:#x}");
    }
    for offset in [0x20_0000, 0x1_0000_0000, u64::MAX] {
        assert_eq!(window.decode(offset), None);
    }
    let all = EcamWindow::new(256).unwrap();
    assert_eq!(all.decode(0x0fff_ffff).unwrap().function, function(255, 31, 7));
    assert_eq!(all.decode(0x1000_0000), None);
}

#[test]
fn a_window_has_1_to_256_buses() {
    for buses in [0, 257, u16::MAX] {
        assert_eq!(EcamWindow::new(buses), Err(PciConfigError::BusCountOutOfRange { buses }));
    }
}

#[test]
fn function_numbers_are_checked_and_printed() {
    assert_eq!(function(0, 3, 0).to_string(), "00:03.0");
    assert_eq!(function(0xab, 0x1f, 7).to_string(), "ab:1f.7");
    assert_eq!(format!("{:?}", function(0, 3, 1)), "PciFunction(00:03.1)");
    assert_eq!(PciFunction::new(0, 32, 0), Err(PciConfigError::DeviceOutOfRange { device: 32 }));
    assert_eq!(PciFunction::new(0, 0, 8), Err(PciConfigError::FunctionOutOfRange { function: 8 }));
    for id in 0..=u16::MAX {
        let it = PciFunction::from_requester_id(id);
        assert_eq!(PciFunction::new(it.bus(), it.device(), it.function()), Ok(it));
        assert_eq!(it.requester_id(), id);
    }
}

#[test]
fn both_mechanisms_reach_the_same_register() {
    let mut space = PciConfigSpace::new(Identity::new(0x8086, 0x1237)).unwrap();
    let mut ports = selected(0x8000_183c);
    let by_port = ports.write(0xcfc, &[0x0a]).unwrap();
    let _ = space.write(by_port.offset, &[0x0a]);

    let by_memory = EcamWindow::new(1).unwrap().decode(0x1_803c).unwrap();
    assert_eq!(by_memory, by_port);
    let mut line = [0];
    space.read(by_memory.offset, &mut line);
    assert_eq!(line, [0x0a]);
}
