//! Accesses arrive as they were made.

use super::fake::{Config, Seen, pattern};
use super::*;
use crate::machine::{Access, MachineError, MaskBit, ProgramTable, Width};

const VALUE: u64 = 0xf1e2_d3c4_b5a6_9788;
const BAR: u64 = 0xc000_0000;

fn low_bytes(width: Width) -> Vec<u8> {
    VALUE.to_le_bytes()[..width.bytes()].to_vec()
}

#[test]
fn every_width_of_mmio() {
    for rig in Rig::all(1, &Config::device()) {
        let mut accesses = Vec::new();
        let mut expected = (Vec::new(), Vec::new());
        for (index, width) in Width::ALL.into_iter().enumerate() {
            // Aligned, and the last bytes below the IOAPIC.
            for address in [BAR + 0x100 * index as u64, 0xfec0_0000 - width.bytes() as u64] {
                accesses.push(Access::MmioRead { address, width });
                expected.0.push(Seen::MmioRead(address, width.bytes()));
                expected.1.push(pattern(address, width));
                accesses.push(Access::MmioWrite { address, width, value: VALUE });
                expected.0.push(Seen::MmioWrite(address, low_bytes(width)));
                expected.1.push(0);
            }
        }
        let results = rig.machine.execute(0, &accesses).unwrap();
        assert_eq!((rig.bus.take_seen(), results), expected, "{}", rig.machine.describe());
    }
}

#[test]
fn every_width_of_ports() {
    for rig in Rig::all(1, &Config::device()) {
        let mut accesses = Vec::new();
        let mut expected = (Vec::new(), Vec::new());
        for width in [Width::Byte, Width::Word, Width::Dword] {
            for port in [0x80, 0xcf8, 0xfff0] {
                accesses.push(Access::IoRead { port, width });
                expected.0.push(Seen::IoRead(port, width.bytes()));
                expected.1.push(pattern(port.into(), width));
            }
            accesses.push(Access::IoWrite { port: 0xfff0, width, value: VALUE as u32 });
            expected.0.push(Seen::IoWrite(0xfff0, low_bytes(width)));
            expected.1.push(0);
        }
        let results = rig.machine.execute(0, &accesses).unwrap();
        assert_eq!((rig.bus.take_seen(), results), expected, "{}", rig.machine.describe());
    }
}

#[test]
fn any_number_of_accesses() {
    for rig in Rig::all(1, &Config::device()) {
        for count in [0, 1, 4095, 4096, 4097, 9000] {
            let addresses = (0..count).map(|index| BAR + 4 * index);
            let width = Width::Dword;
            let accesses: Vec<_> =
                addresses.clone().map(|address| Access::MmioRead { address, width }).collect();
            let expected: Vec<_> = addresses.map(|address| pattern(address, width)).collect();
            assert_eq!(rig.machine.execute(0, &accesses).unwrap(), expected);
            assert_eq!(rig.bus.take_seen().len(), accesses.len());
        }
    }
}

#[test]
fn table_programming() {
    for rig in Rig::all(2, &Config::device()) {
        for (mask, control) in
            [(MaskBit::Keep, None), (MaskBit::Clear, Some(0)), (MaskBit::Set, Some(1))]
        {
            let request = ProgramTable {
                table_address: BAR + 0x2000,
                first_entry: 2000,
                count: 48,
                first_vector: 0x40,
                destination: 1,
                mask,
            };
            rig.machine.program_table(1, &request).unwrap();
            let mut expected = Vec::new();
            for index in 0..48 {
                let entry = BAR + 0x2000 + 16 * (2000 + index);
                let words = [Some(0xfee0_1000), Some(0), Some(0x40 + index as u32), control];
                for (word, value) in words.into_iter().enumerate() {
                    let Some(value): Option<u32> = value else { continue };
                    let address = entry + 4 * word as u64;
                    expected.push(Seen::MmioWrite(address, value.to_le_bytes().to_vec()));
                }
            }
            assert_eq!(rig.bus.take_seen(), expected, "{}", rig.machine.describe());
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for rig in Rig::all(1, &Config::device()) {
        let machine = &rig.machine;
        let qword = [Access::IoRead { port: 0x80, width: Width::Qword }];
        assert!(matches!(machine.execute(0, &qword), Err(MachineError::NoSuchAccess { .. })));
        let report = [Access::IoWrite { port: 0xf0, width: Width::Dword, value: 0 }];
        assert!(matches!(
            machine.execute(0, &report),
            Err(MachineError::ReportPort { port: 0xf0 })
        ));
        let read = [Access::IoRead { port: 0x80, width: Width::Byte }];
        let nobody = machine.execute(1, &read);
        assert!(matches!(nobody, Err(MachineError::NoSuchCpu { cpu: 1, cpus: 1 })));
        assert!(matches!(machine.settle(1), Err(MachineError::NoSuchCpu { cpu: 1, cpus: 1 })));
        let fits = ProgramTable {
            table_address: BAR,
            first_entry: 2047,
            count: 1,
            first_vector: 0xff,
            destination: 0,
            mask: MaskBit::Keep,
        };
        machine.program_table(0, &fits).unwrap();
        for request in [
            ProgramTable { count: 2, first_vector: 0x30, ..fits },
            ProgramTable { count: 2, first_entry: 0, ..fits },
        ] {
            let refused = machine.program_table(0, &request);
            assert!(matches!(refused, Err(MachineError::TableRequest { .. })));
        }
    }
}
