//! The guest finds its device.

use super::fake::{Config, SLOT};
use super::*;
use crate::machine::{
    Bar, BarKind, EnumerateRequest, Enumeration, MachineError, MsixCapability, TableLocation,
    Window,
};

const REQUEST: EnumerateRequest = EnumerateRequest {
    vendor: 0x1234,
    device: 0x5678,
    window: Window { base: 0xc000_0800, end: 0xc003_0000 },
};

#[test]
fn the_device_is_found_and_set_up() {
    let bar = |kind, base, size| Some(Bar { kind, base, size });
    let expected = Enumeration {
        slot: SLOT as u8,
        bars: [
            bar(BarKind::Memory32, 0xc000_1000, 0x1000),
            bar(BarKind::Io, 0xc000, 0x20),
            bar(BarKind::Memory64, 0xc001_0000, 0x1_0000),
            None,
            None,
            bar(BarKind::Memory32, 0xc002_0000, 0x400),
        ],
        msix: MsixCapability {
            offset: 0x50,
            message_control: 0x07ff,
            table: TableLocation { bir: 2, offset: 0 },
            pba: TableLocation { bir: 2, offset: 0x8000 },
        },
    };
    for rig in Rig::all(2, &Config::device()) {
        for cpu in 0..2 {
            let found = rig.machine.enumerate(cpu, &REQUEST).unwrap();
            assert_eq!(found, expected, "{}", rig.machine.describe());
            assert_eq!(found.msix.vectors(), 2048);
            assert_eq!(found.table_address(), 0xc001_0000);
            assert_eq!(found.pba_address(), 0xc001_8000);
            let registers = [0x04, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map(|at| rig.bus.config(at));
            let expected = [0x0010_0006, 0xc000_1000, 0x0000_c001, 0xc001_000c, 0, 0, 0xc002_0000];
            assert_eq!(registers, expected);
        }
    }
}

#[test]
fn all_machines_make_the_same_accesses() {
    let records = Rig::all(1, &Config::device()).into_iter().map(|rig| {
        rig.machine.enumerate(0, &REQUEST).unwrap();
        rig.bus.take_seen()
    });
    let records: Vec<_> = records.collect();
    assert!(records.iter().all(|record| *record == records[0]), "{records:x?}");
}

/// Runs an enumeration that must fail on every machine.
fn failures(config: Config, request: EnumerateRequest) -> Vec<MachineError> {
    let fail = |rig: Rig| rig.machine.enumerate(0, &request).unwrap_err();
    Rig::all(1, &config).into_iter().map(fail).collect()
}

#[test]
fn a_device_that_is_not_there() {
    for error in failures(Config::device(), EnumerateRequest { device: 0x5679, ..REQUEST }) {
        let expected =
            matches!(error, MachineError::DeviceNotFound { vendor: 0x1234, device: 0x5679 });
        assert!(expected, "{error}");
    }
}

#[test]
fn bars_that_do_not_fit() {
    for end in [0xc000_0900, 0xc001_0fff, 0xc002_03ff] {
        let window = Window { end, ..REQUEST.window };
        for error in failures(Config::device(), EnumerateRequest { window, ..REQUEST }) {
            assert!(matches!(error, MachineError::WindowFull { .. }), "{error}");
        }
    }
    let mut huge = Config::device();
    huge.set(0x18, 0x0000_000c, 0);
    huge.set(0x1c, 0x0000_0000, 0x8000_0000);
    for error in failures(huge, REQUEST) {
        assert!(matches!(error, MachineError::WindowFull { .. }), "{error}");
    }
}

#[test]
fn capability_lists_without_msix() {
    let mut other = Config::device();
    other.set(0x50, 0x0000_0005, 0);
    let mut low = Config::device();
    low.set(0x40, 0x0000_3c09, 0);
    let mut none = Config::device();
    none.set(0x04, 0, 0);
    for config in [other, low, none] {
        for error in failures(config, REQUEST) {
            assert!(matches!(error, MachineError::NoMsixCapability), "{error}");
        }
    }
    let mut circle = Config::device();
    circle.set(0x50, 0x0000_4005, 0);
    for error in failures(circle, REQUEST) {
        assert!(matches!(error, MachineError::CapabilityLoop), "{error}");
    }
}

#[test]
fn birs_without_a_bar() {
    for bir in [1, 3, 4, 6, 7] {
        let mut config = Config::device();
        config.set(0x58, 0x8000 | bir, 0);
        for error in failures(config, REQUEST) {
            assert!(matches!(error, MachineError::BadBir { .. }), "{error}");
        }
    }
}
